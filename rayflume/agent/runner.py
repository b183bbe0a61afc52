"""Calls the flow at its own pace: waits, backs off, drains, stops. Owns all sleeping; has no Ray.

A runner owns its threads. `status` never blocks on them. A part that fails for good (errors.Fatal)
stays `failed` until an operator acts; what is a bug is `crashed`, and whoever watches starts the
part anew.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rayflume import flow
from rayflume.agent.signs import Signs
from rayflume.batch import EventBatch, Extent
from rayflume.component import Context
from rayflume.errors import ChannelClosed, Fatal, PutRefused, RayflumeError, Retry
from rayflume.interfaces import Ingested, Json, PollableSource, ServerSource, StreamPosition
from rayflume.threads import Pool, Thread, Work

log = logging.getLogger(__name__)

BACKOFF_MS = (50, 100, 200, 400, 800, 1_600, 3_000, 5_000)
HOLD_LOOK_MS = 100


@dataclass
class Health:
    """State of a part as its watchers see it."""

    state: str = "starting"
    last_error: str | None = None


class Runner:
    """A part with a thread of its own. Subclasses fill in `_run`."""

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.clock = context.clock
        self.metrics = context.metrics
        self.health = Health()
        self._threads = context.threads
        self._stopping = context.threads.event()
        self._wake = context.threads.event()
        """Ends a rest: of the part's own thread alone."""
        self._holding = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to work. Returns at once."""
        self.metrics.set("StartTime", self.clock.now_ms())
        self._thread = self._threads.start(self.name, self._main)

    def stop(self, wait_s: float = 10.0) -> None:
        """Stop at the next batch boundary. Blocks up to `wait_s`."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None and not self._thread.is_current():
            self._thread.join(wait_s)

    def hold(self) -> None:
        """Come to a batch boundary and stay there: nothing in hand, nothing open. The state is then
        `held`, until `resume` or `stop`. Returns at once.
        """
        self._holding = True
        self._wake.set()

    def resume(self) -> None:
        """Go on after a `hold`. Returns at once."""
        self._holding = False
        self._wake.set()

    def status(self) -> dict[str, Json]:
        """State, last error, metrics and what the part says of itself. Does not block."""
        return {
            "state": self.health.state,
            "last_error": self.health.last_error,
            "metrics": dict(self.metrics.snapshot()),
            "detail": self.describe(),
        }

    def describe(self) -> dict[str, Json]:
        """What an operator wants to know beyond the metrics."""
        return {}

    def _main(self) -> None:
        try:
            self._run()
        except Fatal as error:
            self._end("failed", error)
        except RayflumeError as error:
            self._end("crashed", error)
        except Exception as error:
            log.exception("%s crashed", self.name)
            self._end("crashed", error)
        else:
            if self.health.state not in ("drained", "failed", "crashed"):
                self.health.state = "stopped"
        self.metrics.set("StopTime", self.clock.now_ms())

    def _run(self) -> None:
        raise NotImplementedError

    def _end(self, state: str, error: Exception) -> None:
        self.health.last_error = describe(error)
        self.health.state = state
        log.error("%s: %s", self.name, self.health.last_error)

    def _pause(self, ms: float) -> None:
        self._stopping.wait(ms / 1000)

    def _rest(self, ms: float) -> None:
        """A pause of the part's own thread, which `hold` and `resume` end as well."""
        if self._wake.wait(ms / 1000):
            self._wake = self._threads.event()
            if self._stopping.is_set():
                self._wake.set()

    def _held(self, boundary: bool) -> bool:
        """Whether to stay at a batch boundary; `boundary`: this is one. Pauses there."""
        if not self._holding:
            if self.health.state == "held":
                self.health.state = "running"
            return False
        if boundary and self.health.state == "running":
            self.health.state = "held"
        if self.health.state == "held":
            self._rest(HOLD_LOOK_MS)
        return self.health.state == "held"

    def _back_off(self, tries: int) -> None:
        """Longer each time, and never as long as others that failed at the same moment."""
        self._pause(BACKOFF_MS[min(tries, len(BACKOFF_MS) - 1)] * random.uniform(0.5, 1.5))

    def _up(self, step: Callable[[], None]) -> bool:
        """Start by `step`; then the part is `running`, and what kept it from that is over. False
        when stopped before that.
        """
        if not self._retry(step):
            return False
        self.health.last_error = None
        self.health.state = "running"
        return True

    def _retry(self, step: Callable[[], None]) -> bool:
        """Call `step` until it does not ask for a retry; False when stopped before that."""
        tries = 0
        while not self._stopping.is_set():
            try:
                step()
            except Retry as error:
                self.health.last_error = describe(error)
                self._back_off(tries)
                tries += 1
            else:
                self.health.last_error = None if tries else self.health.last_error
                return True
        return False


