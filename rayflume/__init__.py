"""Collect data with Flume's model on Ray and Apache Arrow, every row once.

files, sockets, HTTP
|  read
source        interceptors change rows, a selector names the channels
|  put      acknowledged only when the channel has it durably
channel       a journal: rows, positions of the sources, deliveries
|  take     rows are leased, not removed
sink          decode, partition, stage -> prepare -> publish -> commit
|
lake            dt=2026-11-22/hour=14/part-....parquet

>>> import rayflume
>>> with rayflume.load("conf/clickstream.yaml").start(inline=True) as agent:  # doctest: +SKIP
...     agent.tap("wal")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayflume.errors import ConfigError, RayflumeError

if TYPE_CHECKING:
    from rayflume.agent.api import Agent, AgentStatus, RunningAgent, load

    __version__: str

__all__ = [
    "Agent",
    "AgentStatus",
    "ConfigError",
    "RayflumeError",
    "RunningAgent",
    "__version__",
    "load",
]


def __getattr__(name: str) -> object:
    # Looked up on first use: `import rayflume` must be quick and must not import Arrow or Ray.
    if name == "__version__":
        from importlib.metadata import version

        return version("rayflume")
    if name in __all__:
        from rayflume.agent import api

        return getattr(api, name)
    raise AttributeError(f"module 'rayflume' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
