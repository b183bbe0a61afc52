"""Fixtures that many test folders share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hdfs_servers import Hdfs, hdfs_cluster, require
from hypothesis import settings
from ray_nodes import RayNodes, three_nodes
from servers import S3Server, moto_server, weed_server

from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.metrics import Metrics

TESTS = Path(__file__).parent
MARKED = {
    TESTS / "integration": pytest.mark.integration,
    TESTS / "chaos": pytest.mark.integration,
    TESTS / "unit" / "agent" / "test_agent_inline.py": pytest.mark.integration,
    TESTS / "unit" / "agent" / "test_agent_api.py": pytest.mark.integration,
    TESTS / "model": pytest.mark.exhaustive,
    TESTS / "unit" / "journal" / "test_journal_damage.py": pytest.mark.exhaustive,
    TESTS / "unit" / "journal" / "test_journal_faults.py": pytest.mark.exhaustive,
    TESTS / "unit" / "test_cli_by_hand.py": pytest.mark.integration,
    TESTS / "unit" / "sources" / "test_sources_tail_schedule.py": pytest.mark.exhaustive,
}
"""What the quick part of the run leaves out: whole agents, every byte, many random schedules."""


# How long one example takes says nothing where other work takes the cores.
settings.register_profile("rayflume", deadline=None)
settings.load_profile("rayflume")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they are, so that the quick ones can be run alone. Files with slow tests
    come first, so that at the end all processes of a run have work.
    """
    for item in items:
        for place in (item.path, *item.path.parents):
            if place in MARKED:
                item.add_marker(MARKED[place])
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With `--dist loadscope`: what is dear to start is started by one process only.

    (`loadgroup` is for that; with pytest 9.2 it keeps nothing together, as of pytest-xdist 3.8.)
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Shared(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return shared_by(nodeid.partition("::")[0]) or nodeid

    return Shared(config, log)


@cache
def shared_by(file: str) -> str:
    """Name of the servers that all tests of a run share and a file uses; "" if it uses none."""
    text = (TESTS.parent / file).read_text()
    if "ray_cluster" in text:
        return "ray"
    if "mark.hdfs" in text:
        return "hdfs"
    return file if "mark.spark" in text else ""


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command sets up the logging of its process, which here is that of all tests."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Surroundings of a part under test: a clock moved by hand, relative paths in `tmp_path`."""
    return Context("test", "part", ManualClock(), Metrics(), directory=tmp_path)


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Server]:
    """Moto's S3 server, one for the run: `moto_s3.bucket()` makes a fresh bucket."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def weed_s3() -> Iterator[S3Server]:
    """A real S3 server that checks credentials, one for the run."""
    with weed_server() as server:
        yield server


@pytest.fixture(scope="session")
def hdfs_of_run() -> Iterator[Hdfs]:
    """The one HDFS of the run."""
    require()
    with hdfs_cluster() as hdfs:
        yield hdfs


@pytest.fixture
def hdfs(hdfs_of_run: Hdfs) -> Hdfs:
    """A name node and a data node, whatever the test before did to them: `hdfs.lake()` is a fresh
    directory.
    """
    hdfs_of_run.start()
    return hdfs_of_run


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """The one Ray cluster of the run, three nodes on this machine; this process is connected."""
    with three_nodes(tmp_path_factory.mktemp("ray-nodes")) as nodes:
        yield nodes
