from __future__ import annotations

from rayflume.interfaces import Taken
from rayflume.journal.holders import Holders

A, B, A2 = "lake/0/a", "lake/1/b", "lake/0/c"


def test_a_delivery_has_one_holder() -> None:
    holders = Holders()
    holders.give("d1", A)
    holders.give("d2", A)
    holders.give("d1", B)
    assert (holders.of("d1"), holders.of("d2"), holders.of("d3")) == (B, A, "")
    assert (holders.held(A), holders.held(B)) == (["d2"], ["d1"])
    holders.end("d2")
    holders.end("d2")
    assert (holders.of("d2"), holders.held(A)) == ("", [])
    assert holders.gone(B) == ["d1"]
    assert (holders.of("d1"), holders.gone(B)) == ("", [])


def test_the_silent_are_found_among_those_that_hold_something() -> None:
    holders = Holders()
    for at_ms, name in enumerate((A, B, A2)):
        holders.hear(name, at_ms)
    holders.give("d1", A)
    holders.give("d2", A2)
    assert holders.lost(1) == [A]
    holders.hear(A, 5)
    assert (holders.lost(1), holders.lost(2)) == ([], [A2])
    holders.give("d3", B)
    assert holders.lost(1) == [B], "it was silent when it held nothing, and is still"
    holders.gone(B)
    assert holders.lost(4) == [A2]


def test_a_holder_that_was_never_heard_of_is_lost() -> None:
    holders = Holders()
    holders.hear(B, 0)
    holders.give("d1", A)
    assert holders.lost(-1_000) == [A]


def test_a_life_is_known_while_it_holds_something_or_has_taken() -> None:
    holders = Holders()
    holders.give("d1", A)
    holders.note_turn(A2, 1, Taken("d2"))
    holders.give("d3", B)
    assert holders.predecessors("lake/0/d") == [A, A2]
    assert holders.predecessors(A) == [A2]
    assert holders.turn(A2) == (1, Taken("d2"))
    holders.forget_turns(A2)
    holders.end("d1")
    assert holders.predecessors("lake/0/d") == []
    assert holders.turn(A2) == (0, Taken(""))
