"""Selector `replicating`: every channel gets every row."""

from __future__ import annotations

from collections.abc import Sequence

from rayflume.batch import EventBatch
from rayflume.component import Component, component, nearest, option
from rayflume.interfaces import Share


@component
class Replicating(Component):
    """Copy each batch to all channels of the source. It is the selector of a source without one.

    Rows: all, to each channel. Blocks: never. Raises: nothing.
    """

    optional: tuple[str, ...] = option(
        "Channels that may miss rows: while one of them is full or away, it is skipped, the rows "
        "are counted, and the source goes on. All other channels are required: a batch is accepted "
        "only once every one of them has it.",
        default=(),
        example=["copy"],
    )

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]:
        return [Share(name, batch, name not in self.optional) for name in channels]

    def required(self, channels: Sequence[str]) -> list[str]:
        return [name for name in channels if name not in self.optional]

    def check_channels(self, channels: Sequence[str]) -> list[str]:
        """What is wrong with `optional` for a source with these channels, a sentence each."""
        problems = [
            f"`optional` names {name!r}, which is no channel of this source"
            f"{nearest(name, list(channels))}"
            for name in self.optional
            if name not in channels
        ]
        if not self.required(channels):
            problems.append("all channels are `optional`; leave at least one out, it is required")
        return problems
