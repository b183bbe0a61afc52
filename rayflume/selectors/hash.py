"""Selector `hash`: rows with the same values of some headers meet in one channel."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch, Header
from rayflume.component import Component, component, option
from rayflume.interfaces import Share


@component
class Hash(Component):
    """Divide the rows among all channels of the source by a hash of some headers, so that rows
    with the same values meet in one channel, and in the one sink behind it. Several sinks on one
    channel each write a file of their own for a partition; with one channel per sink, and the
    headers that the sinks partition by, a partition has one file per delivery however many sinks
    there are.

    A value of the body becomes a header with the interceptor `regex_extractor`. Headers that most
    rows have in common at one time, such as the hour, divide nothing and are better left out.

    A put that a crash left half done is divided anew at the next start, and must be divided as
    before, or rows of it are lost or doubled. The hash is the same on every host and in every life;
    headers that are not (those of the interceptors `timestamp` and `host`, the name of a file, what
    a request brings) make the guarantee `lossy`. Change `headers`, the interceptors that write
    them, or the channels, only once the agent is drained.

    Rows: each to one channel. Blocks: never. Raises: nothing.
    """

    headers: list[str] = option(
        "Headers whose values together decide; a row without one of them counts as one with a "
        "value of its own. Meant for some thousands of distinct values, as partitions have.",
        example=["country"],
        min_length=1,
    )

    def divides_by(self) -> list[str]:
        return list(self.headers)

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]:
        if len(channels) == 1 or not batch.num_rows:
            return [Share(name, batch) for name in channels]
        chosen = self._choose(batch, len(channels))
        places = {name: place for place, name in enumerate(sorted(channels))}
        return [Share(name, batch.filter(pa.array(chosen == places[name]))) for name in channels]

    def required(self, channels: Sequence[str]) -> list[str]:
        return list(channels)

    def check_channels(self, channels: Sequence[str]) -> list[str]:
        """What is wrong with dividing among these channels, a sentence each."""
        if len(channels) < 2:
            return ["`hash` divides rows among channels, and there is one: name several, or none"]
        return []

    def _choose(self, batch: EventBatch, count: int) -> npt.NDArray[np.int64]:
        """The channel of each row, as its place among their sorted names."""
        codes = np.zeros(batch.num_rows, np.int64)
        keys = [b""]
        for name in self.headers:
            values, places = _distinct(batch.headers.get(name), batch, name)
            found, codes = np.unique(codes * len(values) + places, return_inverse=True)
            pairs = [divmod(int(pair), len(values)) for pair in found]
            keys = [keys[before] + values[place] for before, place in pairs]
        return np.array([crc32(key) % count for key in keys], np.int64)[codes]


def _distinct(
    header: Header | None, batch: EventBatch, name: str
) -> tuple[list[bytes], npt.NDArray[np.int64] | int]:
    """The distinct values of a header, each as bytes that no other sequence of values begins with,
    and which of them each row has.
    """
    if isinstance(header, str):
        return [_framed(header.encode("utf-8", "surrogatepass"))], 0
    column = batch.header(name).cast(pa.binary())
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    values = [_framed(value) for value in encoded.dictionary.to_pylist()]
    return values, np.asarray(encoded.indices).astype(np.int64)


def _framed(value: bytes | None) -> bytes:
    return b"-" if value is None else b"%d:%b" % (len(value), value)
