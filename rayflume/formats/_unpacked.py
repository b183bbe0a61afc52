"""How much memory a body takes that is a small file, known before it is read (S3).

Compression, dictionaries and runs let a few hundred bytes stand for gigabytes. `Budget` says how
much of that one batch of bodies may have.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.formats._lake_types import Unfit

RATIO_MAX = 100
BYTES_MAX = 64 * 2**20
"""A body may always take so much, or ten times its length."""
LONG_RATIO = 10
FREE_BYTES = 2**20
"""What one body may take beyond the ratio: a thousand equal rows harm nobody."""
FREE_BYTES_OF_ALL = 64 * 2**20
VALUE_BYTES = 8
"""What one value takes at least, be it null or one of a run."""


class Budget:
    """Of one batch of bodies."""

    def __init__(self) -> None:
        self._free = FREE_BYTES_OF_ALL

    def take(self, size: int, length: int) -> None:
        """Raises Unfit if a body of `length` bytes may not become `size` bytes."""
        if size > max(BYTES_MAX, LONG_RATIO * length):
            raise Unfit(f"the body holds more than {BYTES_MAX >> 20} MiB, or ten times its length")
        beyond = max(0, size - RATIO_MAX * length)
        if beyond > min(FREE_BYTES, self._free):
            raise Unfit(f"what the body holds is more than {RATIO_MAX} times as long as the body")
        self._free -= beyond


def decoded_bytes(array: pa.Array) -> int:
    """Bytes of the values once each has its own: no dictionary, no parts shared."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return decoded_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(array)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return VALUE_BYTES * len(array) + _sum(pc.binary_length(array))
    if pa.types.is_struct(kind):
        return sum(decoded_bytes(array.field(place)) for place in range(kind.num_fields))
    if pa.types.is_map(kind):
        return VALUE_BYTES * len(array) + decoded_bytes(array.keys) + decoded_bytes(array.items)
    if _is_list(kind):
        return VALUE_BYTES * len(array) + decoded_bytes(array.values)
    return VALUE_BYTES * len(array) + int(array.nbytes)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _of_dictionary(array: pa.DictionaryArray) -> int:
    words, kind = array.dictionary, array.dictionary.type
    if kind in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
        lengths = pc.binary_length(words).cast(pa.int64())
        return VALUE_BYTES * len(array) + _sum(lengths.take(array.indices))
    # A dictionary of something else has few and small words, or is not meant well.
    largest = 2 * VALUE_BYTES if pa.types.is_primitive(kind) else decoded_bytes(words)
    return len(array) * largest


def _sum(lengths: pa.Array) -> int:
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
