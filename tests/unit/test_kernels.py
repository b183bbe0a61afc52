"""Kernels where their machine code can't be kept."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from rayflume.kernels import kernel

SOURCE = """
def total(values, count):
    found = 0
    for place in range(count):
        found += values[place]
    return found
"""


def test_without_a_folder_for_it_machine_code_is_made_by_each_process() -> None:
    names: dict[str, Any] = {}
    exec(compile(SOURCE, "<nowhere>", "exec"), names)  # no file, so there is no folder beside it
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(names["total"])
    compiled = kernel(names["total"])
    assert compiled(np.arange(5), 5) == 10
    with pytest.raises(IndexError):  # every index is checked
        compiled(np.arange(5), 6)
