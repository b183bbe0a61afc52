"""An agent on two hosts, kept running by its supervisor; its inputs and clients outlive it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

from rayflume import flow
from rayflume.agent import runner as runner_module
from rayflume.agent import sink_runner as sink_runner_module
from rayflume.agent.control import Control, Watch
from rayflume.agent.marking import MarkerRunner, expected_sources
from rayflume.agent.parts import ChannelPart, MarkingSink, Part, Status
from rayflume.agent.runner import ServerRunner, SourceRunner
from rayflume.agent.sink_runner import SinkRunner
from rayflume.agent.watched import Key
from rayflume.channels._journaled import ChannelSetup, JournaledChannel
from rayflume.component import Context, lookup
from rayflume.config import AgentPlan, PartPlan, plan_of
from rayflume.errors import Retry
from rayflume.journal import store as store_module
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions
from rayflume.markers import Marking
from rayflume.metrics import Metrics
from rayflume.sinks.parquet import Parquet, ParquetSink
from simulation.disk import Machine, SimDisk
from simulation.inputs import AHEAD, SLOT, Inputs, SimServer, SimSource
from simulation.judge import Judge
from simulation.kernel import Died, Kernel, Process, SimClock, SimEvent, SimThreads
from simulation.lake import SimStorage, SimStore
from simulation.network import Actor, Network, SimChannel

TICK_MS = 2_000
STATUS_WAIT_MS = 300
HUNG_MS = 60_000
ORPHAN_MS = 60_000
REBUILD_MS = 2_000
EVENTS_MAX = 60
SEQ: dict[str, object] = {"type": "seq"}
HTTP: dict[str, object] = {"type": "http", "port": 1}
NOWHERE = Path("/nowhere")
HOSTS = {"channel": "near", "source": "near", "sink": "far", "supervisor": "far"}


@dataclass(frozen=True)
class Topology:
    """Who is connected to whom. `sources`: name -> channels; `sinks`: name -> (channel, how many
    replicas); `optional`: channels that may miss rows; `server`: a source that clients call.
    """

    name: str
    sources: Mapping[str, tuple[str, ...]]
    sinks: Mapping[str, tuple[str, int]]
    optional: tuple[str, ...] = ()
    server: str = ""

    @property
    def channels(self) -> list[str]:
        return sorted({name for names in self.sources.values() for name in names})


TOPOLOGIES = (
    Topology("one to one", {"web": ("wal",)}, {"lake": ("wal", 1)}),
    Topology(
        "fan-out",
        {"web": ("wal", "copy", "extra")},
        {"lake": ("wal", 1), "second": ("copy", 1), "third": ("extra", 1)},
        optional=("extra",),
    ),
    Topology("two sinks", {"web": ("wal",)}, {"lake": ("wal", 2)}),
    Topology(
        "many sources",
        {"web": ("wal",), "app": ("wal",), "api": ("wal",)},
        {"lake": ("wal", 1)},
        server="api",
    ),
)


@dataclass
class Life:
    """One life of a part: its process, and what runs in it once it is built."""

    process: Process
    part: Part | None = None
    heard_ms: float = 0.0
    last: Status | None = None


class World:
    """All that a schedule is made of."""

    def __init__(self, kernel: Kernel, topology: Topology, segment_bytes: int) -> None:
        self.kernel = kernel
        self.topology = topology
        self.judge = Judge(self)
        self.network = Network(kernel)
        self.segment_bytes = segment_bytes
        self.parquet = PARQUET
        self.linger_ms = 0
        """So long it goes on when all is sent."""
        self.machines = {name: Machine(kernel, name) for name in topology.channels}
        self.stores = {name: SimStore(kernel, name, self.judge) for name in topology.sinks}
        self.inputs = Inputs(kernel, topology)
        self.lives: dict[Key, Life] = {}
        self.zombies: list[Process] = []
        self.plan = _plan(topology)
        self.keys = _keys(self.plan)
        self.asked = ""
        self.control: Control | None = None
        self.supervisor = self.start_supervisor()
        self._count = 0

    # -- processes ------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """All that could die now."""
        parts = [life.process for life in self.lives.values()]
        return [p for p in (self.supervisor, *parts, *self.zombies) if p.alive]

    def start_supervisor(self) -> Process:
        """As Ray does when the supervisor's process is gone."""
        process = Process("supervisor", HOSTS["supervisor"])
        self.kernel.spawn("supervise", lambda: self._supervise(process), process, REBUILD_MS)
        process.at_end.append(self._rebuild)
        return process

    def _rebuild(self) -> None:
        self.supervisor = self.start_supervisor()

    def _supervise(self, process: Process) -> None:
        host = SimHost(self)
        control = Control(Watch(self.plan), host, self.keys, SimClock(self.kernel))
        for key in self.keys:
            if host.adopt(key):
                control.supervisor.adopt(key)
        self.control = control
        told = ""
        while not control.ended:
            if self.asked != told:
                told = self.asked
                getattr(control, told)()
            control.tick()
            self.kernel.sleep(TICK_MS)

    def start(self, key: Key) -> None:
        """A new life of a part, in a process of its own."""
        part = self.keys[key]
        self._count += 1
        process = Process(f"{part.name}/{key[1]}#{self._count}", HOSTS[part.kind])
        life = Life(process, heard_ms=self.kernel.now_ms)
        self.lives[key] = life
        self.kernel.spawn(f"{process}.begin", lambda: self._begin(key, life), process)
        self.kernel.spawn(f"{process}.orphan", lambda: self._watch(life), process)

    def _begin(self, key: Key, life: Life) -> None:
        life.part = self.build(key, life.process)
        if isinstance(life.part, ChannelPart):
            self.network.actors[key[0]] = Actor(
                life.process, self.judge.watched(key[0], life.part.call)
            )
        life.part.start()

    def _watch(self, life: Life) -> None:
        """As actors.PartActor: a part that no supervisor asks for ends itself."""
        while self.kernel.now_ms - life.heard_ms < ORPHAN_MS:
            self.kernel.sleep(5_000)
        self.kernel.note("no supervisor asks: stopping")
        self.kernel.kill(life.process)
        raise Died

    # -- parts ----------------------------------------------------------------------------------

    def context(self, key: Key, process: Process) -> Context:
        clock, threads = SimClock(self.kernel), SimThreads(self.kernel, process)
        return Context(
            "sim", key[0], clock, Metrics(), NOWHERE, key[1], process.host, threads=threads
        )

    def build(self, key: Key, process: Process) -> Part:
        """What parts.build_part makes, over what is simulated."""
        plan, context = self.keys[key], self.context(key, process)
        if plan.kind == "channel":
            return ChannelPart(_Channel(self, process), context)  # type: ignore[arg-type]
        if plan.kind == "sink":
            channel = SimChannel(self.network, plan.channel)
            runner = SinkRunner(channel, self.sink(key[0], context), context)
            if key[1] > 0 or self.parquet.complete is None:
                return runner
            return MarkingSink(runner, self._markers(plan, context))
        return self._source(key[0], context)

    def channel(self, context: Context, process: Process) -> JournaledChannel:
        disk = SimDisk(self.machines[context.part], process)
        limits = LedgerLimits(events=EVENTS_MAX, lease_timeout_ms=30_000)
        options = JournalOptions(limits, self.segment_bytes)
        return JournaledChannel(disk, options, context, ChannelSetup(durable=True))

    def sink(self, name: str, context: Context) -> ParquetSink:
        return self.parquet.over(SimStorage(self.stores[name]), context)

    def _markers(self, plan: PartPlan, context: Context) -> MarkerRunner:
        rules = self.parquet.marker_rules()
        assert rules is not None
        marking = Marking(
            "sim",
            plan.name,
            rules,
            SimStorage(self.stores[plan.name]),
            [SimChannel(self.network, plan.channel)],
            expected_sources(self.plan, plan.channel, 1),
            context.clock,
            context.metrics,
        )
        return MarkerRunner(marking, context)

    def _source(self, name: str, context: Context) -> Part:
        names = self.topology.sources[name]
        selector = lookup("selector", "replicating").model_validate(
            {"optional": [n for n in self.topology.optional if n in names]}
        )
        route = flow.Route(
            f"{context.host_id}/{name}",
            [FILTER.build(context)],
            selector.build(context),
            {channel: SimChannel(self.network, channel) for channel in names},
            context.metrics,
        )
        runner = (
            ServerRunner(SimServer(self.inputs, context), route, context)
            if name == self.topology.server
            else SourceRunner(SimSource(self.inputs, context), route, context)
        )
        runner.signs.wanted = self.parquet.complete is not None
        return runner

    # -- the end --------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self.control is not None and self.control.ended


