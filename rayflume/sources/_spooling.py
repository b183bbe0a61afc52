"""Files of a spool directory: read in order, completed once they are accepted."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rayflume.batch import EventBatch, Extent, Header
from rayflume.component import Context
from rayflume.deserializer import Unreadable
from rayflume.errors import SourceFailed
from rayflume.interfaces import Json, StreamPosition
from rayflume.lines import Outcome, Rows, fingerprint, header_per_piece
from rayflume.sources._files import find_by_inode, open_file
from rayflume.sources._flume_positions import (
    SPOOL_META,
    PositionsDamaged,
    SpoolPosition,
    first_of,
    spool_position,
)
from rayflume.sources._spool import Listed, changed, sync_directory
from rayflume.sources._stream import (
    KnownStream,
    Mark,
    StreamTable,
    printable,
    stream_prefix,
    tail_before,
)

if TYPE_CHECKING:
    from rayflume.sources.spooldir import Spooldir

_log = logging.getLogger("rayflume.sources.spooldir")

_SCAN_SHARE = 10
# Listing a directory takes at most one part in so many of the time.
_SHOWN_MAX = 20


@dataclass(slots=True, eq=False)
class _File:
    """`size`: where it ends; 1 for an empty one that is a row. `cut`: an extent must end there, if
    it is not passed yet. `skip_to`: Flume has read up to there.
    """

    listed: Listed
    stream: str
    next: int
    hash: str
    size: int
    cut: int = 0
    skip_to: int = 0

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
        self._rows = options.open_deserializer()
        self._empty_is_row = options.empty_file_row and options.deserializer_empty_is_row
        self._flume: SpoolPosition | None = None
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
        self._flume = self._flume_position()
        self._give_up_completed()

    def _flume_position(self) -> SpoolPosition | None:
        """Where Flume stood, if in a file of these that no channel knows. Raises SourceFailed."""
        unknown = [f for f in self._listed if not self._table.was_told_of(f.key, f.path)]
        if not unknown:
            return None
        try:
            found = spool_position(self._options.tracker(self._context))
        except PositionsDamaged as error:
            raise SourceFailed(f"{self._context.part}: {error}") from None
        if found is None or not found.place:
            return None
        index = first_of([file.path for file in unknown], found.path)
        if index < 0:
            return None
        file = unknown[index]
        try:
            changed_ns = Path(file.path).stat().st_ctime_ns
        except OSError:
            return None  # it is gone: another one of its name will be another file
        if found.place > file.size or changed_ns > found.noted_ns:
            raise SourceFailed(
                f"{self._context.part}: Flume noted byte {found.place} of "
                f"{printable(file.path)!r}, which was changed, moved or replaced since. If it is "
                f"still the same file, `touch` {SPOOL_META!r} in the tracker directory; to read it "
                f"from its beginning, move {SPOOL_META!r} away"
            )
        _log.info(
            "%s: %r goes on at byte %d, where Flume stood",
            self._context.part, printable(file.path), found.place,
        )  # fmt: skip
        return replace(found, path=file.path)

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
        self._rows.clear()
        files: list[_File] = []
        done: list[_File] = []
        alone: EventBatch | None = None
        while self._rows.room > 0 and alone is None:
            file = self._next_file()
            if file is None:
                break
            if file.next >= file.size:
                done.append(file)
            elif file.next < file.skip_to or not file.listed.size:
                if files:
                    self._reading.appendleft(file)
                    break
                alone = self._pass_over(file) if file.listed.size else self._empty_row(file)
            elif self._read(file) is Outcome.NO_ROOM:
                self._reading.appendleft(file)
                break
            else:
                files.append(file)
        self._complete(done)
        batch = alone if alone is not None or not files else self._take(files)
        if batch is not None:
            self._table.handed_out(batch.extents)
        return batch

    def _take(self, files: list[_File]) -> EventBatch:
        try:
            rows = self._rows.take(self._options.batch_size)
        except Unreadable as error:
            raise self._unreadable(files[error.piece], error) from None
        taken = files[: len(rows.rows)]
        extents = [self._advance(file, rows, i) for i, file in enumerate(taken)]
        self._reading.extendleft(file for file in reversed(files) if file.next < file.size)
        return EventBatch(rows.body, self._headers(taken, rows), (*extents,))

    def _pass_over(self, file: _File) -> EventBatch:
        """What Flume has read: an extent without rows, so that the channels know."""
        fd = self._open_unchanged(file)
        try:
            tail = tail_before(fd, file.skip_to)
        except OSError as error:
            raise self._vanished(file, error) from error
        finally:
            os.close(fd)
        if tail is None:
            raise changed(self._context.part, file.listed.path)
        extent = self._extent(file, file.skip_to, 0, fingerprint(tail))
        if file.next < file.size:
            self._reading.appendleft(file)
        return EventBatch(pa.array([], pa.binary()), {}, (extent,))

    def _empty_row(self, file: _File) -> EventBatch:
        os.close(self._open_unchanged(file))
        extent = self._extent(file, file.size, 1, "")
        rows = Rows(pa.array([b""], pa.binary()), [], [1], np.zeros(1, np.int64), [""])
        return EventBatch(rows.body, self._headers([file], rows), (extent,))

    def _open_unchanged(self, file: _File) -> int:
        try:
            fd, status = open_file(file.listed.path)
        except OSError as error:
            raise self._vanished(file, error) from error
        if Listed.of(file.listed.path, status) != file.listed:
            os.close(fd)
            raise changed(self._context.part, file.listed.path)
        return fd

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
            skip_to = self._skip_to(fd, listed) if found is None else 0
        finally:
            os.close(fd)
        size = listed.size or int(self._empty_is_row)
        if found is None:
            file = _File(listed, self._table.begin(listed.key), 0, "", size, 0, skip_to)
        else:
            name = self._table.resume(found)
            file = _File(listed, name, found.next, found.mark.hash if found.mark else "", size)
        self._open[file.stream] = file
        self._paths.add(listed.path)
        return file

    def _skip_to(self, fd: int, listed: Listed) -> int:
        """Where Flume stood in a file. Raises SourceFailed, OSError."""
        if self._flume is None or self._flume.path != listed.path:
            return 0
        place, self._flume = self._flume.place, None
        try:
            return self._options.taken_over(fd, place)
        except Unreadable as error:
            raise SourceFailed(
                f"{self._context.part}: Flume's position does not fit {printable(listed.path)!r}: "
                f"{error.text}; to read the file from its beginning, move {SPOOL_META!r} away"
            ) from None

    def _read(self, file: _File) -> Outcome:
        path = file.listed.path
        try:
            fd, status = open_file(path)
        except OSError as error:
            raise self._vanished(file, error) from error
        try:
            if Listed.of(path, status) != file.listed:
                raise changed(self._context.part, path)
            outcome = self._rows.read(fd, file.next, file.stop, file.hash)
        except Unreadable as error:
            raise self._unreadable(file, error) from None
        except OSError as error:
            raise SourceFailed(
                f"{self._context.part}: reading {printable(path)!r} failed: {error.strerror}"
            ) from error
        finally:
            os.close(fd)
        if outcome in (Outcome.CHANGED, Outcome.PARTIAL):
            raise changed(self._context.part, path)
        return outcome

    def _vanished(self, file: _File, error: OSError) -> SourceFailed:
        self._context.metrics.add("EventReadFail")
        return SourceFailed(
            f"{self._context.part}: {printable(file.listed.path)!r} cannot be read to its end: "
            f"{error.strerror}; bring it back"
        )

    def _unreadable(self, file: _File, error: Unreadable) -> SourceFailed:
        self._context.metrics.add("EventReadFail")
        name = self._options.deserializer.type_name
        return SourceFailed(
            f"{self._context.part}: the deserializer {name!r} cannot read "
            f"{printable(file.listed.path)!r}: {error.text}; mend the file or move it away"
            + (", or choose another decode_error_policy" if name == "line" else "")
        )

    def _advance(self, file: _File, rows: Rows, i: int) -> Extent:
        return self._extent(file, rows.pieces[i].end, rows.rows[i], rows.hashes[i])

    def _extent(self, file: _File, end: int, rows: int, mark: str) -> Extent:
        token = Mark(mark, file.listed.path, file.listed.size, file.listed.mtime_ns).encode()
        start, file.next, file.hash = file.next, end, mark
        return Extent(file.stream, start, end, rows, token)

    def _headers(self, files: list[_File], lines: Rows) -> dict[str, Header]:
        options = self._options
        headers: dict[str, Header] = {
            name: header_per_piece(values[: len(files)], lines.rows)
            for name, values in lines.headers.items()
        }
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
            try:
                directories.add(self._spool.complete(file.listed))
            except SourceFailed:
                self._context.metrics.add("GenericProcessingFail")
                raise
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
            tail = tail_before(fd, min(next, status.st_size))
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
    mark = known.mark
    unchanged = mark is not None and (file.size, file.mtime_ns) == (mark.size, mark.mtime_ns)
    if file.size == 0 and known.next == 1:
        return unchanged  # it was an empty row
    if known.next > file.size:
        return False
    if known.next == 0 or mark is None:
        return True
    if not unchanged and not (mark.is_at(file.path) and known.next < mark.size):
        return False
    tail = tail_before(fd, known.next)
    return tail is not None and fingerprint(tail) == mark.hash
