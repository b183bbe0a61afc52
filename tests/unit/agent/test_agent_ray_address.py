"""An address where no Ray listens is refused at once and with a sentence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rayflume.agent import ray_address
from rayflume.agent.ray_address import check_answers, no_ray, resolved
from rayflume.errors import ConfigError


@pytest.fixture
def closed() -> str:
    """An address of this host where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


def left_behind(folder: Path, address: str) -> dict[str, str]:
    (folder / "ray").mkdir()
    (folder / "ray/ray_current_cluster").write_text(address)
    return {"RAY_TMPDIR": str(folder)}


def test_nothing_listens_at_the_address_that_was_given(closed: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_answers(closed, {})
    assert refused.value.message == (
        f"no Ray cluster answers at {closed}; `ray start --head` starts one, and "
        "`--address HOST:PORT` names another"
    )


def test_what_listens_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}", {})


def test_auto_is_the_variable_else_the_cluster_that_was_started_last(tmp_path: Path) -> None:
    environ = left_behind(tmp_path, "10.0.0.1:6379\n")
    assert resolved("auto", environ) == "10.0.0.1:6379"
    assert resolved("auto", environ | {"RAY_ADDRESS": "10.0.0.2:6379"}) == "10.0.0.2:6379"
    assert resolved("auto", {"RAY_TMPDIR": str(tmp_path / "none")}) == ""
    assert resolved("10.0.0.3:1", environ) == "10.0.0.3:1"


def test_the_address_of_a_cluster_that_has_ended_is_not_waited_for(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_address, "_runs_here", lambda: False)
    with pytest.raises(ConfigError, match=rf"at {closed} \(auto\); `ray start --head`"):
        check_answers("auto", left_behind(tmp_path, closed))


def test_without_any_cluster_ray_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_address, "_runs_here", lambda: False)
    with pytest.raises(ConfigError, match=r"^no Ray cluster runs on this host; `ray start --head`"):
        check_answers("auto", {"RAY_TMPDIR": str(tmp_path)})


def test_beside_a_left_address_ray_may_find_one_that_runs(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_address, "_runs_here", lambda: True)
    environ = left_behind(tmp_path, closed)
    check_answers("auto", environ)
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        check_answers("auto", environ | {"RAY_ADDRESS": closed})


@pytest.mark.parametrize("address", ["ray://nowhere:10001", "local", "nowhere", "a:b"])
def test_other_forms_are_left_to_ray(address: str) -> None:
    check_answers(address, {})


def test_a_ray_that_does_not_start_is_no_bug_of_rayflume() -> None:
    error = Exception("The current node timed out during startup.")
    assert no_ray(None, error).message == (
        "Ray does not start on this machine: The current node timed out during startup; try again "
        "when it is less busy, or run without Ray: --inline"
    )
    assert no_ray("h:1", ValueError()).message.startswith("no Ray at h:1: ValueError(); `ray start")