@dataclass
class _Channel:
    """What ChannelPart builds its channel from."""

    world: World
    process: Process
    kind: ClassVar[str] = "channel"

    def build(self, context: Context) -> JournaledChannel:
        return self.world.channel(context, self.process)


@dataclass
class SimHost:
    """Parts as processes of the simulation. See control.Host, and ray_host.RayHost."""

    world: World
    known: dict[Key, Life] = field(default_factory=dict)
    pending: dict[Key, tuple[list[Status], float]] = field(default_factory=dict)

    def adopt(self, key: Key) -> bool:
        life = self.world.lives.get(key)
        if life is None or not life.process.alive:
            return False
        self.known[key] = life
        return True

    def start(self, key: Key) -> None:
        self.world.start(key)
        self.known[key] = self.world.lives[key]
        self.pending.pop(key, None)

    def kill(self, key: Key) -> None:
        life = self.known.pop(key, None) or self.world.lives.get(key)
        self.pending.pop(key, None)
        if life is None:
            return
        self.world.lives.pop(key, None)
        if life.process.unreachable and self.world.kernel.is_paused(life.process):
            self.world.kernel.note(f"a kill does not reach {life.process}: it becomes a zombie")
            self.world.zombies.append(life.process)
        else:
            self.world.kernel.kill(life.process)

    def drain(self, key: Key, unterminated: bool) -> None:
        self._ask(key, lambda part: part.drain(unterminated))

    def stop(self, key: Key) -> Status | None:
        self._ask(key, lambda part: part.stop())
        life = self.known.get(key)
        self.kill(key)
        return life.last if life else None

    def _ask(self, key: Key, call: Callable[[Part], None]) -> None:
        """As RayHost: an answer that does not come within 30 s is done without."""
        life, done = self.known.get(key), SimEvent(self.world.kernel)
        if life is None or not life.process.alive:
            raise Retry("it is dead")

        def work() -> None:
            if life.part is not None:
                call(life.part)
            done.set()

        self.world.kernel.spawn(f"{life.process}.asked", work, life.process)
        life.process.at_end.append(done.set)
        done.wait(30)

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
        kernel = self.world.kernel
        for key in keys:
            if key not in self.pending and key in self.known:
                self._ask_status(key)
        kernel.sleep(kernel.random.random() * STATUS_WAIT_MS)
        return {key: self._answer(key) for key in keys}

    def _ask_status(self, key: Key) -> None:
        life = self.known[key]
        answers: list[Status] = []
        self.pending[key] = answers, self.world.kernel.now_ms

        def work() -> None:
            life.heard_ms = self.world.kernel.now_ms
            if life.part is None:
                answers.append({"state": "starting", "last_error": None, "metrics": {}})
            else:
                answers.append(life.part.status())

        if life.process.alive:
            self.world.kernel.spawn(f"{life.process}.status", work, life.process)

    def _answer(self, key: Key) -> Status | None:
        life = self.known.get(key)
        if life is None or key not in self.pending or not life.process.alive:
            self.pending.pop(key, None)
            return None
        answers, since_ms = self.pending[key]
        if answers:
            del self.pending[key]
            life.last = answers[0]
            self.world.judge.looked(key[0], answers[0])
            return answers[0]
        if self.world.kernel.now_ms - since_ms > HUNG_MS:
            del self.pending[key]
            return None
        return life.last or {"state": "starting", "last_error": None, "metrics": {}}

    def place(self, key: Key) -> tuple[int, str]:
        return 0, ""


