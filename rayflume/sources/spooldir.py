"""Take in finished files from a directory."""

from __future__ import annotations

import os
from typing import Annotated, ClassVar, Literal

from pydantic import field_validator

from rayflume.charsets import Charset
from rayflume.component import LOCAL_PATH, Component, Context, component, nested, option
from rayflume.deserializer import Deserializer, DeserializerOptions, Settings
from rayflume.errors import OptionError
from rayflume.regexes import JavaRegex
from rayflume.sources._options import FileOptions
from rayflume.sources._spool import Order, Spool
from rayflume.sources._spooling import SpooldirSource
from rayflume.transcode import OnError
from rayflume.units import ANY_CASE, Millis


@component
class Spooldir(FileOptions):
    """Take in files that are finished when they appear. Rows: as `deserializer` says, by file.

    A file must not change after it was placed in the directory, and its name must not be used
    again: write it elsewhere and move it in. Once all its rows are durable in every required
    channel it is renamed, deleted or marked. A file that changed while it was read, or that the
    deserializer cannot read, ends the source with an error that names it; so does a name that is
    taken already by a completed file. One batch may hold many small files.

    A file that Flume was reading when it was stopped (`.flumespool-main.meta` in `tracker_dir`
    names it) is read on from where Flume stood, if no channel knows the file yet. A position that
    does not fit the file ends the source with an error that says what to do.

    Guarantee: replayable, so exactly once with a durable channel.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"
    timeless: ClassVar[bool] = True

    spool_dir: str = option(
        "The directory; it must exist. A relative one starts at the configuration file.",
        example="/var/spool/clicks",
        json_schema_extra=LOCAL_PATH,
    )
    file_suffix: str = option(
        "Ending of the names of completed files (or of their markers).",
        default=".COMPLETED",
        min_length=1,
    )
    delete_policy: Annotated[Literal["never", "immediate"], ANY_CASE] = option(
        "`immediate` deletes completed files, `never` keeps them.", default="never"
    )
    tracking_policy: Annotated[Literal["rename", "tracker_dir"], ANY_CASE] = option(
        "How completed files that are kept are told apart: `rename` appends `file_suffix`, "
        "`tracker_dir` leaves them alone and makes an empty file of that name in `tracker_dir`.",
        default="rename",
    )
    tracker_dir: str = option(
        "Directory of the markers; a relative one is below `spool_dir`.", default=".flumespool"
    )
    include_pattern: str = option(
        "Regular expression (of Java's form) that must match the whole name of a file.",
        default="^.*$",
    )
    ignore_pattern: str = option(
        "Regular expression of names to leave alone; wins over `include_pattern`.", default="^$"
    )
    consume_order: Annotated[Order, ANY_CASE] = option(
        "Which file comes next: `oldest` or `youngest` by modification time (ties: by name), or "
        "`random`, which is the order of the directory.",
        default="oldest",
    )
    poll_delay: Millis = option(
        "How often the directory is listed when there is nothing to read. With very many files it "
        "is done less often, so that it takes at most a tenth of the time.",
        default="500ms",
        validate_default=True,
    )
    recursive_directory_search: bool = option(
        "Whether files in sub-directories are taken too. Hidden directories never are, nor those "
        "that `ignore_pattern` matches.",
        default=False,
    )
    basename_header: bool = option("Whether rows carry the file's name.", default=False)
    basename_header_key: str = option(
        "Header that holds the name, if `basename_header` is set.",
        default="basename",
        min_length=1,
    )
    deserializer: Annotated[Component, nested("deserializer")] = option(
        "How a file becomes rows: `line`, `avro` or `blob`.",
        default="line",
        validate_default=True,
        example={"type": "line", "max_line_length": 2048},
    )
    input_charset: Charset = option(
        "Character set of the files, by its name in Java or IANA; for `line`.",
        default="UTF-8",
        validate_default=True,
    )
    decode_error_policy: Annotated[OnError, ANY_CASE] = option(
        "What becomes of bytes that are no character of `input_charset`: `fail` ends the source "
        "with an error (Flume's default), `replace` puts U+FFFD in their place, `ignore` leaves "
        "them out, and `keep` does not look: bodies are the file's bytes. If files and bodies have "
        "different character sets, `keep` is the same as `fail`. For `line`.",
        default="keep",
    )
    empty_file_row: bool = option(
        "Whether an empty file gives one row with an empty body, as in Flume. Otherwise it gives "
        "none; nor does it with the deserializer `avro`.",
        default=False,
    )

    @field_validator("include_pattern", "ignore_pattern")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        JavaRegex.compile(value)
        return value

    def headers_written(self) -> dict[str, bool]:
        found = super().headers_written()
        return {**found, self.basename_header_key: False} if self.basename_header else found

    @property
    def _deserializer(self) -> DeserializerOptions:
        assert isinstance(self.deserializer, DeserializerOptions)
        return self.deserializer

    @property
    def deserializer_empty_is_row(self) -> bool:
        """Whether the deserializer can make a row of an empty file."""
        return self._deserializer.empty_is_row

    def taken_over(self, fd: int, offset: int) -> int:
        """The place that Flume's offset stands for. Raises Unreadable, OSError."""
        return self._deserializer.taken_over(fd, offset)

    def tracker(self, context: Context) -> str:
        """The directory of markers, where Flume keeps its position too."""
        return str(context.path(self.spool_dir) / self.tracker_dir)

    def open_deserializer(self) -> Deserializer:
        settings = Settings(
            self.batch_bytes,
            self.batch_size,
            self.max_line_bytes,
            self.strip_carriage_return,
            self.input_charset,
            self.decode_error_policy,
        )
        return self._deserializer.open(settings)

    def check(self, context: Context) -> list[str]:
        directory = context.path(self.spool_dir)
        if not directory.is_dir():
            return [f"spool_dir: {str(directory)!r} is no directory; create it or correct the path"]
        renames = self.delete_policy == "immediate" or self.tracking_policy == "rename"
        rights = os.R_OK | os.X_OK | (os.W_OK if renames else 0)
        if not os.access(directory, rights):
            may = "list and change" if renames else "list"
            return [f"spool_dir: this user may not {may} {str(directory)!r}; grant it"]
        return []

    def build(self, context: Context) -> SpooldirSource:
        """Raises OptionError if the directory does not exist or its files cannot be renamed."""
        for problem in self.check(context):
            raise OptionError(f"{context.part}: {problem}")
        return SpooldirSource(self, context)

    def spool(self, context: Context) -> Spool:
        directory = context.path(self.spool_dir)
        marks = self.delete_policy == "never" and self.tracking_policy == "tracker_dir"
        return Spool(
            part=context.part,
            directory=str(directory),
            suffix=self.file_suffix,
            include=JavaRegex.compile(self.include_pattern),
            ignore=JavaRegex.compile(self.ignore_pattern),
            recursive=self.recursive_directory_search,
            tracker=self.tracker(context) if marks else None,
            delete=self.delete_policy == "immediate",
        )
