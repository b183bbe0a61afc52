"""Telling the copy that copy-truncate rotation makes from a new file, so that it is read only where
the original was not.

    app.log --copy--> app.log.1        app.log truncated to nothing, and written on

A copy is known by its name (it begins with the original's, or has something added before the same
ending) and by what is in it: the hash of the last 1 KiB before a place up to which the original was
read. While the original still has its bytes, they are read there and the copy waits. When the
original was truncated, the copy goes on where the original stood, once all that was read of the
original is accepted; before, it waits, too. The original's stream retires only when the channels
know of the copy, so that a source that dies meanwhile finds it again.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import TypeAlias

from rayflume.interfaces import StreamPosition
from rayflume.lines import TAIL_BYTES, fingerprint
from rayflume.sources._stream import (
    FileKey,
    Mark,
    StreamTable,
    tail_before,
)

Place: TypeAlias = "tuple[int, str]"
"""An offset and the fingerprint there."""

PLACES_MAX = 8
"""So many latest places of a file are remembered: a copy may end before the last one."""
_ENDED_MAX = 10_000
_SEPARATORS = ".-_"
_ORIGINALS_MAX = 32


class Wait(Enum):
    """Why a file is not read yet."""

    ORIGINAL = auto()
    """Its bytes are read in the original."""
    ACCEPTED = auto()
    """What was read of the original is on its way into the channel."""


@dataclass(frozen=True, slots=True)
class Live:
    """A file that is followed now: read up to `next`, with `hash` there; `fd` reads it."""

    next: int
    hash: str
    fd: int


@dataclass(frozen=True, slots=True)
class _Ended:
    """A stream whose file was replaced. `sure`: the file was seen without what was read of it."""

    stream: str
    path: str
    places: tuple[Place, ...]
    sure: bool


@dataclass(slots=True)
class _Kept:
    """A stream that must not retire yet. `copy`: who goes on with it, from `place`."""

    copy: FileKey | None = None
    place: int = 0


@dataclass
class Copies:
    """What is known of the files that copies may be of."""

    table: StreamTable
    _ended: OrderedDict[str, _Ended] = field(default_factory=OrderedDict)
    _names: dict[str, list[str]] = field(default_factory=dict)
    _waited: dict[FileKey, int] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _awaited: set[str] = field(default_factory=set)

    def load(self, positions: Mapping[str, StreamPosition]) -> None:
        """Take what the channels know: a copy may have been made while nothing ran."""
        for stream, position in positions.items():
            mark = Mark.decode(position.token)
            if mark is not None and mark.hash and position.next:
                places = ((position.next, mark.hash),)
                self._add(_Ended(stream, mark.path, places, sure=not position.retired))
                if not position.retired and self.table.is_unseen(stream):
                    self._keep(stream)

    def gone(self, stream: str, path: str, places: Iterable[Place]) -> None:
        """The file of a stream was deleted, or is not to be found."""
        self.table.finish(stream)
        self._ended_at(stream, path, tuple(places), sure=False)

    def truncated(self, stream: str, path: str, places: Iterable[Place]) -> None:
        """A file no longer holds what was read of it as this stream."""
        self._keep(stream)
        self.table.finish(stream)
        self._ended_at(stream, path, tuple(places), sure=True)

    def _keep(self, stream: str) -> None:
        self.table.keep(stream)
        self._kept[stream] = _Kept()

    def _ended_at(self, stream: str, path: str, places: tuple[Place, ...], *, sure: bool) -> None:
        if places:
            self._add(_Ended(stream, path, places, sure))

    def looked(self, stream_of: Callable[[FileKey], str | None]) -> None:
        """All files were looked at. `stream_of` gives the stream of a file that is there."""
        for stream, kept in list(self._kept.items()):
            if kept.copy is None:
                waits = stream in self._awaited or self.table.is_unseen(stream)
                over = self.table.is_over(stream)
                done = not waits and (self.table.is_settled(stream) or not over)
            else:
                name = stream_of(kept.copy)
                done = name is None or self.table.accepted_to(name) >= kept.place
            if done:
                del self._kept[stream]
                self.table.let_go(stream)
        self._awaited.clear()

    def _add(self, entry: _Ended) -> None:
        self._drop(entry.stream)
        self._ended[entry.stream] = entry
        self._names.setdefault(Path(entry.path).name, []).append(entry.stream)
        while len(self._ended) > _ENDED_MAX:
            self._drop(next(iter(self._ended)))

    def _drop(self, stream: str) -> None:
        entry = self._ended.pop(stream, None)
        if entry is not None:
            name = Path(entry.path).name
            self._names[name].remove(stream)
            if not self._names[name]:
                del self._names[name]

    def may_be_one(self, path: str, live: Set[str]) -> bool:
        """Whether a name is that of a copy of something we know; cheap."""
        return any(name in self._names or name in live for name in originals(Path(path).name))

    def judge(self, path: str, key: FileKey, fd: int, live: Iterable[Live]) -> int | Wait:
        """What of a new file is there already: so many bytes from its beginning, or wait.

        Raises OSError when one of the files cannot be read.
        """
        size = os.fstat(fd).st_size
        for original in live:
            if not _is_still(original):
                # Truncated, perhaps written on since: the next read will see it. Till then nothing
                # that the copy may be of is forgotten.
                for name in originals(Path(path).name):
                    self._awaited.update(self._names.get(name, ()))
                return Wait.ORIGINAL
            if _is_start_of(original, fd, size):
                self._waited[key] = min(size, original.next)
                return Wait.ORIGINAL
        waited = self._waited.get(key, 0)
        for name in originals(Path(path).name):
            for stream in self._names.get(name, ()):
                entry = self._ended[stream]
                if entry.path == path or not self.table.is_over(stream):
                    continue
                place = _common(entry, fd, size)
                if place and self.table.is_unseen(stream):
                    return Wait.ORIGINAL
                if place and not self.table.is_settled(stream):
                    self._awaited.add(stream)
                    return Wait.ACCEPTED
                if place:
                    if stream in self._kept:
                        self._kept[stream] = _Kept(key, place)
                    self._waited.pop(key, None)
                    self._drop(stream)
                    return place
        self._waited.pop(key, None)
        # It was the same as its original as far as that was read, and went on otherwise later.
        return waited if waited >= TAIL_BYTES else 0


def originals(name: str) -> list[str]:
    """The names of which `name` may be a rotated one: `app.log` for `app.log.1`, `app-1.log`."""
    cuts = [i for i, character in enumerate(name) if i and character in _SEPARATORS]
    base, dot, ending = name.rpartition(".")
    found = dict.fromkeys(name[:i] for i in reversed(cuts))
    if base:
        found |= dict.fromkeys(name[:i] + dot + ending for i in cuts if i < len(base))
    found.pop(name, None)
    return list(found)[:_ORIGINALS_MAX]


def _is_still(original: Live) -> bool:
    """Whether a file still holds what was read of it."""
    tail = tail_before(original.fd, original.next)
    return tail is not None and (not original.hash or fingerprint(tail) == original.hash)


def _is_start_of(original: Live, fd: int, size: int) -> bool:
    """Whether a file is, byte for byte as far as that is looked at, the beginning of another."""
    if size > os.fstat(original.fd).st_size:
        return False
    return all(
        tail_before(fd, place) == tail_before(original.fd, place)
        for place in {min(original.next, size), size}
    )


def _common(entry: _Ended, fd: int, size: int) -> int:
    """Up to where a file holds what was read of an ended stream; 0 when it is no copy of it."""
    last = entry.places[-1][0]
    if last < TAIL_BYTES and not entry.sure:
        return 0
    for place, expected in reversed(entry.places):
        tail = tail_before(fd, place) if place <= size else None
        if tail and fingerprint(tail) == expected:
            # A copy that ends before the last place was overtaken while it was made.
            return size if size < last else place
    return 0


def recent_places() -> deque[Place]:
    """Room for the latest places of a file."""
    return deque(maxlen=PLACES_MAX)


def went_back(places: deque[Place], place: Place) -> None:
    """What was read behind a place does not count as read any more."""
    while places and places[-1][0] >= place[0]:
        places.pop()
    if place[0]:
        places.append(place)
