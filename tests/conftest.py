"""Fixtures that many test folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import RayNodes, three_nodes
from servers import S3Server, moto_server, weed_server

from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.metrics import Metrics

INTEGRATION = Path(__file__).with_name("integration")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of tests/integration, so that the quick tests can be run without it."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.integration)


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
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """The one Ray cluster of the run, three nodes on this machine; this process is connected."""
    with three_nodes(tmp_path_factory.mktemp("ray-nodes")) as nodes:
        yield nodes
