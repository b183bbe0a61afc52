"""What a local Ray is started with."""

from __future__ import annotations

import os

import pytest
import ray

from rayflume.agent import cluster

pytestmark = pytest.mark.ray
NICENESS = "RAY_worker_niceness"


def test_parts_of_a_local_ray_run_at_the_priority_of_everybody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NICENESS, "")  # so that it is put back as it was
    monkeypatch.delenv(NICENESS)
    found = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: found.append(os.environ[NICENESS]))
    assert cluster.connect(None)
    assert found == ["0"]
    monkeypatch.setenv(NICENESS, "5")
    assert cluster.connect(None)
    assert found == ["0", "5"], "who sets it is heeded"
