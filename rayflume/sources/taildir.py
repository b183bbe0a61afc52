"""Follow files that grow."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from rayflume.component import LOCAL_PATH, Context, component, nearest, option
from rayflume.errors import OptionError
from rayflume.regexes import JavaRegex
from rayflume.sources._files import Group
from rayflume.sources._options import FileOptions
from rayflume.sources._tailing import TaildirSource
from rayflume.units import Millis


@component
class Taildir(FileOptions):
    """Follow files that grow, through every kind of rotation. Rows: one per line, in file order.

    A file is known by its device and inode and by a hash of the last 1 KiB that was read of it. So
    a file that is renamed goes on where it was (Flume reads it again), also when it was renamed
    while nothing ran, as long as it stays in one of the watched directories; a file that was
    deleted is read to its end if it was open; a file that was truncated, or replaced by one that
    got the same inode, is read from its beginning as a new incarnation.

    Renaming loses nothing. Copy-truncate: where a pattern matches the copy too (`app.log*`), the
    copy is read on from where the original stood, so nothing is lost and nothing doubled; a copy is
    known by its name (`app.log.1`, `app-2026.log` for `app.log`) and by its bytes. Where no pattern
    matches the copy, the bytes that were written between the last look and the truncation are lost:
    those of at most 300 ms (100 ms between two looks and `linger`) for a file that grew in the last
    10 s, else of `scan_interval` and `linger`, while the channel has room; and, if this source dies
    in that moment, those on their way into the channel. In either case what the writer adds
    between the end of the copy and the truncation is in neither file, and only what was looked at
    in time is had. Should this source die while a batch of the original is on its way and its put
    still arrive after its successor began with the copy, that batch is doubled. A truncated file
    that grew beyond its old place between two looks and has the same 1 KiB before that place is not
    recognised.

    A file that was moved out of all watched directories is finished once it is idle; moved back
    later it is a new file. A file that was renamed to a name that no pattern matches before
    anything of it was in the channel is not found again: let the patterns match rotated names too
    (`app.log*`), which costs nothing, for they are not read again. A last line without newline
    waits for its newline. A directory that a glob names and that does not exist is watched for and
    shown in the status.

    Guarantee: replayable, so exactly once with a durable channel, within the bounds above.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"
    timeless: ClassVar[bool] = True

    paths: list[str] = option(
        "Files to follow, as globs; `**` matches any number of directories. Relative ones start at "
        "the configuration file.",
        factory=list,
        example=["/var/log/web/*.jsonl"],
        json_schema_extra=LOCAL_PATH,
    )
    filegroups: dict[str, str] = option(
        "Flume's form of `paths`: a name and a path whose last element is a regular expression "
        "(of Java's form) that must match the whole file name. The directory must exist.",
        factory=dict,
        json_schema_extra=LOCAL_PATH,
        example={"web": "/var/log/web/.*\\.jsonl"},
    )
    headers: dict[str, dict[str, str]] = option(
        "Constant headers for the rows of a file group; the files of `paths` are the group "
        "`paths`.",
        factory=dict,
        example={"web": {"site": "oslo"}},
    )
    byte_offset_header: bool = option(
        "Whether rows carry the offset of their first byte in the file as header `byteoffset`.",
        default=False,
    )
    skip_to_end: bool = option(
        "Whether files that exist at start, and that the channels know nothing of, are followed "
        "from their last newline on.",
        default=False,
    )
    position_file: str | None = option(
        "Flume's position file, read once: as long as no channel knows any file of this source, "
        "files go on where Flume stood. A file that was renamed since is found by its inode if its "
        "new name is that of a rotated one (`app.log.1`). rayflume never writes to it; where its "
        "own reading stands is in the channel. Stop Flume first, for it writes the file now and "
        "then only.",
        default=None,
        example="~/.flume/taildir_position.json",
        json_schema_extra=LOCAL_PATH,
        min_length=1,
    )
    idle_timeout: Millis = option(
        "A file that did not grow for so long is closed; growing again opens it again.",
        default="2min",
        validate_default=True,
    )
    unterminated_timeout: Millis = option(
        "A last line without newline becomes a row when its file did not change for so long; 0: "
        "it waits for its newline. What is added to it later is a row of its own.",
        default=0,
    )
    linger: Millis = option(
        "A batch that is smaller than `batch_bytes` waits so long for more.",
        default="200ms",
        validate_default=True,
    )
    scan_interval: Millis = option(
        "How often directories are listed for new, renamed and deleted files. Files that grew in "
        "the last 10 s are looked at more often than that. With very many files it is done less "
        "often, so that it takes at most a tenth of the time.",
        default="1s",
        validate_default=True,
    )
    max_batch_count: int = option(
        "After so many full batches of one file the others have their turn. Flume's default is "
        "no bound, which lets one busy file starve all others.",
        default=16,
        ge=1,
    )

    @field_validator("filegroups")
    @classmethod
    def _are_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for name, path in value.items():
            try:
                JavaRegex.compile(Path(path).name)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return value

    @model_validator(mode="after")
    def _names_files(self) -> Taildir:
        if not self.paths and not self.filegroups:
            raise ValueError("name the files to follow: paths or filegroups")
        known = ["paths"] * bool(self.paths) + list(self.filegroups)
        for name in self.headers:
            if name not in known:
                raise ValueError(f"headers: no file group {name!r}{nearest(name, known)}")
        return self

    def check(self, context: Context) -> list[str]:
        missing = {name: context.path(path).parent for name, path in self.filegroups.items()}
        return [
            f"filegroups.{name}: the directory {str(place)!r} does not exist; create it or "
            "correct the path"
            for name, place in missing.items()
            if not place.is_dir()
        ]

    def build(self, context: Context) -> TaildirSource:
        """Raises OptionError if the directory of a file group does not exist."""
        for problem in self.check(context):
            raise OptionError(f"{context.part}: {problem}")
        groups = []
        for path in self.paths:
            headers = self.headers.get("paths", {})
            place = Path(path).expanduser()
            if not place.is_absolute():
                # Brackets in the configuration's directory are not meant as a pattern.
                place = Path(glob.escape(str(context.path(".")))) / place
            groups.append(Group(glob=str(place), headers=headers))
        for name, path in self.filegroups.items():
            place = context.path(path)
            pattern = JavaRegex.compile(place.name)
            headers = self.headers.get(name, {})
            groups.append(Group("", str(place.parent), pattern, headers))
        return TaildirSource(self, context, groups)
