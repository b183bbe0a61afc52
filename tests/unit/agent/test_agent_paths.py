from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rayflume.agent.paths import refuse_relative, relative_paths
from rayflume.config import AgentPlan, plan_of
from rayflume.errors import ConfigError
from rayflume.interfaces import Json


def plan(path: str, directory: str, lake: str, channel: str = "file") -> AgentPlan:
    options = {"type": channel} | ({"directory": directory} if channel == "file" else {})
    return plan_of(
        {
            "agent": "a",
            "sources": {"web": {"type": "taildir", "paths": [path], "channels": ["wal"]}},
            "channels": {"wal": options},
            "sinks": {
                "lake": {
                    "type": "parquet",
                    "channel": "wal",
                    "path": lake,
                    "format": {"type": "text"},
                }
            },
        },
        Path("/"),
        {"LAKE": "1"},
    )


def test_absolute_paths_urls_home_and_unknown_variables_are_fine() -> None:
    for lake in ("/lake", "s3://bucket/lake", "~/lake", "${LAKE}/x", "file:///lake"):
        refuse_relative(plan("/var/log/*.log", "/wal", lake))


def test_every_relative_path_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_relative(plan("log/*.log", "wal", "lake"))
    assert len(caught.value.problems) == 3
    assert "sources.web.paths: 'log/*.log' is a relative path" in caught.value.problems[0]


def test_the_state_directory_counts_only_for_a_channel_that_uses_it() -> None:
    assert relative_paths(plan("/l", "/wal", "/lake")) == []
    found = relative_paths(plan("/l", "", "/lake", "memory"))
    assert found == [(None, "state_dir", "state")]


def test_a_path_within_an_option_counts() -> None:
    found = plan("/l", "/wal", "/lake")
    files: dict[str, Json] = {"k": "keys/k", "j": "/keys/j"}
    options: dict[str, Json] = {"encryption": {"active_key": "k", "key_files": files}}
    channel = replace(found.channels["wal"], options={"directory": "/wal", **options})
    [(part, option, text)] = relative_paths(replace(found, channels={"wal": channel}))
    assert (part, option, text) == (channel, "encryption.key_files", "keys/k")
