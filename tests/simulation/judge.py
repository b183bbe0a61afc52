"""What must hold at every moment and at the end of every schedule."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.batch import EventBatch
from rayflume.channels._journaled import JournaledChannel
from rayflume.errors import JournalLocked
from rayflume.interfaces import Json, PutOutcome, PutRequest
from rayflume.journal.intervals import Intervals
from rayflume.journal.segment import ALIGN, HEAD, Head, Kind, Meta, body_of, decode_head, peek
from rayflume.naming import delivery_of
from simulation.disk import Machine
from simulation.inputs import AHEAD, SLOT, is_delivered, row_of
from simulation.kernel import Process

if TYPE_CHECKING:
    from simulation.world import World

STAGED_MAX = 400
LEASES_MAX = 12
FILES_MAX = 60
STRAYS = 30
Row = tuple[str, int]


class Violation(AssertionError):
    """Something that must never happen has happened."""


class Judge:
    """Sees every change of a lake, and reads all of it at the end."""

    looks_at_platter = True
    """What is prepared must be durable before it is visible."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._prepared: set[tuple[str, str]] = set()
        """Delivery and target of every file that was prepared."""
        self._stored: dict[str, set[Row]] = {}
        """Channel -> rows it said it has."""
        self.flipped: set[tuple[str, int]] = set()
        """Segment and offset of the records that were damaged on the disk,"""
        self.damaged: set[Row] = set()
        """and their rows: they may be lost, or be read again."""
        self.marked = 0
        """Partitions that were marked as complete in a lake that must get all rows."""
        self.expired = False
        """Whether a staged upload has vanished."""

    def _violation(self, what: str) -> Violation:
        """Kept by the kernel, for what a part raises its runner may take for a crash."""
        violation = Violation(what)
        self._world.kernel.failure = self._world.kernel.failure or violation
        return violation

    # -- at every moment ------------------------------------------------------------------------

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A channel's calls: what it says it has is noted, and that its state does not grow."""
        optional = name in self._world.topology.optional

        def watching(method: str, *args: Any) -> Any:
            channel = call.__self__.channel  # type: ignore[attr-defined]
            fresh = self._fresh(channel, args[0]) if method == "put" and optional else set()
            result = call(method, *args)
            if fresh and result.outcome is PutOutcome.STORED:
                self._stored.setdefault(name, set()).update(fresh)
            if method == "take":
                self._bounded(channel)
            return result

        return watching

    def _fresh(self, channel: JournaledChannel, request: PutRequest) -> set[Row]:
        """The rows of a put that are not skipped already: those will never be there."""
        ledger = getattr(channel._journal, "ledger", None)
        known = {} if ledger is None else ledger.streams
        batch = EventBatch.decode(request.payload, request.extents)
        keep = [
            extent.stream not in known or extent.start >= known[extent.stream].next
            for extent in request.extents
        ]
        return {row_of(body) for body in batch.select_extents(keep).body.to_pylist()}

    def _bounded(self, channel: JournaledChannel) -> None:
        ledger = channel._journal.ledger
        leases = len(ledger._leases)
        if leases > LEASES_MAX:
            raise self._violation(f"{leases} deliveries are leased at once")

    def changed(self, lake: str, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
        """A lake has changed: no file may vanish or change, and a new one must be prepared."""
        if after.keys() == before.keys():
            if any(after[path] is not data for path, data in before.items()):
                raise self._violation(f"a visible file of {lake} was replaced")
            return
        for path, data in before.items():
            if after.get(path) is not data:
                raise self._violation(f"the visible file {path} of {lake} was replaced or removed")
        for path in after.keys() - before.keys():
            self._world.kernel.note(f"{lake} shows {path}")
            if path.endswith("/_SUCCESS"):
                self._complete(lake, path.rpartition("/")[0], after)
            delivery = delivery_of(path)
            if delivery is not None and not self._is_prepared(lake, delivery, path):
                raise self._violation(f"{path} is visible in {lake}, but was never prepared")

    def _is_prepared(self, lake: str, delivery: str, target: str) -> bool:
        """Whether the journal's own disk says so."""
        if (delivery, target) not in self._prepared:
            machine = self._world.machines[self._world.topology.sinks[lake][0]]
            files = [bytes(file.platter) for file in machine.entries.values()]
            if not self.looks_at_platter:
                files = [bytes(file.data) for file in machine.files.values()]
            for data in files:
                self._prepared |= set(prepared_in(data))
        return (delivery, target) in self._prepared

    def _complete(self, lake: str, slot: str, files: Mapping[str, bytes]) -> None:
        """A partition is marked: every stream has passed it, and all its rows are there."""
        topology, inputs = self._world.topology, self._world.inputs
        channel, first = topology.sinks[lake][0], SLOT * int(slot.removeprefix("slot="))
        if channel in topology.optional:
            return
        there = {row for path in files if _is_in(path, slot) for row in _rows_of(files[path])}
        self.marked += 1
        for source, streams in inputs.streams.items():
            for stream, rows in streams.items() if channel in topology.sources[source] else ():
                if len(rows) <= first + SLOT + AHEAD:
                    raise self._violation(f"{slot} of {lake} is marked, {stream} is not so far")
                wanted = {(stream, n) for n in range(first, first + SLOT) if is_delivered(n)}
                missing = wanted - there - self.damaged
                if missing:
                    raise self._violation(f"{slot} of {lake} is marked, {missing} is not there")

    def _told(self, lake: str) -> None:
        """At the end: markers and what lies beside them tell of all rows of their partitions."""
        files = self._world.stores[lake].store.files
        for path in [path for path in files if path.endswith("/_SUCCESS")]:
            slot = path.rpartition("/")[0]
            told = [json.loads(files[p]) for p in files if p.startswith(path)]
            rows = sum(len(_rows_of(files[p])) for p in files if _is_in(p, slot))
            if sum(content["rows"] for content in told) != rows:
                raise self._violation(f"{slot} of {lake} has {rows} rows, told is {told}")

    def looked(self, name: str, status: Mapping[str, Json]) -> None:
        """A part's status: what a part can meet here is no reason to crash or to fail."""
        if status["state"] in ("crashed", "failed"):
            raise self._violation(f"{name} {status['state']}: {status['last_error']}")

    def bounds(self) -> None:
        """Nothing piles up."""
        for name, sim in self._world.stores.items():
            if len(sim.store.uploads) > STAGED_MAX:
                raise self._violation(f"{len(sim.store.uploads)} staged files pile up in {name}")
        for name, machine in self._world.machines.items():
            if len(machine.files) > FILES_MAX:
                raise self._violation(f"{len(machine.files)} files pile up in {name}")

    # -- at the end -----------------------------------------------------------------------------

    def verdict(self) -> None:
        """All rows once, in order, and nothing left behind."""
        for sink, (channel, _) in self._world.topology.sinks.items():
            self._rows(sink, channel)
            self._told(sink)
        self._collect()
        for name, sim in self._world.stores.items():
            if sim.store.uploads:
                raise self._violation(
                    f"staged and never collected in {name}: {sorted(sim.store.uploads)}"
                )

    def _rows(self, sink: str, channel: str) -> None:
        topology, inputs = self._world.topology, self._world.inputs
        found = self._found(sink)
        feeding = [name for name, channels in topology.sources.items() if channel in channels]
        wanted = Counter(row for source in feeding for row in inputs.expected(source))
        if channel in topology.optional:
            gone = self._stored.get(channel, set()) - set(found) - self.damaged
            if gone:
                raise self._violation(f"lost in {sink}, an optional one: {sorted(gone)[:8]}")
        else:
            missing = sorted(set((wanted - found).elements()) - self.damaged)
            if missing:
                raise self._violation(f"lost in {sink}: {missing[:8]} ({len(missing)} rows)")
        keyless = {row for row in found if row[0] in inputs.keyless}
        lost = [
            (name, n)
            for name in inputs.keyless
            for n in range(inputs.acknowledged[name])
            if (name, n) not in found and (name, n) not in self.damaged
        ]
        if lost and topology.server in feeding:
            raise self._violation(f"acknowledged and lost in {sink}: {lost[:8]}")
        more = sorted(row for row in (found - wanted).elements() if row not in keyless)
        doubled = [row for row in more if row in wanted and row not in self.damaged]
        if doubled:
            raise self._violation(f"doubled in {sink}: {doubled[:8]} ({len(doubled)} rows)")
        phantom = [row for row in more if row not in wanted]
        if phantom:
            raise self._violation(f"never sent, but in {sink}: {phantom[:8]}")

    def _found(self, sink: str) -> Counter[Row]:
        found: Counter[Row] = Counter()
        for path, data in self._world.stores[sink].store.files.items():
            if path.endswith(".parquet"):
                rows = _rows_of(data)
            elif path.endswith(".dead"):
                bodies = _read(data)["body"].to_pylist()
                rows = [row_of(body) for body in bodies]
            else:
                continue
            self._in_order(path, rows)
            found.update(rows)
        return found

    def _in_order(self, path: str, rows: list[Row]) -> None:
        last: dict[str, int] = {}
        for stream, number in rows:
            if number < last.get(stream, -1) and stream not in self._world.inputs.keyless:
                raise self._violation(f"{path} has row {number} of {stream} behind {last[stream]}")
            last[stream] = number

    def _opened(self, channel: JournaledChannel) -> None:
        while True:
            try:
                channel.open()
            except (OSError, JournalLocked):
                self._world.kernel.sleep(500)
            else:
                return

    def _collect(self) -> None:
        """What the next start of each sink does with staged bytes that nobody will publish."""
        world = self._world
        done: list[str] = []

        def collect() -> None:
            for sink, (name, _) in world.topology.sinks.items():
                process = Process(f"{name}#collector", "near")
                channel = world.channel(world.context((name, 0), process), process)
                self._opened(channel)
                state = channel.state()
                # Unreadable rows are offered again by each opening: a disk may think better of it.
                # A server that slept may put what a client sent it long ago.
                spare = len(self.damaged) + (STRAYS if world.topology.server else 0)
                if state.waiting > spare or state.leased or state.prepared:
                    raise self._violation(f"{name} still holds rows: {state}")
                storage = world.sink(sink, world.context((sink, 0), process))
                storage.collect(channel.info().journal, channel.garbage)
                channel.close()
            done.append("all")

        world.kernel.spawn("collector", collect)
        if not world.kernel.run(lambda: bool(done), world.kernel.now_ms + 600_000):
            raise self._violation("the collector does not come to an end")


def _read(data: bytes) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(data)).read(use_threads=False)


