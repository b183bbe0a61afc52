"""The faults, from a seed. Each waits until it has really struck; then the agent must get on again.

A fault may come upon the one before, while that is still being mended.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
from fault_proxy import Fault, FaultProxy

from chaos.hosts import Hosts
from chaos.plant import LEASE_S, Plant, name_of
from chaos.watcher import Watcher, wait_for
from rayflume.agent.placement import alive_nodes
from rayflume.clock import SystemClock

RECOVER_S = 180
SHORT = 60
"""Fewer faults than that are chosen and paced for a short run."""
AWAKE_S = 8
HUNG_S = 60
"""A part that does not answer for so long is replaced by the supervisor."""
ROLES = ("source", "channel", "sink")
S3_FAULTS = {f"s3 {fault.value}": fault for fault in Fault}
OUTAGE = "s3 outage"
WEIGHTS = {
    **{f"kill {role}": 8 for role in ROLES},
    **{f"stop {role}": 5 for role in ROLES},
    "kill supervisor": 6,
    "kill node": 3,
    "kill raylet": 2,
    "freeze node": 2,
    "hang sink": 2,
    "hang other": 1,
    "kill driver": 3,
    "stop driver": 2,
    "full disk": 4,
    OUTAGE: 2,
    **dict.fromkeys(S3_FAULTS, 2),
}


def faults(seed: int, count: int, kinds: list[str]) -> list[str]:
    """`count` faults of these kinds in an order that the seed gives; each kind at least once, if
    they are enough. A short run begins with the hanging of a sink, which takes longest.
    """
    chance = random.Random(f"faults {seed}")
    kinds = [kind for kind in kinds if count >= SHORT or kind != "hang other"]
    chosen = chance.sample(kinds, min(count, len(kinds)))
    lighter = [kind for kind in kinds if count >= SHORT or WEIGHTS[kind] > 4]
    weights = [WEIGHTS[kind] for kind in lighter]
    chosen += chance.choices(lighter, weights, k=count - len(chosen))
    chance.shuffle(chosen)
    if count < SHORT:
        chosen.sort(key=lambda kind: kind != "hang sink")
    return chosen


def kinds(stores: tuple[str, ...], disk: bool) -> list[str]:
    """The kinds of fault that can be done to these stores."""
    return [
        kind
        for kind in WEIGHTS
        if (not kind.startswith("s3 ") or "s3" in stores) and (kind != "full disk" or disk)
    ]


@dataclass(frozen=True)
class Rig:
    """What a monkey plays with. `say` gets a line for each fault."""

    hosts: Hosts
    plant: Plant
    watcher: Watcher
    proxy: FaultProxy | None
    say: Callable[[str], None]


@dataclass
class Struck:
    """A fault that was done. `stall_s`: until all parts ran and rows were committed again."""

    kind: str
    target: str
    at_ms: int
    stall_s: float = -1.0
    overlapped: bool = False


@dataclass
class Monkey:
    """Does faults and waits for the agent to get on. `notes`: what was odd, but not wrong."""

    rig: Rig
    seed: int
    struck: list[Struck] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    overlap: float = 0.25
    _waiting: list[Struck] = field(default_factory=list)
    _hanging: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"monkey {self.seed}")
        self._clock = SystemClock()

    def play(self, planned: list[str]) -> None:
        """All faults, one after the other. Stops early when the agent does not recover."""
        for number, kind in enumerate(planned, 1):
            if self.wrong:
                return
            fault = Struck(kind, "", self._clock.monotonic_ms(), overlapped=bool(self._waiting))
            fault.target = self._do(kind)
            self.struck.append(fault)
            self._waiting.append(fault)
            last = number == len(planned)
            if last or self._chance.random() >= self.overlap:
                self._recovered()
                threading.Event().wait(self._chance.uniform(0.0, 0.5))
            self._tell(number, len(planned), fault)
        for replaced in self._hanging:
            replaced.join()

    def _tell(self, number: int, count: int, fault: Struck) -> None:
        rows = sum(self.rig.watcher.committed.values())
        stall = f"on again after {fault.stall_s:.1f} s" if fault.stall_s >= 0 else "next upon it"
        what = f"{fault.kind} {fault.target}".strip()
        self.rig.say(f"{number:4}/{count}  {what:44} {stall:24} {rows:>12,} rows committed")

    def _recovered(self) -> None:
        since_ms = self._clock.monotonic_ms()
        watcher = self.rig.watcher

        def on_again() -> bool:
            if not self.rig.plant.keep_driver():
                self.notes.append(f"driver started again: {self.rig.plant.log_tail(2)}")
                threading.Event().wait(1.0)
            return watcher.running(since_ms) and watcher.advanced_since(since_ms)

        if not wait_for(on_again, RECOVER_S):
            states = [(name_of(p), p["state"], p["last_error"]) for p in watcher.parts()]
            after = ", ".join(f"{fault.kind} {fault.target}" for fault in self._waiting)
            self.wrong.append(f"no recovery in {RECOVER_S} s after {after}: {states}")
        now_ms = self._clock.monotonic_ms()
        for fault in self._waiting:
            fault.stall_s = (now_ms - fault.at_ms) / 1000
        self._waiting.clear()

    # -- what can be done -----------------------------------------------------------------------

    def _do(self, kind: str) -> str:
        """Do one fault; returns whom it struck."""
        word, _, what = kind.partition(" ")
        if word == "s3":
            return self._store(kind)
        if word == "hang":
            return self._hang(what)
        if kind == "full disk":
            return self._fill()
        if what == "driver":
            return self._driver(word)
        if what in ("node", "raylet"):
            return self._node(kind, self._chance.choice((1, 2)))
        if what == "supervisor":
            return self._kill(self._supervisor(), "")
        name, pid = self._pick(what)
        return self._kill(pid, name) if word == "kill" else self._stop(pid, name)

    def _pick(self, role: str) -> tuple[str, int]:
        """A part of a role that runs: name and process id. Waits for one."""
        found: list[tuple[str, int]] = []

        def look() -> bool:
            found[:] = [
                (name_of(part), int(part["pid"]))
                for part in self.rig.watcher.parts()
                if part["kind"] == role and part["pid"] and psutil.pid_exists(int(part["pid"]))
            ]
            return self.rig.plant.keep_driver() and bool(found)

        if not wait_for(look, RECOVER_S, 0.2):
            self.wrong.append(f"no {role} runs")
            return "none", 0
        return self._chance.choice(sorted(found))

    def _supervisor(self) -> int:
        wait_for(
            lambda: self.rig.plant.keep_driver() and self.rig.plant.supervisor() > 0, RECOVER_S
        )
        return self.rig.plant.supervisor()

    def _kill(self, pid: int, name: str) -> str:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return name

    def _stop(self, pid: int, name: str) -> str:
        """Longer than a lease: it wakes up as one whose rows were given to others."""
        seconds = LEASE_S + self._chance.uniform(0.5, 2.0)
        self.rig.hosts.signal([pid] if pid else [], signal.SIGSTOP)
        threading.Event().wait(seconds)
        self.rig.hosts.signal([pid] if pid else [], signal.SIGCONT)
        return f"{name} for {seconds:.1f} s"

    def _hang(self, what: str) -> str:
        """Until the supervisor gives it up and kills it. A sink's rows go to the other one, so that
        more faults can come meanwhile.
        """
        name, pid = self._pick("sink" if what == "sink" else self._chance.choice(ROLES[:2]))
        self.rig.hosts.signal([pid] if pid else [], signal.SIGSTOP)
        replaced = threading.Thread(target=self._await_replaced, args=(name, pid), daemon=True)
        replaced.start()
        self._hanging.append(replaced)
        if what != "sink":
            replaced.join()
        return name

    def _await_replaced(self, name: str, pid: int) -> None:
        if not wait_for(lambda: not pid or not psutil.pid_exists(pid), HUNG_S + 60, 0.2):
            self.wrong.append(f"{name} hung and was not replaced")
            self.rig.hosts.signal([pid], signal.SIGCONT)

    def _driver(self, word: str) -> str:
        self.rig.plant.kill_driver(signal.SIGKILL if word == "kill" else signal.SIGTERM)
        self.rig.plant.start()
        return ""

    def _node(self, kind: str, number: int) -> str:
        hosts = self.rig.hosts
        node = str(hosts.nodes[number].node_id)
        if kind == "freeze node":
            self._freeze(number, node)
            return f"host {number}"
        workers = hosts.kill_raylet(number) if kind == "kill raylet" else []
        if kind == "kill node":
            hosts.kill(number)
        self._wait_dead(node)
        hosts.back(number)
        # One that hangs, by an earlier fault, can notice only when it goes on.
        hosts.signal(workers, signal.SIGCONT)
        left = [pid for pid in workers if psutil.pid_exists(pid)]
        if left and not wait_for(lambda: not any(map(psutil.pid_exists, left)), 60, 0.2):
            self.wrong.append(f"workers of host {number} outlive its raylet: {left}")
        return f"host {number}"

    def _wait_dead(self, node: str) -> None:
        if not wait_for(lambda: node not in alive_nodes(), 60, 0.2):
            self.wrong.append(f"Ray does not notice that node {node[:8]} is dead")

    def _freeze(self, number: int, node: str) -> None:
        """All processes of a host stop until others have taken their place; then they wake up."""
        hosts = self.rig.hosts
        raylet, frozen = hosts.raylet(number), hosts.processes(number)
        hosts.signal(frozen, signal.SIGSTOP)
        self._wait_dead(node)
        old = hosts.replace(number)
        threading.Event().wait(LEASE_S + 1)
        hosts.signal(frozen, signal.SIGCONT)
        # Ray does not always end a raylet that it took for dead; then its parts go on as zombies.
        wait_for(lambda: not psutil.pid_exists(raylet), AWAKE_S, 0.2)
        hosts.end(old)

    def _fill(self) -> str:
        """Not a byte is free on the disk of one channel, for a while."""
        filler = self.rig.plant.place.disk / "filler"
        taken = 0
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        taken += file.write(bytes(size))
        free = os.statvfs(filler).f_bavail
        threading.Event().wait(self._chance.uniform(3.0, 5.0))
        filler.unlink()
        return f"({taken >> 20} MiB taken, {free} blocks left)"

    def _store(self, kind: str) -> str:
        """A few requests, or all for some seconds; waits until one was hit."""
        proxy = self.rig.proxy
        assert proxy is not None
        before = proxy.total
        if kind == OUTAGE:
            seconds = self._chance.uniform(3.0, 8.0)
            fault = self._chance.choice((Fault.RESET, Fault.ERROR_500, Fault.SLOW_DOWN))
            proxy.inject(fault, times=None, for_s=seconds)
            threading.Event().wait(seconds)
            return f"{fault.value} for {seconds:.1f} s, {proxy.total - before} requests"
        fault, times = S3_FAULTS[kind], self._chance.randint(1, 5)
        slow = fault in (Fault.SLOW_BODY, Fault.SLOW_UPLOAD)
        proxy.inject(fault, times=times, hang_s=0.01 if slow else 2.0)
        if not wait_for(lambda: proxy.total > before, 30):
            self.notes.append(f"{kind}: no request came in 30 s")
        return f"{times} requests"
