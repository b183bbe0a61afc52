"""Follow files that grow."""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import field_validator, model_validator

from rayflume.batch import EventBatch, Extent, Header
from rayflume.component import LOCAL_PATH, Context, component, nearest, option
from rayflume.errors import OptionError, SourceFailed
from rayflume.interfaces import Json, StreamPosition
from rayflume.lines import Outcome, Rows, fingerprint, header_per_piece
from rayflume.regexes import JavaRegex
from rayflume.sources._copies import went_back
from rayflume.sources._files import Group, OpenFiles, open_files_max
from rayflume.sources._flume_positions import PositionsDamaged, tail_positions
from rayflume.sources._options import FileOptions
from rayflume.sources._stream import (
    FileKey,
    HandedOut,
    Mark,
    StreamTable,
    printable,
    stream_prefix,
    tail_before,
)
from rayflume.sources._watch import TailFile, Watch
from rayflume.units import Millis

_IDLE_MS = 100
_SHOWN_MAX = 20


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


class TaildirSource:
    """Hands out the lines of growing files. Implements interfaces.PollableSource."""

    idle_ms = _IDLE_MS
    """How long to wait after `poll` gave None."""

    def __init__(self, options: Taildir, context: Context, groups: list[Group]) -> None:
        self.prefix = stream_prefix(context, options.id)
        self._options = options
        self._context = context
        self._clock = context.clock
        self._table = StreamTable(self.prefix)
        self._handed = HandedOut()
        self._open = OpenFiles(open_files_max())
        self._watch = Watch(context, groups, self._table, self._open)
        self._watch.idle_ms = options.idle_timeout
        self._watch.skip_to_end = options.skip_to_end
        self._buffer = options.line_buffer()
        self._partials: dict[FileKey, TailFile] = {}
        self._again: deque[EventBatch] = deque()
        self._pending_since: int | None = None
        self._noted = False
        self._unterminated = False

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        """Raises SourceFailed if Flume's positions are wanted and cannot be read."""
        self._table.load(positions)
        self._watch.copies.load(positions)
        if self._options.position_file is not None and not positions:
            path = str(self._context.path(self._options.position_file))
            try:
                self._watch.flume = tail_positions(path)
            except PositionsDamaged as error:
                raise SourceFailed(f"{self._context.part}: {error}") from None

    # -- reading

    def poll(self) -> EventBatch | None:
        if self._again:
            return self._hand_out(self._again.popleft())
        self._watch.refresh(self._options.scan_interval)
        self._offer_old_partials()
        if not self._is_time():
            return None
        batch = self._skip_ahead() or self._fill()
        if batch is None or not 0 < self._options.batch_size <= batch.num_rows:
            # Behind a batch that had no room for more rows the next one does not wait again.
            self._pending_since = None
        return None if batch is None else self._hand_out(batch)

    def _hand_out(self, batch: EventBatch) -> EventBatch:
        self._table.handed_out(batch.extents)
        self._handed.add(batch)
        return batch

    def _is_time(self) -> bool:
        if not self._watch.ready:
            self._pending_since = None
            return False
        if self._pending_since is None:
            self._pending_since = self._clock.monotonic_ms()
        waited = self._clock.monotonic_ms() - self._pending_since
        if self._noted or waited >= self._options.linger:
            return True
        return sum(file.unread for file in self._watch.ready.values()) >= self._options.batch_bytes

    def _ends_lines(self, file: TailFile) -> bool:
        """Whether an unterminated last line of the file is a row by now."""
        if self._noted:
            return self._unterminated or file.deleted
        still = self._clock.monotonic_ms() - file.changed_ms
        timeout = self._options.unterminated_timeout
        if file.deleted and still >= self._options.idle_timeout:
            return True
        return timeout > 0 and still >= timeout

    def _offer_old_partials(self) -> None:
        for key, file in list(self._partials.items()):
            if self._watch.files.get(key) is not file or file.partial != file.stop:
                del self._partials[key]
            elif self._ends_lines(file):
                del self._partials[key]
                file.partial = -1
                self._watch.offer(file)

    def _skip_ahead(self) -> EventBatch | None:
        """What is passed over: extents without rows, so that the channel knows."""
        if not self._watch.skips:
            return None
        extents = []
        for file in [f for f in self._watch.ready.values() if f.next < f.skip_to]:
            fd = self._watch.descriptor(file)
            if fd is None:
                continue
            tail = tail_before(fd, file.skip_to)
            if tail is None:
                file.skip_to = 0
                continue
            file.hash = fingerprint(tail)
            token = Mark(file.hash, file.name).encode()
            extents.append(Extent(file.stream, file.next, file.skip_to, 0, token))
            file.next = file.skip_to
            file.places.append((file.next, file.hash))
            if not file.unread:
                self._watch.ready.pop(file.key)
        return EventBatch(pa.array([], pa.binary()), {}, tuple(extents)) if extents else None

    def _fill(self) -> EventBatch | None:
        self._buffer.clear()
        files: list[TailFile] = []
        for file in list(self._watch.ready.values()):
            if self._buffer.room <= 0:
                break
            outcome = self._read(file)
            if outcome is Outcome.ROWS:
                files.append(file)
            elif outcome is Outcome.NO_ROOM:
                break
        if not files:
            return None
        lines = self._buffer.take(self._options.batch_size)
        del files[len(lines.pieces) :]
        extents = [self._advance(file, lines, i) for i, file in enumerate(files)]
        return EventBatch(lines.body, self._headers(files, lines), tuple(extents))

    def _read(self, file: TailFile) -> Outcome:
        fd = self._watch.descriptor(file)
        if fd is None:
            return Outcome.PARTIAL
        cut = file.next < file.cut < file.stop
        flush = cut or self._ends_lines(file)
        stop = file.cut if cut else file.stop
        try:
            outcome = self._buffer.read(fd, file.next, stop, file.hash, flush=flush)
        except OSError as error:
            self._watch.failed(file, error)
            return Outcome.PARTIAL
        self._watch.problems.gone(file.path)
        if outcome is Outcome.CHANGED:
            self._watch.restart(file)
        elif outcome is Outcome.PARTIAL:
            self._is_read(file)
        return outcome

    def _is_read(self, file: TailFile) -> None:
        """All whole lines up to the size that was seen are read."""
        file.verify = False
        file.partial = file.stop
        self._watch.ready.pop(file.key, None)
        if file.next < file.stop:
            self._partials[file.key] = file

    def _advance(self, file: TailFile, lines: Rows, i: int) -> Extent:
        piece = lines.pieces[i]
        token = Mark(lines.hashes[i], file.name).encode()
        file.next, file.hash, file.verify = piece.end, lines.hashes[i], False
        file.places.append((file.next, file.hash))
        if file.next == file.cut:
            self._watch.offer(file)
        elif piece.whole or file.next >= file.stop:
            file.batches = 0
            self._is_read(file)
        else:
            file.batches += 1
            if file.batches >= self._options.max_batch_count:
                file.batches = 0
                self._watch.offer(file)
        return Extent(file.stream, piece.start, piece.end, lines.rows[i], token)

    def _headers(self, files: list[TailFile], lines: Rows) -> dict[str, Header]:
        options = self._options
        headers: dict[str, Header] = {}
        for name in dict.fromkeys(name for file in files for name in file.group.headers):
            values = [file.group.headers.get(name) for file in files]
            headers[name] = header_per_piece(values, lines.rows)
        if options.file_header:
            paths: list[str | None] = [printable(file.path) for file in files]
            headers[options.file_header_key] = header_per_piece(paths, lines.rows)
        if options.byte_offset_header:
            headers["byteoffset"] = pa.array(lines.offsets).cast(pa.string())
        return headers

    # -- what the channels say

    def accepted(self, batch: EventBatch) -> None:
        self._table.accepted(batch.extents)
        self._handed.accepted(self._table)

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        """Raises SourceFailed if the rows are neither in their file nor in memory any more."""
        for batch in [b for b in self._again if b.extents[0].stream == stream]:
            self._again.remove(batch)
            self._handed.add(batch)
        file = _file_of(self._watch.files, stream)
        hash_there = None if file is None else self._hash_at(file, next)
        if file is None or hash_there is None:
            self._repeat(stream, next)
            return
        self._handed.forget(stream, next)
        self._table.rewound(stream, next)
        file.next, file.hash, file.partial, file.cut = next, hash_there, -1, stop
        went_back(file.places, (next, hash_there))
        self._watch.offer(file)

    def _hash_at(self, file: TailFile, next: int) -> str | None:
        """Fingerprint at a place; None if the file cannot be read or is no longer the same."""
        fd = self._watch.descriptor(file)
        if fd is None:
            return None
        try:
            here, there = tail_before(fd, file.next), tail_before(fd, next)
        except OSError as error:
            self._watch.failed(file, error)
            return None
        if here is None or there is None or (file.hash and fingerprint(here) != file.hash):
            return None
        return fingerprint(there)

    def _repeat(self, stream: str, next: int) -> None:
        end = self._table.handed_to(stream)
        if end is not None and next >= end:
            self._table.rewound(stream, next)
            return
        batches = None if end is None else self._handed.take_back(stream, next, end)
        if batches is None:
            raise SourceFailed(
                f"{self._context.part}: the channel wants the stream {stream!r} again from byte "
                f"{next}, but its file is deleted, truncated or moved away; bring the file back or "
                "forget the stream"
            )
        self._table.wanted_again(stream, next)
        self._again.extend(batches)

    # -- end

    def note_end(self, unterminated: bool = False) -> None:
        """The present sizes are the end; with `unterminated`, last lines without newline too."""
        self._unterminated = unterminated
        if not self._noted:
            self._watch.end()
            self._noted = True

    def at_end(self) -> bool:
        waiting = self._watch.ready or self._watch.awaited or self._again
        return self._noted and not waiting

    def retired(self) -> list[str]:
        return self._table.retired()

    def describe(self) -> dict[str, Json]:
        """Files, open ones, bytes to read, unread unterminated lines, problems (20 of each)."""
        files = self._watch.files.values()
        waiting = [f for f in files if f.next < f.stop and f.partial == f.stop]
        problems = list(self._watch.problems.now.values())
        return {
            "files": len(files),
            "open_files": len(self._open),
            "lag_bytes": sum(max(file.size - file.next, 0) for file in files),
            "unterminated_files": len(waiting),
            "unterminated": {
                printable(file.path): file.stop - file.next for file in waiting[:_SHOWN_MAX]
            },
            "lost_bytes": self._watch.lost_bytes,
            "problems": [*problems[:_SHOWN_MAX]],
        }

    def stop(self) -> None:
        self._open.close_all()


def _file_of(files: Mapping[FileKey, TailFile], stream: str) -> TailFile | None:
    return next((file for file in files.values() if file.stream == stream), None)