def describe(error: BaseException) -> str:
    """One line about an error, with its class where that is not rayflume's own."""
    text = str(error).strip().splitlines()[0][:500] if str(error).strip() else repr(error)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        return f"{error.filename}: {error.strerror} ({type(error).__name__})"[:500]
    return text if isinstance(error, RayflumeError) else f"{type(error).__name__}: {text}"


def lowest(per_channel: Sequence[Mapping[str, StreamPosition]]) -> dict[str, StreamPosition]:
    """Where a source goes on: per stream the lowest position of the channels that know it."""
    positions: dict[str, StreamPosition] = {}
    for known in per_channel:
        for stream, position in known.items():
            if stream not in positions or position.next < positions[stream].next:
                positions[stream] = position
    return positions


def ask_positions(route: flow.Route, prefix: str) -> dict[str, dict[str, StreamPosition]]:
    """Channel -> where it stands in each stream of a source; the route remembers the streams."""
    found = {name: channel.positions(prefix) for name, channel in route.channels.items()}
    route.known = {name: set(positions) for name, positions in found.items()}
    return found


class SourceRunner(Runner):
    """Polls a source and puts what it reads; reads the next batch while one is being put."""

    def __init__(self, source: PollableSource, route: flow.Route, context: Context) -> None:
        super().__init__(context.part, context)
        self._source = source
        self._route = route
        self.signs = Signs(route, context.clock)
        self._draining = context.threads.event()
        self._unterminated = False
        self._noted = False
        self._meet: dict[str, int] = {}
        """Stream -> where an extent must end, for channels that stand apart meet there."""

    def drain(self, unterminated: bool = False) -> None:
        """Read to the present end of the input, then be `drained`. Returns at once."""
        self._unterminated = unterminated
        self._draining.set()

    def describe(self) -> dict[str, Json]:
        return self._source.describe()

    def _run(self) -> None:
        if not self._up(self._begin):
            return
        putter = self._threads.pool(f"{self.name}-put")
        try:
            self._loop(putter)
        finally:
            putter.shutdown()
            self._source.stop()

    def _begin(self) -> None:
        found = ask_positions(self._route, self._source.prefix)
        required = self._route.selector.required(list(found))
        self._source.start(lowest([found[name] for name in required]))

    def _loop(self, putter: Pool) -> None:
        ahead: flow.Parcel | None = None
        putting: tuple[Work[bool], flow.Parcel] | None = None
        while not self._stopping.is_set():
            if self._held(boundary=ahead is None and putting is None):
                continue
            self._note_end()
            if ahead is None and not self._holding:
                batch = self._source.poll()
                ahead = flow.pack(batch, self._route) if batch is not None else None
                if batch is not None:
                    self.metrics.add("BytesReceivedCount", batch.nbytes)
            # A put with nothing read ahead is waited for a moment, then the source is asked again.
            idle_s = self._source.idle_ms / 1000
            if putting is not None and (ahead is not None or putting[0].wait(idle_s)):
                done, parcel = putting
                putting = None
                if not done.result():
                    ahead = None if self._go_back(parcel, ahead) else ahead
                    continue
                self._accept(parcel)
            if ahead is not None and putting is None:
                putting, ahead = (putter.submit(partial(self._offer, ahead)), ahead), None
            elif putting is None and not self._holding and self._idle():
                return
        if putting is not None:
            putting[0].result()

    def _offer(self, parcel: flow.Parcel) -> bool:
        """Put until it is taken; False when the source must go back (or was stopped)."""
        self._refused: PutRefused | None = None

        def once() -> None:
            try:
                flow.offer(parcel, self._route)
            except PutRefused as error:
                self._refused = error

        done = self._retry(once)
        if done and self._refused is None:
            self.health.last_error = None
            return True
        return False

    def _go_back(self, parcel: flow.Parcel, ahead: flow.Parcel | None) -> bool:
        """Let the source read again what was refused, and what was read behind it."""
        refused = self._refused
        if refused is None:
            return False
        log.info("%s goes back: %s", self.name, refused.message)
        first: dict[str, Extent] = {}
        for dropped in (parcel, ahead):
            for extent in dropped.batch.extents if dropped else ():
                first.setdefault(extent.stream, extent)
        several = len(self._route.selector.required(list(self._route.channels))) > 1
        for stream, extent in first.items():
            start = extent.start
            if stream == refused.stream and several and refused.next > start:
                # This channel has a part of it, and another one wants that part: the two meet
                # where the part ends. Going on there, the other would send the source back again.
                self._meet[stream] = refused.next
            elif stream == refused.stream:
                start = refused.next
            meet = self._meet.get(stream, 0)
            self._source.rewind(stream, start, meet if meet > start else 0)
        return True

    def _accept(self, parcel: flow.Parcel) -> None:
        self._meet.clear()
        self._source.accepted(parcel.batch)
        self._retire()

    def _retire(self) -> None:
        for stream in self._source.retired():
            for channel in self._route.channels.values():
                self._retry(lambda channel=channel, stream=stream: channel.retire([stream]))  # type: ignore[misc]

    def _note_end(self) -> None:
        if self._draining.is_set() and not self._noted:
            self._noted = True
            self.health.state = "draining"
            self._source.note_end(self._unterminated)

    def _idle(self) -> bool:
        """Nothing to read and nothing in flight: True when that is for good."""
        self._retire()
        if self._noted and self._source.at_end():
            self.health.state = "drained"
            return True
        self.signs.nothing_to_read()
        self._rest(self._source.idle_ms)
        return False