def _plan(topology: Topology) -> AgentPlan:
    """The plan as a configuration would give it; only names, kinds and replicas of it are used."""
    lake = {"type": "parquet", "path": "memory://sim", "format": {"type": "text"}}
    conf: dict[str, Any] = {
        "agent": "sim",
        "sources": {
            name: {**(HTTP if name == topology.server else SEQ), "channels": list(names)}
            for name, names in topology.sources.items()
        },
        "channels": {name: {"type": "file", "directory": name} for name in topology.channels},
        "sinks": {
            name: {**lake, "channel": channel, "placement": {"replicas": count}}
            for name, (channel, count) in topology.sinks.items()
        },
    }
    return plan_of(conf, NOWHERE)


def _keys(plan: AgentPlan) -> dict[Key, PartPlan]:
    return {
        (part.name, replica): part
        for part in plan.parts()
        for replica in range(part.placement.replicas)
    }


PARQUET = Parquet.model_validate(
    {
        "path": "memory://sim",
        "format": {
            "type": "regex",
            "regex": r"^(?P<s>\S+) (?P<n>\d+) (?P<p>p\d)$",
            "schema": {"n": "int64"},
        },
        "partition_by": ["part=%{p}"],
        "delivery_bytes": "2KiB",
        "roll": {"age": "20s"},
    }
)
MARKED = Parquet.model_validate(
    {
        "path": PARQUET.path,
        "format": PARQUET.format,
        "roll": {"age": "1s"},
        "partition_by": ["slot=%s"],
        "complete": {"after": AHEAD * 1_000 // SLOT, "idle_timeout": "60s"},
    }
)
"""A partition has SLOT numbers, and is marked once all streams have passed it."""
FILTER = lookup("interceptor", "regex_filter").model_validate(
    {"regex": "filtered$", "exclude_events": True}
)


@contextmanager
def seeded_names(kernel: Kernel) -> Iterator[None]:
    """Journal ids and lives of sinks come from the seed, too."""
    names = SimpleNamespace(token_hex=lambda n: f"{kernel.random.getrandbits(8 * n):0{2 * n}x}")
    with (
        patch.object(store_module, "secrets", names),
        patch.object(sink_runner_module, "secrets", names),
        patch.object(runner_module, "random", kernel.random),
    ):
        yield
