"""Clauses of Interceptor, over every type in the folder, built from the example of its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.cli._reference import sample_options
from rayflume.component import lookup, types_of
from rayflume.testing import Check, Trial, checks
from rayflume.testing._interceptor import HOSTILE, numbered


@pytest.fixture(params=types_of("interceptor"))
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
    cls = lookup("interceptor", request.param)
    return Trial(cls, sample_options(cls), tmp_path)


@pytest.mark.parametrize("check", checks("interceptor"), ids=str)
def test_contract(check: Check, trial: Trial) -> None:
    check(trial)


def test_bodies_stay_as_they_are(trial: Trial) -> None:
    got = trial.build().intercept(numbered())
    kept = [int(n) for n in got.header("n").to_pylist()]
    assert got.body.to_pylist() == [HOSTILE[index] for index in kept]
