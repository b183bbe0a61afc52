"""From a part's plan to the running part: what an actor, or a thread with `--inline`, holds.

All three kinds of part answer to the same few calls (see Part), so whoever runs an agent needs to
know no kind.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from rayflume import flow
from rayflume.agent.gate import Gates
from rayflume.agent.marking import MarkerRunner, marker_runner, marks
from rayflume.agent.runner import Health, ServerRunner, SourceRunner, describe
from rayflume.agent.sink_runner import SinkRunner
from rayflume.clock import Clock, SystemClock
from rayflume.completeness import source_of
from rayflume.component import Component, Context, lookup
from rayflume.config import AgentPlan, PartPlan, component_of
from rayflume.config.groups import leaders
from rayflume.errors import ChannelClosed, Fatal, JournalLocked, RayflumeError
from rayflume.interfaces import Channel, Json
from rayflume.metrics import Metrics
from rayflume.protocols import built

LOCK_RETRY_MS = 500
OPEN_WAIT_S = 5.0
WATCHED = "#"
"""Channel, this, replica: a journal that a sink may look at and does not deliver."""
Status: TypeAlias = dict[str, Json]


class Part(Protocol):
    """One running part. None of the calls but `stop` blocks for long."""

    def start(self) -> None: ...
    def drain(self, unterminated: bool = False) -> None: ...
    def hold(self) -> None:
        """Come to a batch boundary and stay there, `held`, until `resume` or `stop`."""
        ...

    def resume(self) -> None: ...
    def stop(self) -> None: ...
    def status(self) -> Status: ...


@dataclass(frozen=True)
class Place:
    """Where a part runs: its plan, which replica it is, on which node."""

    plan: AgentPlan
    part: PartPlan
    replica: int = 0
    node: str = ""
    grouped: bool = False
    """Of a sink: its channel is `per_node`, so it may have several journals, or none yet."""
    nodes: int = 1
    """On how many nodes parts run that run on each."""
    print: str = ""
    """By which a supervisor knows what the part was made of: see changes.prints."""

    def context(self, clock: Clock) -> Context:
        """What the part is told about its surroundings."""
        return Context(
            self.plan.agent,
            self.part.name,
            clock,
            Metrics(),
            self.plan.directory,
            self.replica,
            host_id(),
            self.node,
            self.plan.state_path(),
        )


def host_id() -> str:
    """What stays the same for this host: RAYFLUME_HOST_ID, the machine id, else the host's name."""
    given = os.environ.get("RAYFLUME_HOST_ID", "").strip()
    if given:
        return given
    machine = Path("/etc/machine-id")
    try:
        return machine.read_text().strip()[:12] or socket.gethostname()
    except OSError:
        return socket.gethostname()


def build_part(
    place: Place, channels: Mapping[str, Channel], clock: Clock | None = None
) -> SourceRunner | ServerRunner | SinkRunner | SinkGroup | MarkingSink | ChannelPart:
    """The part, not yet started. Raises OptionError where an option proves wrong on this host."""
    place.plan.make_importable()
    context = place.context(clock or SystemClock())
    component = component_of(place.part)
    if place.part.kind == "channel":
        return ChannelPart(component, context, Gates(leaders(place.plan, place.part.name), context))
    if place.part.kind == "sink":
        return _sink(place, component, context, channels)
    runner = _source(place.part, component, context, channels)
    beside = [sink for sink in place.plan.sinks.values() if sink.channel in place.part.channels]
    runner.signs.wanted = any(marks(sink) for sink in beside)
    return runner


