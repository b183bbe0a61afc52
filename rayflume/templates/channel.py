"""A channel of my own: the file channel with other defaults.

A channel keeps positions, leases and deliveries over crashes: begin with one that does. One written
anew must keep all clauses of rayflume.interfaces.Channel, and have `open`.
"""

from __future__ import annotations

from rayflume.channels.file import Capacity, File
from rayflume.component import option


class MyChannel(File):
    """A durable channel for small hosts."""

    capacity: Capacity = option(
        "Rows and bytes the channel may hold.",
        factory=lambda: Capacity(events=100_000, bytes=64 * 2**20),
        example={"events": 100_000, "bytes": "64MiB"},
    )
