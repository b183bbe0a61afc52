"""One number for any set of rows: the sum, modulo 2^64, of a hash of each row.

The order of rows and of columns, and how rows are spread over batches and files, does not matter;
nor does a column that is null in all rows, so that a file from before the column was added has the
same number as its rows have behind it. Everything else does: a row lost, doubled or changed, values
swapped between rows or columns, null in place of a value. It guards against faults, not against
someone who makes collisions.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]

MODULUS = 1 << 64
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_STRUCT = np.uint64(0xD6E8FEB86659FD93)


def checksum(rows: pa.RecordBatch) -> int:
    """The checksum of these rows; add those of several batches modulo MODULUS."""
    return int(_mixed(_hash_fields(rows.schema, rows.columns, rows.num_rows)).sum())


def _hash_fields(fields: pa.Schema | pa.StructType, arrays: list[pa.Array], rows: int) -> Hashes:
    """The sum, over the fields with a value, of a hash of name and value."""
    total = np.zeros(rows, np.uint64)
    for field, array in zip(fields, arrays, strict=True):
        if array.null_count == len(array):
            continue
        named = _mixed(_hash_array(array) + _name_hash(field.name))
        if array.null_count:
            named[_nulls(array)] = 0
        total += named
    return total


@cache
def _name_hash(name: str) -> np.uint64:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _mixed(values: Hashes) -> Hashes:
    """Each value spread over all bits (splitmix64); 0 does not stay 0."""
    values = values + _GAMMA
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def _nulls(array: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)


def _hash_array(array: pa.Array) -> Hashes:
    """A hash of each value; of a null it may be anything."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _hash_array(array.dictionary_decode())
    if pa.types.is_struct(kind):
        children = [array.field(place) for place in range(kind.num_fields)]
        return _mixed(_hash_fields(kind, children, len(array)) + _STRUCT)
    if pa.types.is_map(kind):
        pairs = pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
        return _hash_lists(array, pairs)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _hash_lists(array, array.values)
    if pa.types.is_boolean(kind):
        return _hash_fixed(array.cast(pa.uint8()))
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        return _hash_fixed(array)
    return _hash_bytes(array.cast(pa.large_binary()))


def _hash_fixed(array: pa.Array) -> Hashes:
    """Values of 1, 2, 4, 8, 16 or 32 bytes, as their bits are."""
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    data = data[array.offset * width : (array.offset + len(array)) * width]
    if width < 8:
        return _mixed(data.view(f"u{width}").astype(np.uint64))
    words = data.view(np.uint64).reshape(len(array), -1)
    total = words[:, 0]
    for place in range(1, words.shape[1]):
        total = _mixed(total) ^ words[:, place]
    return _mixed(total)


def _hash_bytes(array: pa.Array) -> Hashes:
    from rayflume.hashes import hash_values  # compiled with the first text

    hashes = np.zeros(len(array), np.uint64)
    _, offsets, data = array.buffers()
    if len(array):
        places = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
        hash_values(np.frombuffer(data or b"", np.uint8), places, hashes)
    return hashes


def _hash_lists(array: pa.Array, values: pa.Array) -> Hashes:
    """Length, and each element with its place in the list."""
    offsets = np.asarray(array.offsets.to_numpy(zero_copy_only=False), np.int64)
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    lengths = np.diff(offsets)
    elements = values.slice(first, last - first)
    hashes = _hash_fields(pa.schema([("", elements.type)]), [elements], len(elements))
    places = np.arange(len(elements), dtype=np.int64) - np.repeat(offsets[:-1] - first, lengths)
    hashes = _mixed(hashes + places.astype(np.uint64) * _GAMMA)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
    total = sums[offsets[1:] - first] - sums[offsets[:-1] - first]
    return _mixed(total + lengths.astype(np.uint64) * _SECOND)
