"""Any schedule of appends, rotations, polls, refused puts and crashes: every line once, in order.

Truncations happen only when the channel has everything (what comes later is the stated bound of
copy-truncate), all else at any time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from channel_model import Flow
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rayflume.batch import EventBatch
from rayflume.component import Context
from rayflume.interfaces import PollableSource
from rayflume.sources.taildir import Taildir

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    TailSchedule.root = tmp_path_factory.mktemp("schedule")
    yield
    shutil.rmtree(TailSchedule.root)


class TailSchedule(RuleBasedStateMachine):
    root: Path

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.rotations = 0
        self.held: list[EventBatch] = []
        self.half: set[str] = set()
        self.written: list[bytes] = []

    @initialize(batch_bytes=st.sampled_from([1, 40, 1000]), linger=st.sampled_from([0, 200]))
    def begin(self, batch_bytes: int, linger: int) -> None:
        self.directory = self.root / str(len(list(self.root.iterdir())))
        self.directory.mkdir()

        def build(context: Context) -> PollableSource:
            return Taildir.model_validate(
                {"paths": ["*.log"], "batch_bytes": batch_bytes, "linger": linger}
            ).build(context)

        self.flow = Flow(build, self.directory)

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    @rule(name=st.sampled_from(NAMES), lines=st.integers(1, 12), half=st.booleans())
    def append(self, name: str, lines: int, half: bool) -> None:
        data = b"\n" if name in self.half else b""
        self.half.discard(name)
        for _ in range(lines):
            line = b"%s %d" % (name.encode(), self.number)
            self.number += 1
            self.written.append(line)
            data += line + b"\n"
        if half:
            data = data[:-1]
            self.half.add(name)
        with self.path(name).open("ab") as file:
            file.write(data)

    @rule(name=st.sampled_from(NAMES), matching=st.booleans())
    def rotate_by_rename(self, name: str, matching: bool) -> None:
        if not self.path(name).exists() or name in self.half:
            return
        first = self.path(name).read_bytes().partition(b"\n")[0]
        if not matching and first not in self.flow.channel.arrived:
            # A name that was never matched while the channel learned of the file is not found.
            return
        self.rotations += 1
        ending = f"{self.rotations}.log" if matching else f"log.{self.rotations}"
        self.path(name).rename(self.directory / f"{name}.{ending}")

    @rule(name=st.sampled_from(NAMES), delete=st.booleans())
    def truncate_or_delete_what_is_read(self, name: str, delete: bool) -> None:
        if name in self.half or not self.path(name).exists():
            return
        self.drain()
        if delete:
            self.path(name).unlink()
        else:
            self.path(name).write_bytes(b"")

    def drain(self) -> None:
        while self.held:
            self.put()
        self.flow.settle()

    @rule(ms=st.sampled_from([0, 100, 250, 1_100]))
    def poll(self, ms: int) -> None:
        self.flow.clock.advance(ms)
        if len(self.held) < 3:
            batch = self.flow.poll()
            if batch is not None:
                self.held.append(batch)

    @precondition(lambda self: self.held)
    @rule()
    def put(self) -> None:
        if not self.flow.give(self.held.pop(0)):
            self.held.clear()

    @precondition(lambda self: len(self.held) > 1)
    @rule()
    def put_in_the_wrong_order(self) -> None:
        if not self.flow.give(self.held.pop()):
            self.held.clear()

    @rule(late=st.booleans())
    def crash(self, late: bool) -> None:
        """The puts in flight are lost, or arrive after the next life has begun."""
        self.flow.restart()
        for batch in self.held if late else ():
            self.flow.channel.put(batch)
        self.held.clear()

    @rule()
    def idle(self) -> None:
        self.drain()
        self.flow.settle(130_000)

    @invariant()
    def nothing_twice_and_in_order(self) -> None:
        if not hasattr(self, "flow"):
            return
        arrived = self.flow.channel.arrived
        assert len(set(arrived)) == len(arrived)
        for rows in self.flow.channel.rows.values():
            numbers = [int(row.split()[1]) for row in rows]
            assert numbers == sorted(numbers)

    def teardown(self) -> None:
        if not hasattr(self, "flow"):
            return
        self.drain()
        self.flow.finish(unterminated=True)
        self.flow.source.stop()
        assert sorted(self.flow.channel.arrived) == sorted(self.written)


TestTailSchedule = TailSchedule.TestCase
TestTailSchedule.settings = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
