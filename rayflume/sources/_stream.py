"""What a file's stream is called, how its place is found again, and what became of what was read.

A stream is one incarnation of one file: `<host id>/<source id>/<device>-<inode>/<incarnation>`.
Incarnations count up from 0 and are chosen from what the channels know, never from a clock: a
source that died with a put in flight and its successor must give the same bytes the same name, or
that put, arriving late, would count them twice.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from rayflume.batch import TOKEN_BYTES_MAX, EventBatch, Extent
from rayflume.component import Context
from rayflume.interfaces import StreamPosition
from rayflume.lines import TAIL_BYTES

FileKey: TypeAlias = tuple[int, int]
"""Device and inode."""

_ExtentTest: TypeAlias = Callable[[Extent], bool]

_KEYS_REMEMBERED = 1_000_000
# Channels forget a retired stream after days; by then this many files must not have come and gone.


def stream_prefix(context: Context, source_id: str | None) -> str:
    """What the names of all streams of a source start with; a slash in an id cannot end it."""
    return f"{_part(context.host_id)}/{_part(source_id or context.part)}/"


def _part(text: str) -> str:
    return quote(text, safe="")


def tail_before(fd: int, place: int) -> bytes | None:
    """The up to TAIL_BYTES bytes before a place; None if the file is shorter. Raises OSError."""
    start = max(0, place - TAIL_BYTES)
    tail = os.pread(fd, place - start, start)
    return tail if len(tail) == place - start else None


def printable(path: str) -> str:
    """A path as valid text: bytes that are not UTF-8 appear as escapes of their surrogates."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, as its token keeps it.

    `size` and `mtime_ns` are kept only for files that must not change (0 for growing ones). A path
    too long for a token loses its beginning.
    """

    hash: str
    path: str
    size: int = 0
    mtime_ns: int = 0

    def encode(self) -> bytes:
        facts: dict[str, str | int] = {"hash": self.hash, "path": printable(self.path)}
        if self.mtime_ns:
            facts |= {"size": self.size, "mtime_ns": self.mtime_ns}
        while len(token := json.dumps(facts, ensure_ascii=False).encode()) > TOKEN_BYTES_MAX:
            path = str(facts["path"])
            facts["path"] = path[len(path) // 8 + 1 :]
        return token

    @staticmethod
    def decode(token: bytes) -> Mark | None:
        """The inverse of encode; None for bytes that are no mark."""
        try:
            facts = json.loads(token)
            return Mark(
                str(facts["hash"]),
                str(facts["path"]),
                int(facts.get("size", 0)),
                int(facts.get("mtime_ns", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def is_at(self, path: str) -> bool:
        """Whether this was (as far as the token could keep it) a place in the file of that name."""
        text = printable(path)
        return text == self.path or (len(self.path) > 256 and text.endswith(self.path))


@dataclass(frozen=True, slots=True)
class KnownStream:
    """A stream the channels told of at start and that was not seen in a file since."""

    name: str
    key: FileKey
    incarnation: int
    next: int
    mark: Mark | None


class StreamTable:
    """Names of streams, how far each was handed out and accepted, and which are over.

    A stream that is over keeps its end in `_handed`, also when it is asked for again, so that it
    retires only once it is accepted up to there.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._known: dict[FileKey, list[KnownStream]] = {}
        self._by_inode: dict[int, list[KnownStream]] = {}
        self._latest: OrderedDict[FileKey, int] = OrderedDict()
        self._handed: dict[str, int] = {}
        self._accepted: dict[str, int] = {}
        self._over: set[str] = set()
        self._retired: list[str] = []
        self._kept: set[str] = set()

    def load(self, positions: Mapping[str, StreamPosition]) -> None:
        """Take what the channels know; names that are not of this source's form are left alone."""
        for name, position in positions.items():
            parsed = self._parse(name)
            if parsed is None:
                continue
            key, incarnation = parsed
            self._latest[key] = max(incarnation, self._latest.get(key, 0))
            if not position.retired:
                mark = Mark.decode(position.token)
                known = KnownStream(name, key, incarnation, position.next, mark)
                self._known.setdefault(key, []).append(known)
        for streams in self._known.values():
            streams.sort(key=lambda stream: -stream.incarnation)
            self._by_inode.setdefault(streams[0].key[1], []).extend(streams)

    def _parse(self, name: str) -> tuple[FileKey, int] | None:
        if not name.startswith(self._prefix):
            return None
        file, _, incarnation = name.removeprefix(self._prefix).partition("/")
        device, _, inode = file.partition("-")
        if not (device.isdecimal() and inode.isdecimal() and incarnation.isdecimal()):
            return None
        return (int(device), int(inode)), int(incarnation)

    def known(self, key: FileKey, path: str) -> list[KnownStream]:
        """Unfinished streams that may be this file's, the latest first.

        A device may get another number when the machine restarts; the same inode under the same
        path is then a candidate too.
        """
        if key in self._known:
            return self._known[key]
        return [
            stream
            for stream in self._by_inode.get(key[1], ())
            if stream.key in self._known and stream.mark is not None and stream.mark.is_at(path)
        ]

    def was_told_of(self, key: FileKey, path: str) -> bool:
        """Whether the channels know, or knew until it retired, any stream of a file."""
        return key in self._latest or bool(self.known(key, path))

    def unseen(self) -> list[KnownStream]:
        """All streams of the start that no file was found for yet."""
        return [stream for streams in self._known.values() for stream in streams]

    def resume(self, stream: KnownStream) -> str:
        """A file is this stream: go on with it. Older incarnations of the file are over."""
        self._handed[stream.name] = self._accepted[stream.name] = stream.next
        for other in self._known.pop(stream.key):
            if other.name != stream.name:
                self._retire(other.name)
        return stream.name

    def begin(self, key: FileKey) -> str:
        """A new incarnation of a file; all earlier ones that were not seen again are over."""
        for other in self._known.pop(key, ()):
            self._retire(other.name)
        incarnation = self._latest.pop(key, -1) + 1
        self._latest[key] = incarnation
        while len(self._latest) > _KEYS_REMEMBERED:
            self._latest.popitem(last=False)
        name = f"{self._prefix}{key[0]}-{key[1]}/{incarnation}"
        self._handed[name] = self._accepted[name] = 0
        return name

    def give_up(self, stream: KnownStream) -> None:
        """The file of a stream known at start is gone."""
        rest = [other for other in self._known.pop(stream.key, ()) if other.name != stream.name]
        if rest:
            self._known[stream.key] = rest
        self._retire(stream.name)

    def handed_out(self, extents: Iterable[Extent]) -> None:
        for extent in extents:
            handed = self._handed.get(extent.stream, 0)
            self._handed[extent.stream] = max(handed, extent.end)

    def accepted(self, extents: Iterable[Extent]) -> None:
        for extent in extents:
            if extent.end > self._accepted.get(extent.stream, extent.end):
                self._accepted[extent.stream] = extent.end
                self._settle(extent.stream)

    def has_accepted(self, extent: Extent) -> bool:
        """Whether nobody will ask for these rows again."""
        return extent.end <= self._accepted.get(extent.stream, extent.end)

    def handed_to(self, stream: str) -> int | None:
        """Up to where a stream was handed out; None for one that is unknown or retired."""
        return self._handed.get(stream)

    def rewound(self, stream: str, next: int) -> None:
        """The channels want the stream from `next` on, and it will be read from there."""
        if stream not in self._over:
            self._handed[stream] = next
        self.wanted_again(stream, next)

    def wanted_again(self, stream: str, next: int) -> None:
        """The channels want again what is kept in memory: it stays handed out."""
        self._accepted[stream] = next
        self._settle(stream)

    def finish(self, stream: str) -> None:
        """Nothing will be read of this stream any more; it retires once it is accepted."""
        self._over.add(stream)
        self._settle(stream)

    def is_over(self, stream: str) -> bool:
        """Whether nothing more will be read of a stream in its own file."""
        return stream in self._over or stream not in self._handed

    def is_unseen(self, stream: str) -> bool:
        """Whether the channels told of a stream whose file was not looked at yet."""
        parsed = self._parse(stream)
        known = self._known.get(parsed[0], ()) if parsed is not None else ()
        return any(other.name == stream for other in known)

    def is_settled(self, stream: str) -> bool:
        """Whether a stream that is over is accepted to its end."""
        return stream not in self._handed

    def _settle(self, stream: str) -> None:
        if stream in self._over and self._accepted[stream] >= self._handed[stream]:
            self._over.discard(stream)
            if self._accepted.pop(stream) > 0:
                self._retire(stream)
            else:
                self._kept.discard(stream)
            self._handed.pop(stream)

    def _retire(self, stream: str) -> None:
        if stream not in self._kept:
            self._retired.append(stream)

    def keep(self, stream: str) -> None:
        """A stream does not retire before it is let go of."""
        self._kept.add(stream)

    def let_go(self, stream: str) -> None:
        """A stream that was kept retires when it is over."""
        if stream in self._kept:
            self._kept.discard(stream)
            if self.is_settled(stream):
                self._retire(stream)

    def accepted_to(self, stream: str) -> int:
        """Up to where a stream that is not retired was accepted."""
        return self._accepted.get(stream, 0)

    def retired(self) -> list[str]:
        names, self._retired = self._retired, []
        return names


