from __future__ import annotations

from rayflume.journal.recovery import (
    Bad,
    Found,
    Scan,
    classify,
    missing_numbers,
    segment_name,
    segment_number,
    trim,
    unproven,
)
from rayflume.journal.segment import Head, Kind

ONE, TWO = segment_name(1), segment_name(2)
GARBLED = "no readable record"


def scan(
    name: str, *items: tuple[Kind, int, int] | str, ends: dict[str, int] | None = None
) -> Scan:
    """A segment of records of 64 bytes: (kind, number, synced), or a text for a bad stretch."""
    made = Scan(name, 64 * len(items))
    for i, item in enumerate(items):
        if isinstance(item, str):
            made.bad.append(Bad(name, 64 * i, 64 * (i + 1), item))
            continue
        kind, seq, synced = item
        meta = {"journal": "j", "number": 1, "ends": ends or {}} if kind is Kind.SEGMENT else {}
        made.found.append(Found(name, 64 * i, Head(kind, 1, seq, synced, 0, 8, 0, meta)))
    return made


def begun(number: int) -> list[tuple[Kind, int, int]]:
    return [(Kind.SEGMENT, number, number - 1), (Kind.SNAPSHOT, number + 1, number - 1)]


def test_segment_names_sort_and_are_told_from_other_files() -> None:
    assert segment_number(segment_name(7)) == 7
    assert segment_name(9) < segment_name(10)
    for name in ("in_use.lock", "damaged-segment-0000000001.log-64.bin", "segment-x.log"):
        assert segment_number(name) is None


def test_a_bad_stretch_that_nothing_proves_is_a_torn_tail() -> None:
    one = scan(ONE, *begun(1), (Kind.PUT, 3, 2), GARBLED, (Kind.PUT, 5, 2))
    found = classify([one], trim([one], {}), [])
    assert [f.head.seq for f in found.records] == [1, 2, 3]
    assert (found.last_seq, found.ends[ONE], found.damaged) == (3, 192, [])
    assert [bad.start for bad in found.torn] == [192]


def test_a_bad_stretch_before_what_was_synced_is_damage() -> None:
    one = scan(ONE, *begun(1), GARBLED, (Kind.MARK, 4, 3))
    found = classify([one], trim([one], {}), [])
    assert [f.head.seq for f in found.records] == [1, 2, 4]
    assert found.damaged == [Bad(ONE, 128, 192, GARBLED)]
    assert (found.torn, missing_numbers(found)) == ([], [(3, 4)])


def test_bodies_are_checked_from_the_last_proof_on() -> None:
    one = scan(ONE, *begun(1), (Kind.PUT, 3, 2), (Kind.PUT, 4, 3), (Kind.PUT, 5, 3))
    ends = trim([one], {})
    late = unproven([one], ends)
    assert [f.head.seq for f in late] == [4, 5]
    found = classify([one], ends, late[:1])
    assert (found.last_seq, found.ends[ONE], found.unproven) == (3, 192, [])
    assert [f.head.seq for f in classify([one], ends, []).unproven] == [4]


def test_a_later_segment_says_where_an_older_one_ends() -> None:
    one = scan(ONE, *begun(1), (Kind.PUT, 3, 2), (Kind.PUT, 4, 2))
    two = scan(TWO, *begun(4), ends={ONE: 192})
    found = classify([one, two], trim([one, two], {}), [])
    assert [f.head.seq for f in found.records] == [1, 2, 3, 4, 5]
    assert trim([one], {ONE: 128}) == {ONE: 128}


def test_numbers_used_again_show_the_end_when_the_note_is_damaged() -> None:
    one = scan(ONE, *begun(1), (Kind.PUT, 3, 2), (Kind.PUT, 4, 2), (Kind.PUT, 5, 2))
    two = scan(TWO, GARBLED, (Kind.SNAPSHOT, 5, 3))
    three = scan(TWO, GARBLED, GARBLED, (Kind.PUT, 6, 5))
    assert trim([one, two], {})[ONE] == trim([one, three], {})[ONE] == 192


def test_segments_that_say_nothing_are_empty_unless_proven() -> None:
    one = scan(ONE, *begun(1), (Kind.PUT, 3, 2))
    found = classify([one, scan(TWO, GARBLED)], trim([one], {}) | {TWO: 64}, [])
    assert (found.empty, found.damaged) == ([TWO], [])
    lost = scan(ONE, GARBLED, GARBLED)
    two = scan(TWO, *begun(9))
    found = classify([lost, two], trim([lost, two], {}), [])
    assert (found.empty, [bad.segment for bad in found.damaged]) == ([], [ONE, ONE])


def test_a_prefix_is_lost_when_no_snapshot_is_there_for_removed_segments() -> None:
    two = scan(TWO, (Kind.SEGMENT, 9, 8), GARBLED)
    assert classify([two], trim([two], {}), []).prefix_lost
    one = scan(ONE, (Kind.SEGMENT, 1, 0))
    assert not classify([one], trim([one], {}), []).prefix_lost
