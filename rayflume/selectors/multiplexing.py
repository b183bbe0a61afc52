"""Selector `multiplexing`: the value of a header decides which channels a row goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, nearest, option
from rayflume.interfaces import Share
from rayflume.metrics import Metrics
from rayflume.selectors._routes import distinct, rows_where

_BLANK = "".join(map(chr, range(33)))
"""What Java's `trim` takes away."""


@component
class Multiplexing(Component):
    """Send each row to the channels that its value of one header is mapped to. Several values may
    share channels, and one value may have several.

    A row without the header, with a blank or an unmapped value goes to `default`; without
    `default` it goes nowhere, and is counted as filtered. Values are compared exactly.

    A channel is required if `mapping` or `default` names it: the source waits for it. One that only
    `optional` names may miss rows: while it is full or away, it is skipped and the rows are
    counted. A channel that nothing names gets no rows.

    A put that a crash left half done is divided anew at the next start, and must be divided as
    before, or rows of it are lost or doubled. Headers that may be others when a row is read again
    (those of the interceptors `timestamp` and `host`, the name of a file, what a request brings)
    make the guarantee `lossy`. Change the mappings, and the interceptors that write the header,
    only once the agent is drained.

    Blocks: never. Raises: nothing.
    """

    header: str = option(
        "Header whose value decides.", default="flume.selector.header", min_length=1, example="type"
    )
    mapping: dict[str, list[str]] = option(
        "Value -> the channels that its rows go to.",
        factory=dict,
        example={"click": ["clicks"], "order": ["orders", "audit"]},
    )
    default: list[str] = option(
        "Channels of rows without the header, or with a value that `mapping` lacks.",
        factory=list,
        example=["rest"],
    )
    optional: dict[str, list[str]] = option(
        "Value -> further channels that are tried for its rows, and whose failures are ignored.",
        factory=dict,
        example={"order": ["copy"]},
    )

    def divides_by(self) -> list[str]:
        return [self.header]

    def required(self, channels: Sequence[str]) -> list[str]:
        named = {*self.default, *(name for names in self.mapping.values() for name in names)}
        return [name for name in channels if name in named]

    def check_channels(self, channels: Sequence[str]) -> list[str]:
        """What is wrong with the channels that are named, for a source with these."""
        places = {f"mapping.{value}": names for value, names in self.mapping.items()}
        places |= {f"optional.{value}": names for value, names in self.optional.items()}
        problems = [
            f"`{place}` names {name!r}, which is no channel of this source"
            f"{nearest(name, list(channels))}"
            for place, names in [*places.items(), ("default", self.default)]
            for name in names
            if name not in channels
        ]
        problems += [
            f"`{place}` names no channel; remove it, or name one"
            for place, names in places.items()
            if not names
        ]
        if not problems and not self.required(channels):
            problems.append("no channel is required; name one in `mapping` or in `default`")
        return problems

    def build(self, context: Context) -> MultiplexingSelector:
        return MultiplexingSelector(self, context.metrics)


@dataclass(frozen=True)
class MultiplexingSelector:
    """Looks at each distinct value once a batch."""

    options: Multiplexing
    metrics: Metrics

    def required(self, channels: Sequence[str]) -> list[str]:
        return self.options.required(channels)

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]:
        values, codes = distinct(batch, self.options.header)
        routes = [self._route(value) for value in values]
        required = self.options.required(channels)
        named = {name for names in self.options.optional.values() for name in names}
        shares = []
        for name in channels:
            if name in required or name in named:
                mask = np.array([name in route for route in routes], dtype=bool)[codes]
                shares.append(Share(name, rows_where(batch, mask), name in required))
        nowhere = np.array([not route for route in routes], dtype=bool)[codes]
        self.metrics.add("EventFilteredCount", int(nowhere.sum()))
        return shares

    def _route(self, value: str | None) -> set[str]:
        """The channels of one value, required and optional."""
        options = self.options
        mapping: Mapping[str, Sequence[str]] = options.mapping
        blank = value is None or not value.strip(_BLANK)
        found = options.default if blank else mapping.get(str(value), options.default)
        extra = () if value is None else options.optional.get(value, ())
        return {*found, *extra}
