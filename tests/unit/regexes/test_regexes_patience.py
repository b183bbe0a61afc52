"""A text for which a pattern takes for ever: given up after a while, and the next one sooner."""

from __future__ import annotations

import time

import pytest

from rayflume.regexes import JavaRegex, Patience
from rayflume.regexes._patience import TEXT_S


def test_with_each_text_that_is_given_up_the_next_has_half_the_time() -> None:
    asked: list[float] = []

    def work(limit_s: float) -> str:
        asked.append(limit_s)
        raise TimeoutError

    patience = Patience("x")
    assert [patience.of(work, "instead") for _ in range(2_000)] == ["instead"] * 2_000
    assert patience.of(lambda _: "done", "instead") == "done"
    assert asked[:3] == [TEXT_S, TEXT_S / 2, TEXT_S / 4]
    assert sum(asked) < 7 * TEXT_S
    assert patience.given_up == 2_000


def test_s5_replacing_ends_where_each_match_is_quick_and_all_of_them_are_not() -> None:
    regex = JavaRegex.compile(r"x(?=a*b|)")
    by = regex.replacement("y")
    start = time.thread_time()
    with pytest.raises(TimeoutError):
        regex.replace_all("x" * 1_000_000, by, 0.05)
    assert time.thread_time() - start < 1
