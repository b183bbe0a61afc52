from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.batch import EventBatch, Extent
from rayflume.selectors.hash import Hash

CHANNELS = ["c", "a", "b"]
CHOSEN: dict[str | None, str] = {"no": "a", "se": "c", "dk": "d", "": "c", None: "a"}
"""Value of the one header -> which of the channels a to d."""


def batch(headers: list[dict[str, str]]) -> EventBatch:
    bodies: list[bytes | None] = [b"%d" % i for i in range(len(headers))]
    half = len(headers) // 2
    extents = (Extent("s", 0, half, half), Extent("t", 5, 99, len(headers) - half))
    return EventBatch.from_events(bodies, headers, extents)


@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"x": st.sampled_from("pqrs"), "y": st.text(max_size=2)})
    )
)
def test_l1_every_row_is_in_one_share_and_every_extent_in_all(rows: list[dict[str, str]]) -> None:
    whole = batch(rows)
    shares = Hash(headers=["x", "y"]).select(whole, CHANNELS)
    assert [share.channel for share in shares] == CHANNELS
    where: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    seen = []
    for share in shares:
        assert [(e.stream, e.start, e.end) for e in share.batch.extents] == [
            (e.stream, e.start, e.end) for e in whole.extents
        ]
        assert sum(e.rows for e in share.batch.extents) == share.batch.num_rows
        numbers = [int(body) for body in share.batch.body.to_pylist()]
        assert numbers == sorted(numbers)
        seen += numbers
        for number in numbers:
            where[rows[number].get("x"), rows[number].get("y")].add(share.channel)
    assert sorted(seen) == list(range(len(rows)))
    assert all(len(channels) == 1 for channels in where.values())


def test_the_choice_never_changes() -> None:
    """Rows that a crash left in one channel only are divided again: these are for ever."""
    names = list(CHOSEN)
    chosen: dict[str | None, str] = {}
    for share in Hash(headers=["k"]).select(
        batch([{} if name is None else {"k": name} for name in names]), ["a", "b", "c", "d"]
    ):
        chosen |= {names[int(body)]: share.channel for body in share.batch.body.to_pylist()}
    assert chosen == CHOSEN


def test_a_header_that_all_rows_share_sends_all_to_one_channel_whatever_its_form() -> None:
    rows = batch([{}, {}, {}, {}])
    one = Hash(headers=["k"]).select(rows.with_header("k", "no"), CHANNELS)
    each = Hash(headers=["k"]).select(batch([{"k": "no"}] * 4), CHANNELS)
    counts = [share.batch.num_rows for share in one]
    assert sorted(counts) == [0, 0, 4]
    assert counts == [share.batch.num_rows for share in each]


def test_values_are_not_run_together() -> None:
    """("ab", "c") and ("a", "bc") are two keys."""
    keys = [{"x": "a" * i, "y": "a" * (12 - i)} for i in range(13)]
    shares = Hash(headers=["x", "y"]).select(batch(keys), CHANNELS)
    assert all(share.batch.num_rows for share in shares)


def test_many_keys_are_spread_evenly() -> None:
    keys = [{"k": f"tenant-{i}"} for i in range(4000)]
    for share in Hash(headers=["k"]).select(batch(keys), ["a", "b", "c", "d"]):
        assert 900 < share.batch.num_rows < 1100


@pytest.mark.parametrize(("channels", "problems"), [(["a"], 1), (["a", "b"], 0)])
def test_one_channel_is_nothing_to_divide_among(channels: list[str], problems: int) -> None:
    assert len(Hash(headers=["k"]).check_channels(channels)) == problems
    assert Hash(headers=["k"]).required(channels) == channels
