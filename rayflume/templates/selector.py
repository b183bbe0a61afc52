"""A selector of my own: rows with one value in a header go to one channel, others to the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.component import Component, option
from rayflume.interfaces import Share


class MySelector(Component):
    """Rows whose header has the value go to one channel, all other rows to the other channels."""

    kind = "selector"

    header: str = option("Header that decides.", default="level", example="level")
    value: str = option("Its value.", default="error", example="error")
    to: str = option("Channel of the rows that have it.", default="urgent", example="urgent")

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]:
        """`filter` keeps all extents, also those without a row: a channel must know of them."""
        chosen = pc.equal(batch.header(self.header), self.value).fill_null(False)
        others = batch.filter(pc.invert(chosen))
        picked = batch.filter(chosen)
        return [Share(name, picked if name == self.to else others) for name in channels]

    def required(self, channels: Sequence[str]) -> list[str]:
        """The channels without which a batch is not accepted."""
        return list(channels)