def _is_in(path: str, slot: str) -> bool:
    return path.startswith(f"{slot}/") and path.endswith(".parquet")


def _rows_of(data: bytes) -> list[Row]:
    table = _read(data)
    return list(zip(table["s"].to_pylist(), table["n"].to_pylist(), strict=True))


def records_in(data: bytes) -> Iterator[tuple[int, Head]]:
    """Offset and head of every record in a segment, also behind torn ones."""
    at = 0
    while at < len(data):
        sizes = peek(data[at : at + HEAD.size])
        head = decode_head(data[at : at + sizes[0]]) if sizes else None
        if head is None or at + head.length > len(data):
            at += ALIGN
            continue
        yield at, head
        at += head.length


def prepared_in(data: bytes) -> Iterator[tuple[str, str]]:
    """Deliveries, and their files, that the records of a segment say are prepared."""
    for at, head in records_in(data):
        if head.kind is Kind.PREPARED:
            yield from _files_of(head.meta)
        elif head.kind is Kind.SNAPSHOT:
            start = at + head.body_offset
            state = json.loads(data[start : start + head.body_length])
            yield from (pair for meta in state["prepared"] for pair in _files_of(meta))


def _files_of(meta: Meta) -> Iterator[tuple[str, str]]:
    return ((meta["delivery"], file["target"]) for file in meta["files"])


