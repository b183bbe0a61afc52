"""What a table remembers of its deliveries: exact as long as it says anything at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.tables._marks import (
    BEFORE,
    NOTE,
    READ,
    RUNS_MAX,
    SLOT_EPOCHS,
    SLOT_NUMBERS,
    Runs,
    Slot,
    Verdict,
    told_by_snapshots,
)

JOURNAL = "00112233445566ff"
ids = st.tuples(st.integers(1, 12), st.integers(1, 400))


def delivery(epoch: int, number: int) -> str:
    return f"{JOURNAL}-{epoch}-{number}"


@given(st.lists(ids, unique=True, max_size=500), ids)
def test_runs_never_guess(committed: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    runs = Runs()
    for one in committed:
        if runs.verdict(delivery(*one)) is Verdict.ABSENT:
            runs = Runs.parse(runs.adding(delivery(*one)).text)
    verdict = runs.verdict(delivery(*asked))
    if verdict is Verdict.LANDED:
        assert asked in committed
    if verdict is Verdict.ABSENT:
        assert asked not in committed
    assert len(runs.runs) <= RUNS_MAX


def test_deliveries_in_order_are_one_run_however_many() -> None:
    runs = Runs()
    for number in range(1, 5000):
        runs = runs.adding(delivery(1, number))
    assert runs.text == "0.0;1:1-4999"
    assert runs.verdict(delivery(1, 17)) is Verdict.LANDED
    assert runs.verdict(delivery(1, 5000)) is Verdict.ABSENT


def test_one_that_waited_finds_its_gap() -> None:
    runs = Runs()
    for number in range(1, 1000):
        if number != 500:
            runs = runs.adding(delivery(1, number))
    assert runs.verdict(delivery(1, 500)) is Verdict.ABSENT
    assert runs.adding(delivery(1, 500)).text == "0.0;1:1-999"


def test_what_fell_below_the_floor_is_forgotten_and_the_text_stays_short() -> None:
    runs = Runs()
    for number in range(2, 4000, 2):
        runs = runs.adding(delivery(3, number))
    assert runs.verdict(delivery(3, 2)) is Verdict.FORGOTTEN
    assert runs.verdict(delivery(3, 3998)) is Verdict.LANDED
    assert runs.verdict(delivery(3, 3997)) is Verdict.ABSENT
    assert len(runs.text) < 5 * 1024


@pytest.mark.parametrize("text", ["x", "1", "0.0;", "0.0;1:", "0.0;1:5", "0.0;1:1-2,", "0.0 "])
def test_a_text_that_was_changed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no list of deliveries"):
        Runs.parse(text)


@given(st.lists(ids, unique=True, max_size=300), ids)
def test_slots_never_guess(committed: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    table: dict[str, int] = {}
    for one in committed:
        slot = Slot.of(delivery(*one))
        if slot.verdict(table.get(slot.app_id)) is Verdict.ABSENT:
            table[slot.app_id] = slot.version
    slot = Slot.of(delivery(*asked))
    verdict = slot.verdict(table.get(slot.app_id))
    if verdict is Verdict.LANDED:
        assert asked in committed
    if verdict is Verdict.ABSENT:
        assert asked not in committed


def test_slots_are_few_and_differ_between_epochs_in_sequence() -> None:
    slots = {Slot.of(delivery(e, n)).app_id for e in range(40) for n in range(1000)}
    assert len(slots) == SLOT_EPOCHS * SLOT_NUMBERS
    assert Slot.of(delivery(1, 5)).app_id != Slot.of(delivery(2, 5)).app_id
    assert 0 < Slot.of(delivery(2**31 - 1, 2**32 - 1)).version < 2**63


class DeltaLog:
    """What delta-rs tells of a log: marks for ever, commits as long as they are kept."""

    def __init__(self) -> None:
        self.marks: dict[str, int] = {}
        self.commits: list[dict[str, object] | None] = [{"operation": "CREATE TABLE"}]

    def foreign(self) -> None:
        self.commits.append({"operation": "OPTIMIZE"})

    def verdict(self, asked: str) -> Verdict:
        slot = Slot.of(asked)
        known = slot.verdict(self.marks.get(slot.app_id))
        return slot.told_by(asked, self.history()) if known is Verdict.FORGOTTEN else known

    def history(self) -> list[dict[str, object]]:
        kept = [entry for entry in reversed(self.commits) if entry is not None]
        return [{**entry, "version": len(self.commits) - 1 - n} for n, entry in enumerate(kept)]

    def commit(self, added: str, read: int) -> None:
        """`read`: the version that it was made from; only foreign ones came since."""
        slot = Slot.of(added)
        before = self.marks.get(slot.app_id)
        self.marks[slot.app_id] = slot.marked(before)
        notes = {NOTE: added, READ: str(read), BEFORE: "" if before is None else str(before)}
        self.commits.append({**notes})


def test_a_delta_delivery_after_65_successors_is_absent_and_hides_none_of_them() -> None:
    log = DeltaLog()
    for number in range(6, 71):
        log.commit(delivery(1, number), len(log.commits) - 1)
    assert log.verdict(delivery(1, 5)) is Verdict.ABSENT
    log.commit(delivery(1, 5), len(log.commits) - 1)
    for number in range(5, 71):
        assert log.verdict(delivery(1, number)) is Verdict.LANDED


@pytest.mark.parametrize("seed", range(20))
def test_a_delta_history_never_guesses(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any order, rebased over foreign commits, with the oldest or any others expired."""
    monkeypatch.setattr("rayflume.tables._marks.SLOT_NUMBERS", 3)
    random_ = random.Random(seed)
    log, landed = DeltaLog(), set()
    numbers = list(range(1, 61))
    random_.shuffle(numbers)
    for number in numbers[:45]:
        read = len(log.commits) - 1
        for _ in range(random_.choice([0, 0, 1, 3])):
            log.foreign()
        one = delivery(random_.choice([1, 1, 9]), number)
        if one not in landed and log.verdict(one) is Verdict.ABSENT:
            log.commit(one, read)
            landed.add(one)
    whole = [log.verdict(delivery(e, n)) for e in (1, 9) for n in range(1, 61)]
    assert Verdict.FORGOTTEN not in whole
    gone = random_.sample(range(len(log.commits)), random_.randint(1, 5))
    gone += range(random_.choice([0, 10, len(log.commits) // 2]))
    for index in gone:
        log.commits[index] = None
    for epoch in (1, 9):
        for number in range(1, 61):
            verdict = log.verdict(delivery(epoch, number))
            if verdict is not Verdict.FORGOTTEN:
                assert (verdict is Verdict.LANDED) == (delivery(epoch, number) in landed)


class Snapshots:
    """What an Iceberg table tells: its runs for ever, snapshots as long as they are kept."""

    def __init__(self) -> None:
        self.runs = Runs()
        self.notes: list[tuple[str, str]] = []

    def verdict(self, asked: str, kept: int) -> Verdict:
        known = self.runs.verdict(asked)
        notes = self.notes[::-1][:kept]
        return told_by_snapshots(asked, notes) if known is Verdict.FORGOTTEN else known

    def commit(self, added: str) -> None:
        self.notes.append((added, self.runs.fallen(added).text))
        self.runs = self.runs.adding(added)


def test_with_every_other_number_in_another_sink_an_iceberg_delivery_after_209_is_absent() -> None:
    table = Snapshots()
    for number in [1, *range(5, 423, 2)]:
        table.commit(delivery(1, number))
        table.notes.append(("", ""))
    assert table.runs.verdict(delivery(1, 3)) is Verdict.FORGOTTEN
    assert table.verdict(delivery(1, 3), 1000) is Verdict.ABSENT
    assert table.verdict(delivery(1, 1), 1000) is Verdict.LANDED
    table.commit(delivery(1, 3))
    for number in [1, *range(3, 423, 2)]:
        assert table.verdict(delivery(1, number), 1000) is Verdict.LANDED
    assert table.verdict(delivery(1, 4), 3) is Verdict.FORGOTTEN


@pytest.mark.parametrize("seed", range(12))
def test_snapshots_never_guess(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflume.tables._marks.RUNS_MAX", 5)
    random_ = random.Random(seed)
    table, landed = Snapshots(), set()
    for _ in range(120):
        one = delivery(random_.randint(1, 3), random_.randint(1, 60))
        other = one.replace(JOURNAL, "ff" * 8)
        table.notes.append(random_.choice([("", ""), (other, ""), (other, "9.9;9:9-9")]))
        if table.verdict(one, random_.choice([10, 1000])) is Verdict.ABSENT:
            assert one not in landed
            table.commit(one)
            landed.add(one)
    for kept in (0, 20, 1000):
        verdicts = {}
        for epoch in (1, 2, 3):
            for number in range(1, 61):
                verdicts[delivery(epoch, number)] = table.verdict(delivery(epoch, number), kept)
        for one, verdict in verdicts.items():
            if verdict is not Verdict.FORGOTTEN:
                assert (verdict is Verdict.LANDED) == (one in landed)
        assert kept < 1000 or Verdict.FORGOTTEN not in verdicts.values()