class ServerRunner(Runner):
    """Keeps a server source alive; its own threads call `ingest`."""

    def __init__(self, source: ServerSource, route: flow.Route, context: Context) -> None:
        super().__init__(context.part, context)
        self._source = source
        self._route = route
        self.signs = Signs(route, context.clock)
        self._draining = context.threads.event()

    def resume(self) -> None:
        """A server that refuses requests does not take them again: its next life does."""
        if self.health.state == "held":
            self.health.state, self.health.last_error = "crashed", "held, and to go on"
            self._stopping.set()
        super().resume()

    def drain(self, unterminated: bool = False) -> None:
        """Refuse new requests, answer those in hand, then be `drained`. Returns at once."""
        self._draining.set()

    def describe(self) -> dict[str, Json]:
        return self._source.describe()

    def _run(self) -> None:
        if not self._up(self._begin):
            return
        try:
            while not self._stopping.is_set():
                if self._draining.is_set() and self.health.state == "running":
                    self.health.state = "draining"
                    self._source.drain()
                    self.health.state = "drained"
                if self._holding and self.health.state == "running":
                    # Who waits for his answer gets it; what comes now is refused, not lost.
                    self._source.drain()
                    self.health.state = "held"
                self._retire()
                self.signs.nothing_to_read()
                self._rest(200)
        finally:
            self._source.stop()

    def _begin(self) -> None:
        found = ask_positions(self._route, self._source.prefix)
        live = [s for positions in found.values() for s, p in positions.items() if not p.retired]
        for channel in self._route.channels.values():
            # No life of a server goes on in the next one.
            channel.retire(live)
        self._source.start(lowest(list(found.values())), self._ingest)

    def _ingest(self, batch: EventBatch) -> Ingested:
        with self.signs.in_hand():
            try:
                return flow.ingest(batch, self._route)
            except PutRefused as error:
                self.signs.refused()
                raise ChannelClosed(error.message) from error
            except Retry as error:
                self.health.last_error = describe(error)
                self.signs.refused()
                raise

    def _retire(self) -> None:
        streams = self._source.retired()
        for channel in self._route.channels.values() if streams else ():
            self._retry(lambda channel=channel: channel.retire(streams))  # type: ignore[misc]