def proven_puts(machine: Machine) -> list[tuple[str, int, Head]]:
    """Segment, offset and head of the Put records with rows that a later durable record covers."""
    found = [
        (name, at, head)
        for name, file in machine.files.items()
        for at, head in records_in(bytes(file.platter))
    ]
    proven = max((head.synced for _, _, head in found), default=0)
    puts = [put for put in found if put[2].kind is Kind.PUT and put[2].body_length]
    return [put for put in puts if put[2].seq <= proven and _is_whole(machine, *put)]


def _is_whole(machine: Machine, name: str, at: int, head: Head) -> bool:
    """Not torn: a number can be used again behind a tail that was cut."""
    data = pa.py_buffer(bytes(machine.files[name].platter[at : at + head.length]))
    return body_of(head, data) is not None


def committed_in(machine: Machine) -> Intervals:
    """Positions that Committed records say are done."""
    return Intervals(
        (start, stop)
        for file in machine.files.values()
        for _, head in records_in(bytes(file.platter))
        if head.kind is Kind.COMMITTED
        for start, stop in head.meta["ranges"]
    )


def rows_in(machine: Machine, name: str, at: int, head: Head) -> set[Row]:
    """The rows of a Put record."""
    start = at + head.body_offset
    body = pa.py_buffer(bytes(machine.files[name].platter[start : start + head.body_length]))
    return {row_of(text) for text in EventBatch.decode(body).body.to_pylist()}
