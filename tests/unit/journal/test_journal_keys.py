from __future__ import annotations

import pytest

from rayflume.journal.keys import GENERATIONS, Keys, check_key

DIGEST = b"d" * 16


def key(n: int) -> str:
    return f"{n:032x}"


def test_at_least_three_quarters_of_the_limit_are_kept() -> None:
    keys = Keys(count_max=100, age_max_ms=10**9)
    for n in range(1000):
        keys.add(key(n), DIGEST, 0)
        kept = min(n + 1, 76)
        assert all(keys.get(key(i)) == DIGEST for i in range(n + 1 - kept, n + 1))
        assert len(keys) <= 100
    assert keys.get(key(0)) is None


def test_generations_go_whole_when_their_youngest_key_is_too_old() -> None:
    keys = Keys(count_max=1000, age_max_ms=4000)
    keys.add(key(1), DIGEST, 0)
    keys.add(key(2), DIGEST, 999)
    keys.add(key(3), DIGEST, 1000)
    keys.expire(4999)
    assert [keys.get(key(n)) is not None for n in (1, 2, 3)] == [True, True, True]
    keys.expire(5000)
    assert [keys.get(key(n)) is not None for n in (1, 2, 3)] == [False, False, True]


def test_no_more_than_the_generations_are_held() -> None:
    keys = Keys(count_max=10**6, age_max_ms=4000)
    for n in range(20):
        keys.add(key(n), DIGEST, n * 1000)
    assert len(keys.to_json()) == GENERATIONS


def test_keys_survive_their_json() -> None:
    keys = Keys(8, 1000)
    for n in range(6):
        keys.add(key(n), bytes([n]) * 16, n)
    again = Keys(8, 1000)
    again.load(keys.to_json())
    assert again.to_json() == keys.to_json()
    assert again.get(key(5)) == bytes([5]) * 16


@pytest.mark.parametrize(("name", "digest"), [("ab", DIGEST), (key(1), b""), ("zz" * 16, DIGEST)])
def test_a_key_of_another_width_is_refused(name: str, digest: bytes) -> None:
    with pytest.raises(ValueError, match=r"16 bytes|hexadecimal"):
        check_key(name, digest)
