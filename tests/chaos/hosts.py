"""Three Ray nodes on this machine that die, freeze, and come back as the same hosts.

What is of a host, its id and its label, is given again to the node that takes its place; its disk
is a folder of this machine, so it outlives the node.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from ray_nodes import HOST_ID, QUIET, started

SETTINGS = {
    # A node that is gone is noticed in about 5 s (20 s by default).
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


def host(number: int) -> str:
    return f"host-{number}"


def environment(number: int) -> dict[str, str]:
    return {**QUIET, HOST_ID: host(number)}


def node_options(number: int) -> dict[str, Any]:
    """What makes a Ray node the host of this number."""
    return {"num_cpus": 2, "labels": {"host": host(number)}, "env_vars": environment(number)}


class Hosts:
    """A running cluster to which this process is connected. Host 0 is the head and never dies."""

    def __init__(self, cluster: Any, nodes: list[Any]) -> None:
        self.cluster = cluster
        self.nodes: dict[int, Any] = dict(enumerate(nodes))

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def raylet(self, number: int) -> int:
        """Process id of a node's raylet."""
        return int(self.nodes[number].all_processes["raylet"][0].process.pid)

    def processes(self, number: int) -> list[int]:
        """The raylet of a node and everything it started."""
        raylet = self.raylet(number)
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(raylet).children(recursive=True)
            return [raylet, *(child.pid for child in children)]
        return []

    def kill(self, number: int) -> None:
        """The whole node at once, as by a power cut."""
        self.signal(self.processes(number), signal.SIGKILL)

    def kill_raylet(self, number: int) -> list[int]:
        """Only the raylet: its workers go on until they notice. Returns the workers."""
        workers = self.processes(number)[1:]
        self.signal([self.raylet(number)], signal.SIGKILL)
        return workers

    def signal(self, pids: list[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def back(self, number: int) -> None:
        """A new node for a host whose node is dead."""
        node = self.nodes.pop(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.cluster.remove_node(node, allow_graceful=False)
            self.nodes[number] = self.cluster.add_node(**node_options(number))

    def replace(self, number: int) -> Any:
        """A new node for a host whose old node is frozen; returns the old one, to be ended."""
        old = self.nodes.pop(number)
        self.nodes[number] = self.cluster.add_node(**node_options(number))
        return old

    def end(self, node: Any) -> None:
        """Remove what is left of a node that was replaced."""
        self.cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def three_hosts(folder: Path) -> Iterator[Hosts]:
    """A cluster of this process alone: its sockets and its address file are in `folder`, a short
    path.
    """
    os.environ.update(QUIET, **SETTINGS, RAY_TMPDIR=str(folder))
    head = node_options(0) | {"include_dashboard": False}
    with started(head, [node_options(1), node_options(2)]) as (cluster, nodes):
        yield Hosts(cluster, nodes)
