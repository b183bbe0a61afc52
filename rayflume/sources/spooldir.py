"""Take in finished files from a directory."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, field_validator

from rayflume.batch import EventBatch, Extent, Header
from rayflume.component import LOCAL_PATH, Context, component, option
from rayflume.errors import OptionError, SourceFailed
from rayflume.interfaces import Json, StreamPosition
from rayflume.lines import Outcome, Rows, fingerprint, header_per_piece
from rayflume.sources._files import find_by_inode, open_file
from rayflume.sources._options import FileOptions
from rayflume.sources._spool import Listed, Order, Spool, changed, sync_directory
from rayflume.sources._stream import (
    KnownStream,
    Mark,
    StreamTable,
    printable,
    stream_prefix,
    tail_before,
)
from rayflume.units import Millis

_SCAN_SHARE = 10
# Listing a directory takes at most one part in so many of the time.
_SHOWN_MAX = 20


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


@component
class Spooldir(FileOptions):
    """Take in files that are finished when they appear. Rows: one per line, in file order.

    A file must not change after it was placed in the directory, and its name must not be used
    again: write it elsewhere and move it in. Once all its rows are durable in every required
    channel it is renamed, deleted or marked. The last line of a file needs no newline. An empty
    file gives no row (Flume: one empty event) and is completed at once. Bodies are the raw bytes,
    so there is no charset to choose. One batch may hold many small files.

    Guarantee: replayable, so exactly once with a durable channel.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"

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
    delete_policy: Annotated[Literal["never", "immediate"], BeforeValidator(_lower)] = option(
        "`immediate` deletes completed files, `never` keeps them.", default="never"
    )
    tracking_policy: Annotated[Literal["rename", "tracker_dir"], BeforeValidator(_lower)] = option(
        "How completed files that are kept are told apart: `rename` appends `file_suffix`, "
        "`tracker_dir` leaves them alone and makes an empty file of that name in `tracker_dir`.",
        default="rename",
    )
    tracker_dir: str = option(
        "Directory of the markers; a relative one is below `spool_dir`.", default=".flumespool"
    )
    include_pattern: str = option(
        "Regular expression that must match the whole name of a file.", default="^.*$"
    )
    ignore_pattern: str = option(
        "Regular expression of names to leave alone; wins over `include_pattern`.", default="^$"
    )
    consume_order: Annotated[Order, BeforeValidator(_lower)] = option(
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
    deserializer: Annotated[Literal["line"], BeforeValidator(_lower)] = option(
        "How a file becomes rows: `line` is the only way.", default="line"
    )

    @field_validator("include_pattern", "ignore_pattern")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no pattern: {error}") from error
        return value

    def headers_written(self) -> dict[str, bool]:
        found = super().headers_written()
        return {**found, self.basename_header_key: False} if self.basename_header else found

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
            include=re.compile(self.include_pattern),
            ignore=re.compile(self.ignore_pattern),
            recursive=self.recursive_directory_search,
            tracker=str(directory / self.tracker_dir) if marks else None,
            delete=self.delete_policy == "immediate",
        )


@dataclass(slots=True, eq=False)
class _File:
    listed: Listed
    stream: str
    next: int
    hash: str
    cut: int = 0
    """An extent must end there, if it is not passed yet."""

    @property
    def size(self) -> int:
        return self.listed.size

    @property
    def stop(self) -> int:
        """Read to here at once."""
        return min(self.size, self.cut) if self.cut > self.next else self.size


