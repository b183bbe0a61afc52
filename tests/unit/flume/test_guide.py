"""The 112 configurations after Flume's user guide: each has the verdict its manifest expects.

A file with a part that rayflume has not (`not yet`, or never) cannot run, and says so; that follows
from the tables, so that the test stays right as parts come.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from flume_tables import as_yaml, bare, told
from guide_configs import (
    AGENTS,
    CONFIGS,
    OTHERS,
    SPECIAL,
    Expected,
    needs_configs,
    not_here,
    reading,
    rows,
)

from rayflume.config import load as load_yaml
from rayflume.errors import ConfigError
from rayflume.flume.build import AgentReading
from rayflume.flume.read import read_flume
from rayflume.flume.values import Surroundings

pytestmark = needs_configs


def test_every_file_is_in_the_manifest() -> None:
    assert {row["file"] for row in rows()} == {path.name for path in CONFIGS.glob("*.properties")}
    assert set(SPECIAL) <= set(AGENTS)
    assert len(AGENTS) + len(OTHERS) == 112


@pytest.mark.parametrize("name", AGENTS)
def test_a_file_has_the_verdict_of_its_manifest(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = SPECIAL.get(name, Expected(""))
    file = reading(name)
    (found,) = file.agents.values()
    missing = not_here(name)
    dropped = {one.dropped for one in found.dropped}
    if missing:
        assert found.plan is None, missing
        assert _says_so(found), told(file)
        assert dropped <= expected.dropped, told(file)
    else:
        assert dropped == expected.dropped, told(file)
        assert (found.plan is not None) is expected.runs, told(file)
    path = as_yaml(file, tmp_path, found.name)
    if found.plan is not None and found.plan.sources and found.plan.sinks:
        environ = {**expected.environ, **file.exported}
        assert bare(load_yaml(path, environ=environ)) == bare(found.plan)


def _says_so(found: AgentReading) -> bool:
    """Whether something is told as not in rayflume, or in no table yet."""
    fatal = [one.text for one in found.findings if one.fatal]
    return any("in rayflume" in text or text.startswith("there is no ") for text in fatal)


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_no_agent_is_told_as_what_it_is(name: str) -> None:
    with pytest.raises(ConfigError, match=r"not of an agent|no agent is described"):
        read_flume([CONFIGS / name], Surroundings({}))
