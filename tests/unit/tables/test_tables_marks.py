"""What a table remembers of its deliveries: exact as long as it says anything at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.tables._marks import RUNS_MAX, SLOT_EPOCHS, SLOT_NUMBERS, Runs, Slot, Verdict

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