class SpooldirSource:
    """Hands out the lines of finished files. Implements interfaces.PollableSource.

    A file waits in `_listed`, is read in `_reading` and stays in `_open` until it is completed.
    """

    def __init__(self, options: Spooldir, context: Context) -> None:
        self.prefix = stream_prefix(context, options.id)
        self.idle_ms = options.poll_delay
        self._options = options
        self._context = context
        self._clock = context.clock
        self._spool = options.spool(context)
        self._table = StreamTable(self.prefix)
        self._buffer = options.line_buffer()
        self._listed: deque[Listed] = deque()
        self._reading: deque[_File] = deque()
        self._open: dict[str, _File] = {}
        self._paths: set[str] = set()
        self._problems: dict[str, str] = {}
        self._next_scan_ms = 0
        self._noted = False
        self._completed = 0

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        """Raises SourceFailed if the directory cannot be listed."""
        self._table.load(positions)
        self._scan()
        self._give_up_completed()

    def _give_up_completed(self) -> None:
        """Streams whose file was completed before their end was noted will not come back.

        On another device the directory is not mounted, and nothing is known of them.
        """
        waiting = {file.key for file in self._listed}
        unseen = [s for s in self._table.unseen() if s.key not in waiting]
        if not unseen:
            return
        places = {self._spool.directory}
        places |= {str(Path(s.mark.path).parent) for s in unseen if s.mark is not None}
        here = find_by_inode(sorted(places), {stream.key for stream in unseen})
        device = Path(self._spool.directory).stat().st_dev
        for stream in unseen:
            path = here.get(stream.key)
            waits = path is not None and not self._spool.is_completed(path)
            if stream.key[0] == device and not waits:
                self._table.give_up(stream)

    # -- reading

    def poll(self) -> EventBatch | None:
        """Raises SourceFailed if a file changed or vanished while it was read."""
        self._scan_if_due()
        self._buffer.clear()
        files: list[_File] = []
        done: list[_File] = []
        while self._buffer.room > 0:
            file = self._next_file()
            if file is None:
                break
            if file.next < file.size:
                outcome = self._read(file)
                if outcome is Outcome.NO_ROOM:
                    self._reading.appendleft(file)
                    break
                files.append(file)
            else:
                done.append(file)
        self._complete(done)
        if not files:
            return None
        lines = self._buffer.take(self._options.batch_size)
        extents = [self._advance(file, lines, i) for i, file in enumerate(files[: len(lines.rows)])]
        self._reading.extendleft(file for file in reversed(files) if file.next < file.size)
        batch = EventBatch(lines.body, self._headers(files[: len(lines.rows)], lines), (*extents,))
        self._table.handed_out(batch.extents)
        return batch

    def _scan_if_due(self) -> None:
        now = self._clock.monotonic_ms()
        if self._listed or self._reading or self._noted or now < self._next_scan_ms:
            return
        self._scan()
        took = self._clock.monotonic_ms() - now
        self._next_scan_ms = now + max(self._options.poll_delay, took * _SCAN_SHARE)

    def _scan(self) -> None:
        files = self._spool.files(self._options.consume_order)
        self._listed = deque(file for file in files if file.path not in self._paths)

    def _next_file(self) -> _File | None:
        """The file to go on with. A listed one that is gone or unreadable is passed over."""
        if self._reading:
            return self._reading.popleft()
        while self._listed:
            listed = self._listed.popleft()
            try:
                file = self._begin(listed)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._note(listed.path, error)
                continue
            self._problems.pop(listed.path, None)
            return file
        return None

    def _note(self, path: str, error: OSError) -> None:
        if path not in self._problems:
            self._context.metrics.add("EventReadFail")
        self._problems[path] = f"cannot read {printable(path)!r}: {error.strerror or error}"

    def _begin(self, listed: Listed) -> _File:
        fd, status = open_file(listed.path)
        try:
            # What counts is the file at opening, not at listing.
            listed = Listed.of(listed.path, status)
            found = None
            for known in self._table.known(listed.key, listed.path):
                if _is_same(fd, listed, known):
                    found = known
                    break
        finally:
            os.close(fd)
        if found is None:
            file = _File(listed, self._table.begin(listed.key), 0, "")
        else:
            name = self._table.resume(found)
            file = _File(listed, name, found.next, found.mark.hash if found.mark else "")
        self._open[file.stream] = file
        self._paths.add(listed.path)
        return file

    def _read(self, file: _File) -> Outcome:
        path = file.listed.path
        try:
            fd, status = open_file(path)
        except OSError as error:
            raise SourceFailed(
                f"{self._context.part}: {printable(path)!r} cannot be read to its end: "
                f"{error.strerror}; bring it back"
            ) from error
        try:
            if Listed.of(path, status) != file.listed:
                raise changed(self._context.part, path)
            outcome = self._buffer.read(fd, file.next, file.stop, file.hash, flush=True)
        except OSError as error:
            raise SourceFailed(
                f"{self._context.part}: reading {printable(path)!r} failed: {error.strerror}"
            ) from error
        finally:
            os.close(fd)
        if outcome in (Outcome.CHANGED, Outcome.PARTIAL):
            raise changed(self._context.part, path)
        return outcome

    def _advance(self, file: _File, lines: Rows, i: int) -> Extent:
        piece = lines.pieces[i]
        mark = Mark(lines.hashes[i], file.listed.path, file.size, file.listed.mtime_ns)
        file.next, file.hash = piece.end, lines.hashes[i]
        return Extent(file.stream, piece.start, piece.end, lines.rows[i], mark.encode())

    def _headers(self, files: list[_File], lines: Rows) -> dict[str, Header]:
        options = self._options
        headers: dict[str, Header] = {}
        paths: list[str | None] = [printable(file.listed.path) for file in files]
        if options.file_header:
            headers[options.file_header_key] = header_per_piece(paths, lines.rows)
        if options.basename_header:
            names: list[str | None] = [path and Path(path).name for path in paths]
            headers[options.basename_header_key] = header_per_piece(names, lines.rows)
        return headers

    # -- what the channels say

    def accepted(self, batch: EventBatch) -> None:
        """Complete the files that are wholly accepted. Raises SourceFailed if one changed."""
        self._table.accepted(batch.extents)
        done = []
        for extent in batch.extents:
            file = self._open.get(extent.stream)
            if file is not None and file.next >= file.size and extent.end >= file.size:
                done.append(file)
        self._complete(done)

    def _complete(self, files: list[_File]) -> None:
        directories = set()
        for file in files:
            directories.add(self._spool.complete(file.listed))
            self._open.pop(file.stream, None)
            self._paths.discard(file.listed.path)
            self._completed += 1
        # A stream retires only once its file cannot come back, also after a power failure.
        for directory in sorted(directories):
            sync_directory(directory)
        for file in files:
            self._table.finish(file.stream)

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        """Raises SourceFailed if the file is completed or was changed."""
        file = self._open.get(stream)
        if file is None:
            raise SourceFailed(
                f"{self._context.part}: the channel wants the stream {stream!r} again from byte "
                f"{next}, but its file is completed; place it in the directory again or forget "
                "the stream"
            )
        path = file.listed.path
        try:
            fd, status = open_file(path)
        except OSError as error:
            self._note(path, error)
            raise changed(self._context.part, path) from error
        try:
            tail = tail_before(fd, next)
        finally:
            os.close(fd)
        if tail is None or Listed.of(path, status) != file.listed:
            raise changed(self._context.part, path)
        file.next, file.hash, file.cut = next, fingerprint(tail), stop
        self._table.rewound(stream, next)
        if file not in self._reading:
            self._reading.appendleft(file)

    # -- end

    def note_end(self, unterminated: bool = False) -> None:
        """The files that are there now are the last ones. A last line without newline is a row."""
        if not self._noted:
            self._scan()
            self._noted = True

    def at_end(self) -> bool:
        return self._noted and not self._listed and not self._reading

    def retired(self) -> list[str]:
        return self._table.retired()

    def describe(self) -> dict[str, Json]:
        """Files waiting, being read, completed in this life; problems (20 at most)."""
        return {
            "waiting_files": len(self._listed),
            "open_files": len(self._open),
            "completed_files": self._completed,
            "lag_bytes": sum(f.size for f in self._listed)
            + sum(f.size - f.next for f in self._open.values()),
            "problems": [*list(self._problems.values())[:_SHOWN_MAX]],
        }

    def stop(self) -> None:
        """Nothing stays open between two polls."""


def _is_same(fd: int, file: Listed, known: KnownStream) -> bool:
    """Whether a file is the one the stream was read from. Raises OSError.

    A file that is wholly taken must be unchanged: a new file of the same name and inode may begin
    alike. One that is half read may have been touched since.
    """
    if known.next > file.size:
        return False
    if known.next == 0 or known.mark is None:
        return True
    mark = known.mark
    unchanged = (file.size, file.mtime_ns) == (mark.size, mark.mtime_ns)
    if not unchanged and not (mark.is_at(file.path) and known.next < mark.size):
        return False
    tail = tail_before(fd, known.next)
    return tail is not None and fingerprint(tail) == mark.hash
