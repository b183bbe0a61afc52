"""F3: a power failure leaves any part of what was not synced, in any order: writes, names, both.

Random histories of one file channel on the simulated disk, which is cut off at a random operation.
What was acknowledged must be there, nothing else may be, and opening never raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from fakes import bodies_of, journaled, manifest_of, manual, request
from fault_volume import scaled
from simulation.disk import Machine, SimDisk
from simulation.kernel import Kernel, Process

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.interfaces import PutOutcome
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions

HISTORIES = scaled(800)
FAILURES = 3
OPTIONS = JournalOptions(LedgerLimits(events=10_000, lease_timeout_ms=10**9), 2_000)


class PowerFailure(BaseException):
    """Raised where the power fails."""


class OneTask(Kernel):
    """No tasks: every step returns at once, until the power fails."""

    left = 0

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise PowerFailure


@dataclass
class History:
    """One channel through a few power failures, and what it acknowledged."""

    seed: int
    rows: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    committed: set[bytes] = field(default_factory=set)
    unsure: set[bytes] = field(default_factory=set)
    """Rows whose commit was asked for when the power failed."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.kernel = OneTask(self.seed)
        self.machine = Machine(self.kernel, "wal")

    def open(self) -> JournaledChannel:
        disk = SimDisk(self.machine, Process("wal", "near"))
        return journaled(disk, manual(Path("/nowhere"))[0], OPTIONS)

    def run(self) -> None:
        for _ in range(FAILURES):
            self.kernel.left = self.random.randint(1, 60)
            try:
                self.live(self.open())
            except PowerFailure:
                self.machine.power_failure(self.random)
            self.machine.owner = None
            self.kernel.left = 0
            self.check(self.open())
            self.machine.owner = None

    def live(self, channel: JournaledChannel) -> None:
        while True:
            if self.random.random() < 0.7:
                self.put(channel)
            else:
                self.deliver(channel)

    def put(self, channel: JournaledChannel) -> None:
        stream = self.random.choice("ab")
        start = channel.positions("").get(stream)
        first = start.next if start else 0
        last = first + self.random.randint(1, 40)
        bodies = [f"{stream}{n}".encode() for n in range(first, last)]
        reply = channel.put(request(bodies, [Extent(stream, first, last, len(bodies))]))
        assert reply.outcome is PutOutcome.STORED
        self.rows[stream] = max(self.rows[stream], last)

    def deliver(self, channel: JournaledChannel) -> None:
        taken = channel.take("lake/0/x", "", 1, 0)
        rows = set(bodies_of(channel, taken.refs))
        if not rows:
            return
        channel.prepare(manifest_of(taken.delivery, len(rows)), "lake/0/x")
        self.unsure |= rows
        channel.commit(taken.delivery)
        self.unsure -= rows
        self.committed |= rows

    def check(self, channel: JournaledChannel) -> None:
        """Everything acknowledged, once, and no other row than the next puts would have had."""
        state = channel.state()
        assert state.degraded == (), f"history {self.seed}: {state.degraded}"
        ledger = channel._journal.ledger
        open_rows = bodies_of(channel, channel.refs(list(ledger.unfinished)))
        assert len(set(open_rows)) == len(open_rows)
        there = set(open_rows)
        acknowledged = {f"{s}{n}".encode() for s, count in self.rows.items() for n in range(count)}
        assert acknowledged - there - self.committed <= self.unsure, f"history {self.seed}"
        assert not there & self.committed, f"history {self.seed}: committed rows are back"
        self.committed |= self.unsure - there
        self.unsure.clear()
        for stream, position in channel.positions("").items():
            assert position.next >= self.rows[stream], f"history {self.seed}"
            self.rows[stream] = position.next
        for delivery, _ in ledger.prepared():
            channel.commit(delivery.delivery)
        done = there - set(bodies_of(channel, channel.refs(list(ledger.unfinished))))
        self.committed |= done


@pytest.mark.exhaustive
def test_f3_acknowledged_rows_survive_every_power_failure() -> None:
    for seed in range(HISTORIES):
        History(seed).run()