@dataclass(slots=True)
class _Handed:
    batch: EventBatch
    keep: list[bool]


class HandedOut:
    """Batches that are not accepted yet, to repeat rows whose file is no longer there.

    Costs no memory of its own: whoever puts a batch holds it until it is accepted.
    """

    def __init__(self) -> None:
        self._batches: list[_Handed] = []

    def add(self, batch: EventBatch) -> None:
        self._batches.append(_Handed(batch, [True] * len(batch.extents)))

    def accepted(self, table: StreamTable) -> None:
        """Drop what the channels have by now."""
        self._drop(table.has_accepted)

    def forget(self, stream: str, next: int) -> None:
        """The rows of the stream from `next` on will be read from their file again."""
        self._drop(lambda extent: extent.stream == stream and extent.start >= next)

    def _drop(self, is_done: _ExtentTest) -> None:
        for handed in self._batches:
            for i, extent in enumerate(handed.batch.extents):
                if handed.keep[i] and is_done(extent):
                    handed.keep[i] = False
        self._batches = [handed for handed in self._batches if any(handed.keep)]

    def take_back(self, stream: str, next: int, end: int) -> list[EventBatch] | None:
        """The rows `[next, end)` of a stream as they were handed out; None if some are missing."""
        found = []
        for handed in self._batches:
            mask = [
                keep and extent.stream == stream and extent.start >= next
                for keep, extent in zip(handed.keep, handed.batch.extents, strict=True)
            ]
            if any(mask):
                found.append(handed.batch.select_extents(mask))
        place = next
        for batch in found:
            for extent in batch.extents:
                if extent.start != place:
                    return None
                place = extent.end
        if place < end:
            return None
        self.forget(stream, next)
        return found
