from __future__ import annotations

import posixpath
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.storage import _paths

DELIVERY = "00000000000000aa-1-7"
NAMES = st.sampled_from(
    ["a", "..", ".", "", "dt=1", "_rayflume", "staging", "%2e", "\\", "~", "\0"]
)


@given(st.one_of(st.text(), st.lists(NAMES).map("/".join)))
def test_t6_whatever_passes_lies_below_the_base(path: str) -> None:
    try:
        names = _paths.split(path)
    except ValueError:
        return
    assert "/".join(names) == path
    joined = posixpath.normpath(f"/base/{path}")
    assert joined == f"/base/{path}"
    assert path.isprintable() or not any(ord(char) < 32 for char in path)


@pytest.mark.parametrize("read", [_paths.size_in, _paths.target_in])
def test_handles_of_another_kind_are_told(read: Callable[[dict[str, object]], object]) -> None:
    for handle in ({}, {"size": "1", "target": 1}, {"target": "", "size": None}):
        with pytest.raises(ValueError, match="not a handle of this storage"):
            read(dict(handle))


def test_only_deliveries_of_the_journal_count() -> None:
    assert _paths.of_journal(DELIVERY, "00000000000000aa")
    assert not _paths.of_journal(DELIVERY, "00000000000000ab")
    assert not _paths.of_journal(None, "00000000000000aa")
