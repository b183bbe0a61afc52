"""What the commands share that talk to agents on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._output import printable
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.agent.cluster import RayAgent

Address = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="ADDR",
        help="Ray cluster: host:port, or auto for the one of this host or of RAY_ADDRESS.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a running agent.")]


@contextmanager
def connected(address: str, modules: Sequence[Path] = ()) -> Iterator[None]:
    """Connected to a cluster within the block; `modules` as in cluster.connect. Raises ConfigError
    when there is none.
    """
    from rayflume.agent import cluster

    cluster.connect(address, modules=modules)
    try:
        yield
    finally:
        cluster.disconnect()


def running(name: str) -> RayAgent:
    """A running agent. Raises ConfigError naming those that run."""
    from rayflume.agent import cluster

    found = cluster.find_agent(name)
    if found is None:
        others = ", ".join(cluster.agents())
        known = f"running: {others}" if others else "none is running"
        raise ConfigError(f"no agent {printable(name)!r} runs on this cluster; {known}")
    return found
