"""Selector `load_balancing`: the channels share the rows out among themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from rayflume.batch import EventBatch, body_offsets
from rayflume.component import Component, Context, component, option
from rayflume.interfaces import Share
from rayflume.selectors._routes import rows_where
from rayflume.units import ANY_CASE

_SEED = {"round_robin": 0, "random": 0x9E3779B9}


@component
class LoadBalancing(Component):
    """Give each row to one of the channels of the source, about as many to each.

    Rows of a source that cannot repeat them (a socket) are dealt out in turn, or at random. Rows
    that may be read again (files, requests with a key) must go the same way again, or a put that a
    crash left half done would lose some and double others: of those a checksum of the body
    decides. That is as even as chance over many rows, but rows with the same body meet in one
    channel, and an interceptor that writes something new into bodies at each read must not stand
    before it. Change the channels only once the agent is drained.

    All channels are required: there is no failover to another one, as in Flume. (For that put one
    channel before several sinks.) Rows: each to one channel. Blocks: never. Raises: nothing.
    """

    policy: Annotated[Literal["round_robin", "random"], ANY_CASE] = option(
        "`round_robin` deals in turn, `random` by chance.", default="round_robin", example="random"
    )

    def required(self, channels: Sequence[str]) -> list[str]:
        return list(channels)

    def check_channels(self, channels: Sequence[str]) -> list[str]:
        """What is wrong with dividing among these channels, a sentence each."""
        if len(channels) < 2:
            return ["`load_balancing` divides rows among channels, and there is one: name several"]
        return []

    def build(self, context: Context) -> Balancer:
        if context.replay == "lossy":
            return Dealer(self.policy == "random")
        return Balancer(_SEED[self.policy])


@dataclass
class Balancer:
    """Decides by a checksum of the body and `seed`: the same on every host and in every life."""

    seed: int

    def required(self, channels: Sequence[str]) -> list[str]:
        return list(channels)

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]:
        chosen = self._choose(batch, len(channels))
        places = {name: place for place, name in enumerate(sorted(channels))}
        return [Share(name, rows_where(batch, chosen == places[name])) for name in channels]

    def _choose(self, batch: EventBatch, count: int) -> npt.NDArray[np.int64]:
        """The channel of each row, as its place among their sorted names."""
        if not batch.num_rows:
            return np.zeros(0, np.int64)
        from rayflume.hashes import hash_values  # compiles with the first rows that need it

        values = batch.body.buffers()[2]
        data = np.frombuffer(values if values is not None else b"", np.uint8)
        hashes = np.zeros(batch.num_rows, np.uint64)
        hash_values(data, body_offsets(batch.body).astype(np.int64), hashes)
        mixed = (hashes ^ np.uint64(self.seed)) * np.uint64(0xBF58476D1CE4E5B9)
        return ((mixed >> np.uint64(33)) % np.uint64(count)).astype(np.int64)


class Dealer(Balancer):
    """Deals rows out that never come again."""

    def __init__(self, at_random: bool) -> None:
        super().__init__(0)
        self._at_random = at_random
        self._turn = 0

    def _choose(self, batch: EventBatch, count: int) -> npt.NDArray[np.int64]:
        rows = batch.num_rows
        if self._at_random:
            drawn = np.frombuffer(os.urandom(4 * rows), np.uint32)
            return (drawn % np.uint32(count)).astype(np.int64)
        first, self._turn = self._turn, (self._turn + rows) % count
        return (first + np.arange(rows, dtype=np.int64)) % count
