"""The one Ray cluster of a test run: three nodes on this machine, the head with a dashboard.

Each node has what a host of its own would have: a host id and an input folder, in the environment
of its processes. A configuration names the folder as `${RAYFLUME_TEST_INPUT}`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INPUT = "RAYFLUME_TEST_INPUT"
HOST_ID = "RAYFLUME_HOST_ID"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class RayNodes:
    """A running cluster, to which this process is connected. The head is node 0.

    `address` is for `--address`, `dashboard` for `submit`; `cluster.add_node()` adds a node, which
    the test must remove again.
    """

    address: str
    dashboard: str
    cluster: Any
    node_ids: tuple[str, ...]
    inputs: tuple[Path, ...]


def exported_metrics() -> str:
    """What Ray itself shows of metrics, of all nodes: the text that a Prometheus would read."""
    import ray

    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                found.append(answer.read().decode())
    return "\n".join(found)


@contextlib.contextmanager
def three_nodes(folder: Path) -> Iterator[RayNodes]:
    """Start the cluster, connect, and end both. Blocks for about 20 s."""
    # A job's `python` is found on the path, and must be the one that has rayflume.
    here = str(Path(sys.executable).parent)
    os.environ.update(QUIET, PATH=f"{here}{os.pathsep}{os.environ['PATH']}")
    inputs = tuple(folder / f"node-{n}" for n in range(3))
    environments = [
        {**QUIET, HOST_ID: f"host-{n}", INPUT: str(path)} for n, path in enumerate(inputs)
    ]
    for path in inputs:
        path.mkdir()
    dashboard = {"include_dashboard": True, "dashboard_port": 0, "dashboard_agent_listen_port": 0}
    head = {"num_cpus": 2, "env_vars": environments[0], **dashboard}
    others = [{"num_cpus": 2, "env_vars": env} for env in environments[1:]]
    with started(head, others) as (cluster, nodes):
        ids = tuple(str(node.node_id) for node in nodes)
        url = f"http://{cluster.head_node.webui_url}"
        yield RayNodes(cluster.address, url, cluster, ids, inputs)


@contextlib.contextmanager
def started(
    head: dict[str, Any], others: Sequence[dict[str, Any]]
) -> Iterator[tuple[Any, list[Any]]]:
    """A cluster of nodes with these options, and its nodes; this process is connected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within Ray itself
        from ray.cluster_utils import Cluster

        from rayflume.agent.cluster import connect

        cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        try:
            nodes = [cluster.add_node(**options) for options in others]
            connect(cluster.address)
        except BaseException:
            _end(cluster)
            raise
    try:
        yield cluster, [cluster.head_node, *nodes]
    finally:
        _end(cluster)


def _end(cluster: Any) -> None:
    from rayflume.agent.cluster import disconnect

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disconnect()
        cluster.shutdown()
