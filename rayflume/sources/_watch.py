"""Which growing files there are, what each is, and what became of those that moved or went.

Invariants: a file is one entry, keyed by device and inode, whatever its name; `next` of an entry
never passes the size that was seen; an entry leaves only when its stream is finished.

A file that is in none of its directories any more counts as gone after two looks, because a listing
may miss a file that is renamed meanwhile, and never while its directory itself is missing or on
another device (not mounted yet).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rayflume.component import Context
from rayflume.lines import fingerprint
from rayflume.sources._copies import Copies, Live, Wait, originals
from rayflume.sources._files import (
    Group,
    OpenFiles,
    find_by_inode,
    group_of,
    is_mounted,
    key_of,
    open_file,
)
from rayflume.sources._flume_positions import TailPositions, place_of
from rayflume.sources._problems import Problems
from rayflume.sources._stream import (
    FileKey,
    KnownStream,
    StreamTable,
    printable,
    tail_before,
)
from rayflume.sources._tail_file import TailFile

_log = logging.getLogger("rayflume.sources.taildir")

_LOOKS = 2
_HOT_MS = 10_000
_SCAN_SHARE = 10
# Looking at all files takes at most one part in so many of the time.


class Watch:
    """Finds the files, recognises them, and sees them grow, shrink, move and vanish."""

    def __init__(
        self, context: Context, groups: Sequence[Group], table: StreamTable, open_files: OpenFiles
    ) -> None:
        self.files: dict[FileKey, TailFile] = {}
        self.ready: dict[FileKey, TailFile] = {}
        """Files with something to read, in the order in which they will be served."""
        self.problems = Problems(context)
        self.lost_bytes = 0
        self.idle_ms = 0
        self.skip_to_end = False
        self.flume: TailPositions = {}
        """Where Flume stood, for the first look."""
        self.skips = False
        """Whether there are files with a `skip_to`."""
        self.awaited: set[FileKey] = set()
        """Copies that will be read once more is accepted."""
        self.copies = Copies(table)
        self._context = context
        self._clock = context.clock
        self._groups = groups
        self._table = table
        self._open = open_files
        self._hot: dict[FileKey, TailFile] = {}
        self._directories: set[str] = set()
        self._unseen_looks: dict[str, int] = {}
        self._first = True
        self._next_scan_ms = 0
        self._ended = False

    # -- looking

    def refresh(self, scan_interval_ms: int) -> None:
        """Look at all files when it is time, else only at those that grew lately. Blocks."""
        now = self._clock.monotonic_ms()
        if now >= self._next_scan_ms:
            self.scan()
            took = self._clock.monotonic_ms() - now
            self._next_scan_ms = now + max(scan_interval_ms, took * _SCAN_SHARE)
            return
        for file in list(self._hot.values()):
            if now - file.changed_ms > _HOT_MS:
                del self._hot[file.key]
            else:
                self._look_at(file)

    def scan(self) -> None:
        """Look at every file and every directory. Blocks."""
        now = self._clock.monotonic_ms()
        seen: set[FileKey] = set()
        new: list[tuple[int, str, os.stat_result, Group]] = []
        for path, status, group in self._matching():
            key = key_of(status)
            if key in seen:
                continue
            seen.add(key)
            file = self.files.get(key)
            if file is not None:
                file.path = file.name = path
                file.missing, file.blocked = 0, False
                self._observe(file, status)
            elif not self._ended or key in self.awaited:
                new.append((status.st_mtime_ns, path, status, group))
        self.awaited.clear()
        self._discover_all(sorted(new, key=lambda entry: entry[:2]))
        self._look_for_missing(seen)
        self.copies.looked(self._stream_of)
        self._close_idle(now)
        self.problems.forget_vanished({group.root for group in self._groups})
        self._first, self.flume = False, {}

    def _stream_of(self, key: FileKey) -> str | None:
        return self.files[key].stream if key in self.files else None

    def _matching(self) -> Iterator[tuple[str, os.stat_result, Group]]:
        for group in self._groups:
            try:
                for path in group.paths():
                    try:
                        status = os.stat(path)  # noqa: PTH116 - once per file and look
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        self.problems.note(path, error)
                        continue
                    if stat.S_ISREG(status.st_mode):
                        self._directories.add(os.path.dirname(path))  # noqa: PTH120
                        yield path, status, group
                os.scandir(group.root).close()
                self.problems.gone(group.root)
            except OSError as error:
                self.problems.note(group.root, error)

    def _look_at(self, file: TailFile) -> None:
        fd = self._open.peek(file.key)
        try:
            status = os.fstat(fd) if fd is not None else os.stat(file.path)  # noqa: PTH116
        except OSError:
            return
        if key_of(status) == file.key:
            self._observe(file, status)

    def _observe(self, file: TailFile, status: os.stat_result) -> None:
        size, mtime_ns = status.st_size, status.st_mtime_ns
        file.deleted = status.st_nlink == 0
        if file.deleted:
            self._open.pin(file.key)
        if size == file.size and mtime_ns == file.mtime_ns:
            self._offer(file)
            return
        file.verify = size <= file.size
        file.size, file.mtime_ns = size, mtime_ns
        file.changed_ms = self._clock.monotonic_ms()
        self._hot[file.key] = file
        if size < file.next:
            self.restart(file)
        file.partial = -1
        self._offer(file)

    def _offer(self, file: TailFile) -> None:
        if file.unread or (file.verify and not file.blocked):
            self.ready.setdefault(file.key, file)

    # -- recognising

    def _discover_all(self, new: list[tuple[int, str, os.stat_result, Group]]) -> None:
        """Files of which something is known first: what others are copies of is known then."""
        unknown = []
        for entry in new:
            _, path, status, group = entry
            if self._table.known(key_of(status), path) or status.st_ino in self.flume:
                self._discover(path, status, group, path)
            else:
                unknown.append(entry)
        live: dict[str, list[TailFile]] = {}
        for file in self.files.values() if unknown else ():
            live.setdefault(Path(file.name).name, []).append(file)
        names = live.keys() | {Path(path).name for _, path, _, _ in unknown}
        maybe = []
        for entry in unknown:
            _, path, status, group = entry
            if self.copies.may_be_one(path, names):
                maybe.append(entry)
            else:
                self._discover_new(path, status, group, live)
        # A copy's name is longer than its original's.
        for _, path, status, group in sorted(maybe, key=lambda entry: len(Path(entry[1]).name)):
            self._discover_copy(path, status, group, live)

    def _discover_new(
        self, path: str, status: os.stat_result, group: Group, live: dict[str, list[TailFile]]
    ) -> TailFile | None:
        self._discover(path, status, group, path)
        file = self.files.get(key_of(status))
        if file is not None:
            live.setdefault(Path(path).name, []).append(file)
        return file

    def _discover_copy(
        self,
        path: str,
        status: os.stat_result,
        group: Group,
        live: dict[str, list[TailFile]],
    ) -> None:
        key = key_of(status)
        try:
            fd, status = open_file(path)
            with closing(os.fdopen(fd, "rb", 0)):
                verdict = self.copies.judge(path, key, fd, self._originals(path, live))
        except FileNotFoundError:
            self._next_scan_ms = 0
            return
        except OSError as error:
            self.problems.note(path, error)
            return
        if verdict is Wait.ACCEPTED:
            self.awaited.add(key)
        if isinstance(verdict, Wait) or key_of(status) != key:
            return
        file = self._discover_new(path, status, group, live)
        if file is not None and verdict:
            _log.info(
                "%s: %r is a copy; its first %d bytes were read in the original",
                self._context.part, printable(path), verdict,
            )  # fmt: skip
            file.skip_to, self.skips = verdict, True
            file.end = file.size if self._ended else None

    def _originals(self, path: str, live: Mapping[str, Sequence[TailFile]]) -> Iterator[Live]:
        for name in originals(Path(path).name):
            for file in live.get(name, ()):
                fd = self.descriptor(file)
                if fd is not None:
                    yield Live(file.next, file.hash, fd)

    def _discover(self, path: str, status: os.stat_result, group: Group, name: str) -> None:
        key = key_of(status)
        known = self._table.known(key, path)
        found = None
        try:
            if known and self._is_same(key, path, status, known[0]):
                found = known[0]
        except FileNotFoundError:
            self._next_scan_ms = 0
            return
        except OSError as error:
            self.problems.note(path, error)
            return
        now = self._clock.monotonic_ms()
        stream = self._table.begin(key) if found is None else self._table.resume(found)
        file = TailFile(stream, key, path, name, group, changed_ms=now)
        file.size, file.mtime_ns = status.st_size, status.st_mtime_ns
        if found is not None:
            file.next = found.next
            file.hash = found.mark.hash if found.mark is not None else ""
            if file.hash:
                file.places.append((file.next, file.hash))
        elif self._first and not known:
            self._begin_behind(file, status)
        self.files[key] = self._hot[key] = file
        self._offer(file)
        if len(self._open) < self._open.limit and file.unread:
            self.descriptor(file)

    def _begin_behind(self, file: TailFile, status: os.stat_result) -> None:
        """Pass over what Flume has read or what is not wanted, in a file no channel knows."""
        place = None
        try:
            if status.st_ino in self.flume:
                fd = self._open.get(file.key, file.path)
                place = place_of(self.flume[status.st_ino], file.path, fd, status.st_size)
        except OSError as error:
            self.problems.note(file.path, error)
        if place is None and self.skip_to_end:
            place = self._last_line_start(file.path, status)
        if place:
            file.skip_to, self.skips = place, True

    def _is_same(self, key: FileKey, path: str, status: os.stat_result, known: KnownStream) -> bool:
        if status.st_size < known.next:
            return False
        if known.next == 0 or known.mark is None:
            return True
        tail = tail_before(self._open.get(key, path), known.next)
        return tail is not None and fingerprint(tail) == known.mark.hash

    def _last_line_start(self, path: str, status: os.stat_result) -> int:
        """Behind the last newline, if it is among the last MiB, so that no row starts half-way."""
        start = max(0, status.st_size - 2**20)
        try:
            data = os.pread(self._open.get(key_of(status), path), 2**20, start)
        except OSError as error:
            self.problems.note(path, error)
            return status.st_size
        return start + data.rfind(b"\n") + 1 if b"\n" in data or start == 0 else status.st_size

    def restart(self, file: TailFile) -> None:
        """The file's content was replaced: its stream is over, another incarnation begins."""
        _log.info("%s: %r was truncated or replaced", self._context.part, printable(file.path))
        self.copies.truncated(file.stream, file.name, file.places)
        file.places.clear()
        file.stream = self._table.begin(file.key)
        file.next, file.hash, file.skip_to, file.partial = 0, "", 0, -1
        file.verify, file.batches = False, 0
        if self._ended:
            file.end = 0
        self.offer(file)

    # -- moved and gone

    def _look_for_missing(self, seen: set[FileKey]) -> None:
        missing = [file for key, file in self.files.items() if key not in seen]
        nowhere = [file for file in missing if not self._still_there(file)]
        unseen = self._table.unseen()
        wanted = {file.key for file in nowhere} | {stream.key for stream in unseen}
        if not wanted:
            return
        places = {str(Path(file.path).parent) for file in nowhere}
        places |= {str(Path(s.mark.path).parent) for s in unseen if s.mark is not None}
        found = find_by_inode(sorted(self._directories | places), wanted)
        for file in nowhere:
            if file.key in found:
                file.path, file.missing, file.blocked = found[file.key], 0, False
                self._look_at(file)
            elif self._open.peek(file.key) is None:
                self._count_missing(file)
        for stream in unseen:
            self._look_for_unseen(stream, found.get(stream.key))

    def _still_there(self, file: TailFile) -> bool:
        """Under a name that is not watched; its path may also belong to another file by now."""
        try:
            status = os.stat(file.path)  # noqa: PTH116
            if key_of(status) == file.key:
                file.missing, file.blocked = 0, False
                self._observe(file, status)
                return True
        except OSError:
            pass
        if self._open.peek(file.key) is not None:
            self._look_at(file)
        return file.deleted

    def _count_missing(self, file: TailFile) -> None:
        if not is_mounted(file.path, file.key[0]):
            return
        file.missing += 1
        if file.missing >= _LOOKS:
            if file.size > file.next:
                self.lost_bytes += file.size - file.next
                _log.warning(
                    "%s: %r was deleted before its last %d bytes were read",
                    self._context.part, printable(file.path), file.size - file.next,
                )  # fmt: skip
            self._finish(file)

    def _look_for_unseen(self, stream: KnownStream, path: str | None) -> None:
        if stream.key in self.files:
            return
        if path is not None:
            name = path if stream.mark is None else stream.mark.path
            group = group_of(self._groups, name)
            if self._ended or group is None:
                return
            try:
                status = os.stat(path)  # noqa: PTH116
                # An unwatched name may be any file that got the inode: only the content counts.
                if self._is_same(stream.key, path, status, stream):
                    self._discover(path, status, group, name)
                    return
            except OSError as error:
                self.problems.note(path, error)
                return
        elif stream.mark is not None and not is_mounted(stream.mark.path, stream.key[0]):
            return
        looks = self._unseen_looks.get(stream.name, 0) + 1
        self._unseen_looks[stream.name] = looks
        if looks >= _LOOKS:
            self._table.give_up(stream)

    def _close_idle(self, now: int) -> None:
        crowded = self._open.pinned * 2 > self._open.limit
        for file in list(self.files.values()):
            if file.unread or self._open.peek(file.key) is None:
                continue
            if file.deleted and crowded and file.next >= file.size:
                self._finish(file)
            elif now - file.changed_ms >= self.idle_ms:
                if file.deleted and file.next >= file.size:
                    self._finish(file)
                elif not file.deleted:
                    self._open.close(file.key)

    def _finish(self, file: TailFile) -> None:
        self._open.close(file.key)
        self.copies.gone(file.stream, file.name, file.places)
        for table in (self.files, self.ready, self._hot):
            table.pop(file.key, None)

    # -- for the reader

    def descriptor(self, file: TailFile) -> int | None:
        """A descriptor of the file; None when it cannot be opened now (tried again later)."""
        try:
            return self._open.get(file.key, file.path)
        except FileNotFoundError:
            self._next_scan_ms = 0
        except OSError as error:
            self.problems.note(file.path, error)
        self._block(file)
        return None

    def failed(self, file: TailFile, error: OSError) -> None:
        """A read failed; it is tried again, with a new descriptor, after the next scan."""
        self.problems.note(file.path, error)
        if not file.deleted:
            self._open.close(file.key)
        self._block(file)

    def _block(self, file: TailFile) -> None:
        file.blocked = True
        self.ready.pop(file.key, None)

    def end(self) -> None:
        """The present sizes are the end; files that appear later are left alone."""
        self.scan()
        self._ended = True
        for file in self.files.values():
            file.end = file.size
            file.partial = -1
            self._offer(file)

    def offer(self, file: TailFile) -> None:
        """There may be something to read again, or no longer."""
        self.ready.pop(file.key, None)
        self._offer(file)
