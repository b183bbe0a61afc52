"""The decisions after a failed request are pure: no server, no time, no chance."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.storage._s3_connection import Throttle
from rayflume.storage._s3_retry import (
    PAUSE_S,
    PAUSE_S_MAX,
    SLOWER_S,
    Verdict,
    Window,
    expired,
    pause_s,
    verdict,
)

AGAIN, FINAL, RENEW, SLOWER = Verdict.AGAIN, Verdict.FINAL, Verdict.RENEW, Verdict.SLOWER
CHANCE = st.floats(0, 1, exclude_max=True)
TRIES = st.integers(1, 10_000)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("SlowDown", 503, SLOWER), ("503", 503, SLOWER), ("429", 429, SLOWER),
        ("TooManyRequests", 429, SLOWER), ("ServiceUnavailable", 503, SLOWER),
        ("SlowDown", 500, SLOWER),  # what botocore makes of an error inside a 200
        ("InternalError", 500, AGAIN), ("502", 502, AGAIN), ("504", 504, AGAIN),
        ("RequestTimeout", 400, AGAIN), ("ReadTimeoutError", 0, AGAIN),
        ("ExpiredToken", 400, RENEW), ("TokenRefreshRequired", 400, RENEW),
        ("InvalidAccessKeyId", 403, RENEW), ("400", 400, RENEW), ("403", 403, RENEW),
        ("AccessDenied", 403, FINAL), ("NoSuchKey", 404, FINAL), ("404", 404, FINAL),
        ("PreconditionFailed", 412, FINAL), ("NoSuchUpload", 404, FINAL),
        ("ConditionalRequestConflict", 409, FINAL), ("NotImplemented", 501, FINAL),
        ("InvalidPart", 400, FINAL), ("SignatureDoesNotMatch", 403, FINAL),
    ],
)  # fmt: skip
def test_every_answer_has_one_verdict(code: str, status: int, expected: Verdict) -> None:
    assert verdict(code, status) is expected


@given(st.text("xyz", max_size=9), st.integers(400, 599))
def test_a_code_that_nobody_knows_is_judged_by_its_status(code: str, status: int) -> None:
    slower, again = status in {429, 503}, status in {500, 502, 504}
    assert verdict(code, status) is (SLOWER if slower else AGAIN if again else FINAL)
    assert not expired(code)


@given(st.sampled_from([AGAIN, SLOWER]), TRIES, st.integers(0, 100), CHANCE)
def test_a_pause_is_bounded_and_the_tries_are(
    found: Verdict, tries: int, retries: int, chance: float
) -> None:
    pause = pause_s(found, tries, retries, chance)
    if tries > retries:
        assert pause is None
    else:
        assert pause is not None
        assert 0 <= pause < PAUSE_S_MAX


@given(st.sampled_from([FINAL, RENEW]), TRIES, st.integers(0, 100), CHANCE)
def test_an_answer_that_stands_is_not_asked_again(
    found: Verdict, tries: int, retries: int, chance: float
) -> None:
    assert pause_s(found, tries, retries, chance) is None


@given(st.integers(1, 99), CHANCE)
def test_pauses_double_and_are_longer_for_a_store_that_is_asked_too_much(
    tries: int, chance: float
) -> None:
    now, then = (pause_s(AGAIN, n, 100, chance) or 0.0 for n in (tries, tries + 1))
    assert then == pytest.approx(min(2 * now, PAUSE_S_MAX * chance))
    assert (pause_s(SLOWER, tries, 100, chance) or 0.0) >= now
    assert (pause_s(AGAIN, 1, 1, chance) or 0.0) == pytest.approx(PAUSE_S * chance)
    assert (pause_s(SLOWER, 1, 1, chance) or 0.0) == pytest.approx(SLOWER_S * chance)


@given(TRIES.filter(lambda tries: tries < 100), CHANCE, CHANCE)
def test_chance_spreads_pauses_over_their_whole_length(tries: int, a: float, b: float) -> None:
    first, second = (pause_s(AGAIN, tries, 100, chance) or 0.0 for chance in (a, b))
    assert (first < second) == (a < b) or first == pytest.approx(second)


STEPS = st.lists(st.one_of(st.none(), st.integers(1, 60)), max_size=60)
"""An answer, or being told to slow down with so many requests under way."""


def after(window: Window, steps: list[int | None]) -> Window:
    for step in steps:
        window = window.widened() if step is None else window.halved(step)
    return window


@given(st.integers(1, 40), STEPS)
def test_the_window_is_never_shut_and_never_wider_than_its_ceiling(
    ceiling: int, steps: list[int | None]
) -> None:
    window = after(Window.open(ceiling), steps)
    assert 1 <= window.room <= ceiling


@given(st.integers(1, 40), STEPS, st.integers(1, 60))
def test_slowing_down_halves_what_was_under_way(
    ceiling: int, steps: list[int | None], under_way: int
) -> None:
    before = after(Window.open(ceiling), steps)
    assert before.halved(under_way).room <= max(1, min(before.room, under_way) // 2 + 1)


@given(st.integers(1, 40), STEPS)
def test_one_round_of_answers_widens_the_window_by_at_most_one(
    ceiling: int, steps: list[int | None]
) -> None:
    before = after(Window.open(ceiling), steps)
    widened = after(before, [None] * before.room)
    assert before.size <= widened.size <= before.size + 1 + 1e-9


@given(st.integers(1, 24), STEPS)
def test_a_store_that_has_recovered_is_asked_as_before(
    ceiling: int, steps: list[int | None]
) -> None:
    # Widening by 1/size from 1 to n takes about n²/2 answers.
    window = after(after(Window.open(ceiling), steps), [None] * (ceiling * (ceiling + 3) // 2))
    assert window.room == ceiling


@given(st.integers(2, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_the_window_swings_about_what_the_store_bears(ceiling: int, bears: int) -> None:
    window = Window.open(ceiling)
    refused = 0
    for round_ in range(200):
        if window.room > bears:
            refused += round_ >= 100
            window = window.halved(window.room)
        else:
            window = after(window, [None] * window.room)
        if round_ > 10:
            assert window.room <= bears + 1
            assert window.room >= min(ceiling, bears) // 2
    # One round in about half the width is refused, not every second one.
    assert refused <= 100 / max(2, bears // 2) + 2


SLOW = ClientError({"Error": {"Code": "SlowDown"}}, "UploadPart")
LOST = ClientError({"Error": {"Code": "NoSuchUpload"}}, "UploadPart")


class Store:
    """Requests that wait for their answers until the test gives them."""

    def __init__(self, ceiling: int) -> None:
        self.throttle = Throttle(ceiling)
        self.asked: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self, count: int) -> None:
        self.tasks += [asyncio.create_task(self._request()) for _ in range(count)]
        await self.settle()

    async def _request(self) -> None:
        async with self.throttle.place():
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.asked.append(answer)
            await answer

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def answer(self, count: int, error: Exception | None = None) -> None:
        answered, self.asked = self.asked[:count], self.asked[count:]
        for future in answered:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        await self.settle()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def test_refusals_of_one_round_halve_the_window_once() -> None:
    async def scenario() -> None:
        store = Store(16)
        await store.begin(20)
        assert len(store.asked) == 16
        await store.answer(8, SLOW)
        assert store.throttle.room == 8
        assert len(store.asked) == 8  # nothing new before the others have their answers
        await store.answer(8, SLOW)
        assert store.throttle.room == 8
        assert len(store.asked) == 4
        await store.answer(1, SLOW)
        assert store.throttle.room == 2
        await store.end()

    asyncio.run(scenario())


def test_other_refusals_and_requests_given_up_leave_the_window_alone() -> None:
    async def scenario() -> None:
        store = Store(4)
        await store.begin(6)
        await store.answer(2, LOST)
        assert store.throttle.room == 4
        assert len(store.asked) == 4
        store.tasks[2].cancel()
        store.tasks[3].cancel()
        await store.settle()
        await store.begin(4)
        assert len([answer for answer in store.asked if not answer.cancelled()]) == 4
        await store.end()

    asyncio.run(scenario())
