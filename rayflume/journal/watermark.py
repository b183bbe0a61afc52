"""How far the rows of a journal have come in event time, and which partitions are over. Pure.

What is late is decided by the order of the journal. Its watermark is that of the rows before the
oldest unfinished one: all of these are in the lake. A row that comes behind them with an event time
below it is late, whenever that was noticed. So what was once true of the watermark stays true, and
a partition that is sealed on its word lacks no row that came in time. Rules:

- A stream counts with the highest event time of its finished rows, a source with the lowest of its
  streams, the journal with the lowest of its sources. A source that the plan expects and nobody has
  heard of holds the watermark where it is.
- A stream counts until the rows that came before it retired are finished, or until it is idle: all
  of it is finished, and when its source last said that it has nothing to read, nothing had come of
  it for `idle_timeout`. That time is the source's own: it goes on only while the source puts rows
  or says so, and a gap between two such signs counts for GAP_MS at most. So a source that is
  blocked or gone does not become idle, nor does a stream whose rows wait behind those of others.
- Of a source that was not heard of for SILENT_MS nothing is idle, until as many others as the plan
  expects are there in its place.
- A partition is open, then sealed, then marked. What is committed into a sealed one is late.
- Only deliveries of sinks that mark partitions tell event times: others know no `future_limit`.
  A sink that neither delivers nor asks for long is forgotten, and with the last one all the rest.

Times of streams, counts and seals are durable; who was heard of when is not. After a restart all
count again until they have been idle for their time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

from rayflume.batch import Extent
from rayflume.completeness import Counted, Sealed, Watermark, WatermarkQuery, source_of
from rayflume.interfaces import Manifest, StreamPosition

GAP_MS = 2_500
SILENT_MS = 30_000
Meta: TypeAlias = dict[str, Any]


@dataclass
class _Stream:
    """`high`: event time of finished rows, None: not known. `held`: it counts although `high` is
    not known. `stop`: position behind its last rows. `active_ms`: its source's time then.
    """

    high: int | None = None
    held: bool = False
    stop: int = 0
    active_ms: int = 0


@dataclass
class _Source(_Stream):
    """`clock_ms`: time in which it was at work or had nothing to read. `empty_ms`: that time when
    it last said that it has nothing to read. `heard_ms`: monotonic.
    """

    clock_ms: int = 0
    empty_ms: int = 0
    heard_ms: int | None = None


@dataclass
class _Rows:
    """Of one partition. `over_ms`: the end of its time."""

    over_ms: int
    rows: int = 0
    files: int = 0

    def add(self, rows: int, files: int) -> None:
        self.rows += rows
        self.files += files


@dataclass
class _Lake:
    """The partitions of one sink. `reached`: the highest watermark that it was told. `still_ms`:
    journal's time since which, as far as this process knows, it neither delivered nor asked.
    """

    reached: int | None = None
    sealed: int | None = None
    open: dict[str, _Rows] = field(default_factory=dict)
    complete: dict[str, Counted] = field(default_factory=dict)
    late: dict[tuple[str, str], Counted] = field(default_factory=dict)
    still_ms: int | None = None

    def count(self, directory: str, delivery: str, more: _Rows) -> None:
        """Rows of a committed delivery."""
        if self.sealed is not None and more.over_ms <= self.sealed:
            found = Counted(directory, more.over_ms, more.rows, more.files, delivery)
            self.late[directory, delivery] = found
        else:
            known = self.open.setdefault(directory, _Rows(more.over_ms))
            known.over_ms = max(known.over_ms, more.over_ms)
            known.add(more.rows, more.files)

    def seal(self, until: int, journal: str) -> None:
        if self.sealed is not None and until <= self.sealed:
            return
        self.sealed = until
        for directory in [d for d, rows in self.open.items() if rows.over_ms <= until]:
            rows = self.open.pop(directory)
            note = f"{journal}-{until}"
            self.complete[directory] = Counted(directory, rows.over_ms, rows.rows, rows.files, note)

    def oldest(self) -> tuple[str, int] | None:
        ends = {directory: rows.over_ms for directory, rows in self.open.items()}
        ends |= {c.directory: c.over_ms for c in (*self.complete.values(), *self.late.values())}
        return min(ends.items(), key=lambda item: (item[1], item[0]), default=None)


class Completeness:
    """The event times and partitions of one journal. Costs nothing before the first `begin`."""

    def __init__(self) -> None:
        self.on = False
        self._prefix = 0
        self._sources: dict[str, _Source] = {}
        self._streams: dict[str, _Stream] = {}
        self._pending: list[tuple[int, dict[str, int]]] = []
        """Last position and highest times of committed deliveries behind an unfinished row."""
        self._retiring: list[tuple[int, str]] = []
        """Position behind the last rows of a retired stream that may be unfinished."""
        self._lakes: dict[str, _Lake] = {}

    # -- told by records ------------------------------------------------------------------------

    def begin(self, streams: Mapping[str, StreamPosition], position: int) -> None:
        """From now on event times count. The streams that live hold the watermark until something
        is known of them; the journal has given out the positions before `position`.
        """
        if not self.on:
            self.on = True
            for name in (name for name, known in streams.items() if not known.retired):
                self._streams[name] = _Stream(held=True, stop=position)
                self._source(source_of(name))

    def put(self, extents: Sequence[Extent], source: str, stop: int) -> None:
        """Rows came. `source`: as in PutRequest; `stop`: the position behind all of them."""
        for extent in extents if self.on else ():
            if extent.rows:
                name = source if extent.keyed else extent.stream
                origin = self._source(source_of(name))
                stream = self._streams.setdefault(name, _Stream())
                stream.stop = origin.stop = stop
                stream.active_ms = origin.active_ms = origin.clock_ms

    def committed(self, manifest: Manifest, stop: int) -> None:
        """A delivery of a sink that marks partitions is done; `stop` is the position behind its
        last row.
        """
        if not self.on:
            return
        if manifest.event_times:
            highs = {name: high for name, (_, high) in manifest.event_times.items()}
            self._pending.append((stop, highs))
        counts = {d: _Rows(over_ms) for d, over_ms in manifest.partitions.items()}
        for file in manifest.files:
            directory = file.target.rpartition("/")[0]
            if directory in counts and not file.dead:
                counts[directory].add(file.rows, 1)
        lake = self._lake(manifest.sink)
        for directory, rows in counts.items():
            lake.count(directory, manifest.delivery, rows)

    def retired(self, streams: Iterable[str], position: int) -> None:
        """Streams come no more; what came of them is before `position`."""
        self._retiring += [(position, name) for name in streams if name in self._streams]

    def advance(self, prefix: int) -> None:
        """All rows before position `prefix` are finished."""
        if not self.on or prefix < self._prefix:
            return
        self._prefix = prefix
        ready = [highs for stop, highs in self._pending if stop <= prefix]
        if ready:
            self._pending = [item for item in self._pending if item[0] > prefix]
        for highs in ready:
            for name, high in highs.items():
                self._reached(self._source(source_of(name)), high)
                if name in self._streams:  # else it has retired, and all of it is finished
                    self._reached(self._streams[name], high)
        if self._retiring and self._retiring[0][0] <= prefix:
            for position, name in self._retiring:
                stream = self._streams.get(name)
                if position <= prefix and stream is not None and stream.stop <= position:
                    del self._streams[name]
            self._retiring = [item for item in self._retiring if item[0] > prefix]

    @staticmethod
    def _reached(stream: _Stream, high: int) -> None:
        stream.high = high if stream.high is None else max(stream.high, high)
        stream.held = False

    def apply(self, meta: Meta, journal: str) -> None:
        """What `seal_record` or `marked_record` says."""
        lake = self._lake(meta["sink"])
        if meta.get("until") is not None:
            lake.seal(meta["until"], journal)
            lake.reached = meta["reached"]
        for directory in meta.get("marked", ()):
            lake.complete.pop(directory, None)
        for directory, delivery in meta.get("late", ()):
            lake.late.pop((directory, delivery), None)

    def _source(self, key: str) -> _Source:
        return self._sources.setdefault(key, _Source())

    def _lake(self, sink: str) -> _Lake:
        lake = self._lakes.setdefault(sink, _Lake())
        lake.still_ms = None
        return lake

    def kept(self, now_ms: int, limit_ms: int) -> Completeness:
        """What goes on without the sinks that have been still since `limit_ms`. To be asked now and
        then; both are the journal's time.
        """
        for sink, lake in list(self._lakes.items()):
            if lake.still_ms is None:
                lake.still_ms = now_ms
            elif lake.still_ms <= limit_ms:
                del self._lakes[sink]
        return self if self._lakes else Completeness()

    # -- told as it happens ---------------------------------------------------------------------

    def idle(self, source: str, now_ms: int) -> None:
        """A source says that it has nothing to read. `now_ms` is monotonic."""
        self.heard(source, now_ms)
        if self.on:
            known = self._source(source)
            known.empty_ms = known.clock_ms

    def heard(self, source: str, now_ms: int) -> None:
        """A source lives: it puts rows. `now_ms` is monotonic."""
        if not self.on:
            return
        known = self._source(source)
        if known.heard_ms is not None:
            known.clock_ms += max(0, min(now_ms - known.heard_ms, GAP_MS))
        known.heard_ms = now_ms

    # -- asked ----------------------------------------------------------------------------------

    def watermark(self, query: WatermarkQuery, journal: str, now_ms: int) -> Watermark:
        """Where the journal stands for a sink. It never goes back. `now_ms` is monotonic."""
        lake = self._lake(query.sink)
        looks = _Looks(self._sources, self._prefix, query.idle_timeout_ms, now_ms)
        for name, stream in self._streams.items():
            looks.streams.setdefault(source_of(name), []).append(stream)
        found: dict[str, int | None] = {}
        for name, count in query.expected.items():
            found |= looks.places(name, count)
        times = [time for time in found.values() if time is not None]
        low = min(times) if times and len(times) == len(found) else None
        if low is not None and (lake.reached is None or low > lake.reached):
            lake.reached = low
        lowest = sorted(key for key, time in found.items() if time == low)
        return Watermark(journal, lake.reached, tuple(lowest), lake.oldest())

    def seal_record(self, sink: str, until: int | None) -> Meta | None:
        """The record that partitions which ended at `until` or before are over; None when that is
        known, or `until` is None. Never further than this journal has told to have come, whoever
        asks.
        """
        lake = self._lake(sink)
        if until is not None:
            until = None if lake.reached is None else min(until, lake.reached)
        if self.on and (until is None or (lake.sealed is not None and until <= lake.sealed)):
            return None
        return {"sink": sink, "until": until, "reached": lake.reached}

    def sealed(self, sink: str, journal: str) -> Sealed:
        """What is decided and not marked, the oldest first."""
        lake = self._lake(sink)
        complete = sorted(lake.complete.values(), key=lambda c: (c.over_ms, c.directory))
        late = sorted(lake.late.values(), key=lambda c: (c.over_ms, c.directory, c.note))
        return Sealed(journal, lake.sealed, tuple(complete), tuple(late))

    def marked_record(self, sink: str, done: Sequence[Counted]) -> Meta | None:
        """The record that these are marked; None when all of that is known."""
        lake = self._lake(sink)
        marked = [c.directory for c in done if lake.complete.get(c.directory) == c]
        late = [[c.directory, c.note] for c in done if (c.directory, c.note) in lake.late]
        return {"sink": sink, "marked": marked, "late": late} if marked or late else None

    # -- kept -----------------------------------------------------------------------------------

    def to_json(self) -> Meta | None:
        """The durable state; None when there is none."""
        if not self.on:
            return None
        return {
            "prefix": self._prefix,
            "streams": {n: [s.high, int(s.held), s.stop] for n, s in self._streams.items()},
            "sources": {key: [s.high, s.stop] for key, s in self._sources.items()},
            "pending": [[stop, highs] for stop, highs in self._pending],
            "retiring": [list(item) for item in self._retiring],
            "lakes": {sink: _lake_to_json(lake) for sink, lake in self._lakes.items()},
        }

    @staticmethod
    def from_json(state: Mapping[str, Any] | None) -> Completeness:
        """The inverse of to_json; nobody was heard of yet."""
        self = Completeness()
        if state is not None:
            self.on, self._prefix = True, state["prefix"]
            rows = state["streams"].items()
            self._streams = {n: _Stream(high, bool(held), stop) for n, (high, held, stop) in rows}
            sources = state["sources"].items()
            self._sources = {key: _Source(high, stop=stop) for key, (high, stop) in sources}
            self._pending = [(stop, highs) for stop, highs in state["pending"]]
            self._retiring = [(position, name) for position, name in state["retiring"]]
            self._lakes = {sink: _lake_from_json(lake) for sink, lake in state["lakes"].items()}
        return self


@dataclass
class _Looks:
    """One look at all sources. `streams`: source -> its streams."""

    sources: Mapping[str, _Source]
    prefix: int
    idle_ms: int
    now_ms: int
    streams: dict[str, list[_Stream]] = field(default_factory=dict)

    def places(self, name: str, count: int) -> Iterator[tuple[str, int | None]]:
        """The sources of one id that count, and their times. One that never came is there under
        its id alone.
        """
        quoted = quote(name, safe="")
        known = {k: s for k, s in self.sources.items() if k.partition("/")[2] == quoted}
        living = {k: s for k, s in known.items() if self.is_heard(s)}
        if len(known) < count:
            yield name, None
        for key, source in (living if len(living) >= count else known).items():
            counting = [
                stream.high
                for stream in self.streams.get(key, ())
                if (stream.held or stream.high is not None) and not self.is_idle(stream, source)
            ]
            if counting:
                times = [time for time in counting if time is not None]
                yield key, min(times) if len(times) == len(counting) else None
            elif not self.is_idle(source, source):
                yield key, source.high

    def is_idle(self, stream: _Stream, source: _Source) -> bool:
        still = source.empty_ms - stream.active_ms >= self.idle_ms
        return still and stream.stop <= self.prefix and self.is_heard(source)

    def is_heard(self, source: _Source) -> bool:
        return source.heard_ms is not None and self.now_ms - source.heard_ms <= SILENT_MS


def _lake_to_json(lake: _Lake) -> Meta:
    counts = {"complete": lake.complete.values(), "late": lake.late.values()}
    return {
        "reached": lake.reached,
        "sealed": lake.sealed,
        "open": {d: [rows.over_ms, rows.rows, rows.files] for d, rows in lake.open.items()},
        **{
            name: [[c.directory, c.over_ms, c.rows, c.files, c.note] for c in counted]
            for name, counted in counts.items()
        },
    }


def _lake_from_json(state: Mapping[str, Any]) -> _Lake:
    complete = [Counted(*row) for row in state["complete"]]
    late = [Counted(*row) for row in state["late"]]
    return _Lake(
        state["reached"],
        state["sealed"],
        {directory: _Rows(*row) for directory, row in state["open"].items()},
        {c.directory: c for c in complete},
        {(c.directory, c.note): c for c in late},
    )