def _sink(
    place: Place, component: Component, context: Context, channels: Mapping[str, Channel]
) -> SinkRunner | SinkGroup | MarkingSink:
    """A sink on its channel, or on those replicas of it (`wal/2`) that are this one's share. The
    first one watches all of them (`wal#2`) where it marks what is complete.
    """
    name = place.part.channel
    shared = [channel for key, channel in channels.items() if key.startswith(f"{name}/")]
    journals = shared or ([] if place.grouped else [_channel(channels, name)])
    runners = [SinkRunner(channel, built(component, context), context) for channel in journals]
    sink = SinkGroup(runners) if place.grouped else runners[0]
    watched = [channel for key, channel in channels.items() if key.startswith(f"{name}{WATCHED}")]
    all_of = watched or ([] if place.grouped else journals)
    markers = None
    if place.replica == 0 and all_of:
        markers = marker_runner(place, component, context, all_of)
    return sink if markers is None else MarkingSink(sink, markers)


def _source(
    part: PartPlan, component: Component, context: Context, channels: Mapping[str, Channel]
) -> SourceRunner | ServerRunner:
    context = replace(context, replay=str(getattr(component, "replay", "lossy")))
    interceptors = [built(component_of(plan), context) for plan in part.interceptors]
    selector = component_of(part.selector) if part.selector else lookup("selector", "replicating")()
    route = flow.Route(
        part.name,
        interceptors,
        built(selector, context),
        {name: _channel(channels, name) for name in part.channels},
        context.metrics,
    )
    source = built(component, context)
    route.source = source_of(source.prefix)
    runner = SourceRunner if hasattr(source, "poll") else ServerRunner
    return runner(source, route, context)


def _channel(channels: Mapping[str, Channel], name: str) -> Channel:
    if name not in channels:
        raise ChannelClosed(f"channel {name} was not started")
    return channels[name]


class SinkGroup:
    """One sink on several journals: those of a `per_node` channel that are this replica's share."""

    _WORST = ("failed", "crashed", "starting", "running", "held")

    def __init__(self, runners: Sequence[SinkRunner]) -> None:
        self._runners = runners

    def start(self) -> None:
        for runner in self._runners:
            runner.start()

    def drain(self, unterminated: bool = False) -> None:
        """Sinks drain when their channels say so."""

    def hold(self) -> None:
        for runner in self._runners:
            runner.hold()

    def resume(self) -> None:
        for runner in self._runners:
            runner.resume()

    def stop(self) -> None:
        for runner in self._runners:
            runner.stop()

    def status(self) -> Status:
        """The worst of the states; the metrics are common to all."""
        all_of = [runner.status() for runner in self._runners]
        states = [str(status["state"]) for status in all_of]
        state = next((worst for worst in self._WORST if worst in states), "stopped")
        errors = [status["last_error"] for status in all_of if status["last_error"]]
        return {
            "state": state if all_of else "running",
            "last_error": errors[0] if errors else None,
            "metrics": all_of[0]["metrics"] if all_of else {},
            "detail": {"journals": len(all_of), "deliveries": sum(map(_deliveries, all_of))},
        }


def _deliveries(status: Status) -> int:
    detail = status["detail"]
    return int(str(detail["deliveries"])) if isinstance(detail, dict) else 0


class MarkingSink:
    """A sink part with its markers. See parts.Part."""

    def __init__(self, sink: Part, markers: MarkerRunner) -> None:
        self._sink = sink
        self._markers = markers

    def start(self) -> None:
        self._sink.start()
        self._markers.start()

    def drain(self, unterminated: bool = False) -> None:
        """Sinks drain when their channels say so."""

    def hold(self) -> None:
        self._sink.hold()

    def resume(self) -> None:
        self._sink.resume()

    def stop(self) -> None:
        self._sink.stop()
        self._markers.stop()

    def status(self) -> Status:
        """The sink's, with the watermark in its detail. Markers that crashed make it start anew."""
        status, markers = self._sink.status(), self._markers.status()
        detail = status["detail"]
        assert isinstance(detail, dict)
        status["detail"] = {**detail, **self._markers.describe()}
        status["last_error"] = status["last_error"] or markers["last_error"]
        if markers["state"] == "crashed":
            status["state"] = "crashed"
        return status


