"""The headers of all rows of a batch, name by name, as pieces of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch


def header_values(batch: EventBatch) -> Iterator[tuple[str, pa.Array | pa.Scalar]]:
    """Name and binary values of each header, by name: null in rows that lack it, a scalar where
    all rows share one value.
    """
    for name in batch.header_names():
        column = batch.headers.get(name)
        if isinstance(column, str):
            yield name, pa.scalar(column.encode("utf-8", "surrogatepass"), pa.binary())
        else:
            yield name, batch.header(name).cast(pa.binary())


def sized(values: pa.Array | pa.Scalar, code: Callable[[int], bytes]) -> pa.Array | pa.Scalar:
    """The length of each value as the bytes that `code` makes of it; few lengths are distinct."""
    lengths = pc.binary_length(values)
    if isinstance(lengths, pa.Scalar):
        size = lengths.as_py()
        return pa.scalar(None if size is None else code(size), pa.binary())
    return coded(lengths, code)


def coded(numbers: pa.Array, code: Callable[[int], bytes]) -> pa.BinaryArray:
    """Each whole number, none below 0, as the bytes that `code` makes of it; nulls stay."""
    known = np.asarray(numbers.fill_null(0)).astype(np.int64)
    if not len(known):
        return pa.array([], pa.binary())
    distinct, places = np.unique(known, return_inverse=True)
    texts = pa.array([code(int(number)) for number in distinct], pa.binary())
    found = texts.take(pa.array(places))
    return pc.if_else(numbers.is_valid(), found, None) if numbers.null_count else found
