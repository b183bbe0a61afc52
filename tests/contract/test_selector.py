"""Clauses of Selector, over every type in the folder, built from the example of its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.cli._reference import sample_options
from rayflume.component import lookup, types_of
from rayflume.testing import Check, Trial, checks


@pytest.fixture(params=types_of("selector"))
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
    cls = lookup("selector", request.param)
    return Trial(cls, sample_options(cls), tmp_path)


@pytest.mark.parametrize("check", checks("selector"), ids=str)
def test_contract(check: Check, trial: Trial) -> None:
    check(trial)