class ChannelPart:
    """A channel and the opening of it, which may wait for the one before to let go of the lock."""

    def __init__(self, component: Component, context: Context, gates: Gates | None = None) -> None:
        self.channel = built(component, context)
        self._gates = gates or Gates((), context)
        self._context = context
        self._health = Health()
        self._stopping = context.threads.event()
        self._opened = context.threads.event()

    def start(self) -> None:
        self._context.metrics.set("StartTime", self._context.clock.now_ms())
        self._context.threads.start(self._context.part, self._open)

    def call(self, method: str, *args: Any) -> Any:  # noqa: ANN401
        """What a method of the channel returns; waits a moment for it to open. Raises ChannelClosed
        with the reason when it does not.
        """
        if method == "wake" and self._health.state != "running":
            return None  # no take waits in there
        if not self._opened.wait(OPEN_WAIT_S):
            reason = self._health.last_error or "it is still opening"
            raise ChannelClosed(f"channel {self._context.part} is not open: {reason}")
        if method in Gates.calls:
            return self._gates.call(self.channel, method, *args)
        return getattr(self.channel, method)(*args)

    def adjust(self, place: Place) -> None:
        """Take over what can change while it is open: bounds of a channel in memory, the groups of
        its sinks.
        """
        component = component_of(place.part)
        if getattr(component, "adjusts", False):
            self.channel.adjust(component)
        self._gates.lead(leaders(place.plan, place.part.name))

    def hold(self) -> None:
        """A channel has no batch of its own in hand."""

    def resume(self) -> None:
        """It was never held."""

    def _open(self) -> None:
        while not self._stopping.is_set():
            try:
                self.channel.open()
            except JournalLocked as error:
                if self._of_another(error.holder):
                    self._health = Health("failed", describe(error))
                    return
                self._health = Health("waiting", describe(error))
            except Fatal as error:
                self._health = Health("failed", describe(error))
                return
            except (OSError, RayflumeError) as error:
                self._health = Health("waiting", describe(error))
            else:
                if self._stopping.is_set():
                    self.channel.close()  # it was told to stop while it opened
                    return
                self._health = Health("running")
                self._opened.set()
                return
            self._stopping.wait(LOCK_RETRY_MS / 1000)

    def _of_another(self, holder: str) -> bool:
        """Whether another channel has the journal, and not an earlier life of this one, which ends,
        nor a command, which is soon done.
        """
        mine = f"{self._context.agent}/{self._context.part} on "
        return " on " in holder and not holder.startswith(mine)

    def drain(self, unterminated: bool = False) -> None:
        """Ask the sinks to close what they hold as soon as nothing waits."""
        self.channel.drain(True)

    def stop(self) -> None:
        self._stopping.set()
        self.channel.close()
        self._opened.set()  # who waits for it to open learns now that it is closed
        self._context.metrics.set("StopTime", self._context.clock.now_ms())
        if self._health.state != "failed":
            self._health = Health("stopped")

    def status(self) -> Status:
        """State, metrics, and where its rows are. `drained` means: none waits, leased or
        prepared.
        """
        status: Status = {
            "state": self._health.state,
            "last_error": self._health.last_error,
            "metrics": {},
            "detail": {},
        }
        if self._health.state == "running":
            try:
                state, prepared = self.channel.state(), self._prepared_sinks()
            except RayflumeError as error:
                return status | {"state": "waiting", "last_error": describe(error)}
            status["detail"] = {
                "waiting": state.waiting,
                "leased": state.leased,
                "prepared": state.prepared,
                "bytes": state.bytes,
                "fill_percent": state.fill_percent,
                "degraded": list(state.degraded),
                "prepared_sinks": prepared,
            }
            if state.degraded:
                status["last_error"] = f"degraded: {state.degraded[0]}"
        metrics, is_open = self._context.metrics, self._health.state == "running"
        metrics.set("Open", int(is_open))
        metrics.set("Closed", int(not is_open))
        metrics.set("Unhealthy", int(self._health.state == "failed" or bool(status["last_error"])))
        status["metrics"] = dict(metrics.snapshot())
        return status

    def _prepared_sinks(self) -> list[Json]:
        known = getattr(self.channel, "prepared_sinks", list)
        return list(known())
