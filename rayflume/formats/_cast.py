"""Text and numbers to typed columns, vectorised, with a list of the values that do not fit.

A value that does not fit is never turned into null or into another value: it is reported, and its
row becomes a bad row. `None` as mask means that everything fits.
"""

from __future__ import annotations

import decimal
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.schema import DIGITS_MAX, TIMESTAMP, Column
from rayflume.spans import Mask

Cast = tuple[pa.Array, "Mask | None"]

_MIN_US, _MAX_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""0001-01-01 to 9999-12-31, in microseconds: what Spark, Python and SQL all can show."""
_MIN_DAY, _MAX_DAY = -719_162, 2_932_896
_EXACT = decimal.Context(prec=2 * DIGITS_MAX)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
_WHOLE = ("us", "ns")
"""Epochs without fractions: what is below a microsecond is not kept."""
EXACT_MAX = 2.0**53
"""Below this a float64 holds every integer, and no other integer is rounded to one of them."""

_INTEGER = r"^-?[0-9]{1,19}$"
_FLOAT = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^(?i:nan|-?inf(?:inity)?)$"
_DECIMAL = r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?$"
_BOOL = r"^(?i:true|false|0|1)$"
_DAY = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_DATE = rf"^{_DAY}$"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_ZONE = r"(?:Z|[-+](?:0[0-9]|1[0-8])(?::?[0-5][0-9])?)"
_TIMESTAMP = rf"^{_DAY}(?:[T ]{_TIME}{_ZONE}?)?$"
_HAS_ZONE = rf":[0-9.]+{_ZONE}$"
_PATTERNS: Mapping[pa.DataType, str] = {
    pa.int32(): _INTEGER,
    pa.int64(): _INTEGER,
    pa.float32(): _FLOAT,
    pa.float64(): _FLOAT,
    pa.bool_(): _BOOL,
    pa.date32(): _DATE,
    TIMESTAMP: _TIMESTAMP,
}


def either(one: Mask | None, other: Mask | None) -> Mask | None:
    """True where one of two masks is; None is all false."""
    if one is None or other is None:
        return other if one is None else one
    return np.asarray(one | other)


def without(array: pa.Array, bad: Mask | None) -> pa.Array:
    """`array` with null in the marked places."""
    if bad is None:
        return array
    return pc.if_else(pa.array(~bad), array, pa.scalar(None, array.type))


def _marked(condition: pa.BooleanArray) -> Mask | None:
    """True where `condition` is false (null counts as true); None when it is false nowhere."""
    good = np.asarray(pc.fill_null(condition, True))
    return None if good.all() else np.asarray(~good)


def bisect_cast(array: pa.Array, kind: pa.DataType) -> Cast:
    """Cast; where that fails, halve until the values that cannot be cast stand alone."""
    try:
        return array.cast(kind), None
    except pa.ArrowInvalid:
        pass
    if len(array) == 1:
        return pa.nulls(1, kind), np.ones(1, dtype=np.bool_)
    bad = np.zeros(len(array), dtype=np.bool_)
    parts: list[pa.Array] = []
    todo = [(0, len(array))]
    while todo:
        start, length = todo.pop()
        try:
            parts.append(array.slice(start, length).cast(kind))
        except pa.ArrowInvalid:
            if length == 1:
                bad[start] = True
                parts.append(pa.nulls(1, kind))
            else:
                half = length // 2
                todo += [(start + half, length - half), (start, half)]
    return pa.concat_arrays(parts), bad


def cast_text(text: pa.StringArray, column: Column) -> Cast:
    """Strings to a column's type. Spaces around a value do not count, but in strings."""
    kind = column.type
    if kind == pa.string():
        return text, None
    if kind == pa.binary():
        return text.cast(kind), None
    text = pc.ascii_trim_whitespace(text)
    if column.epoch:
        number = epoch_number(column.epoch)
        numbers, bad = cast_text(text, Column(column.name, number))
        stamps, outside = cast_epoch(numbers, column.epoch)
        return stamps, either(bad, outside)
    pattern = _DECIMAL if pa.types.is_decimal(kind) else _PATTERNS.get(kind)
    if pattern is None:
        return bisect_cast(text, kind)
    bad = _marked(pc.match_substring_regex(text, pattern))
    text = without(text, bad)
    cast, more = _cast_timestamps(text) if kind == TIMESTAMP else bisect_cast(text, kind)
    bad = either(bad, more)
    if pa.types.is_floating(kind):
        too_big = pc.and_(
            pc.is_inf(cast), pc.invert(pc.match_substring(text, "inf", ignore_case=True))
        )
        bad = either(bad, _marked(pc.invert(too_big)))
    elif kind in (TIMESTAMP, pa.date32()):
        bad = either(bad, out_of_range(cast))
    return without(cast, bad), bad


def out_of_range(array: pa.Array) -> Mask | None:
    """Dates and timestamps outside the years 1 to 9999."""
    if array.type == pa.date32():
        number, low, high = array.cast(pa.int32()), _MIN_DAY, _MAX_DAY
    else:
        number, low, high = array.cast(pa.int64()), _MIN_US, _MAX_US
    return _marked(pc.and_(pc.greater_equal(number, low), pc.less_equal(number, high)))


def _cast_timestamps(text: pa.StringArray) -> Cast:
    """ISO 8601 in the shape of _TIMESTAMP. Without a zone it is UTC; below microseconds it is
    cut.
    """
    if pc.any(pc.match_substring_regex(text, r"\.[0-9]{7}")).as_py():
        text = pc.replace_substring_regex(text, r"(\.[0-9]{6})[0-9]+", r"\1")
    zoned = pc.match_substring_regex(text, _HAS_ZONE)
    if pc.all(zoned).as_py():
        return bisect_cast(text, TIMESTAMP)
    plain, bad = bisect_cast(
        pc.if_else(zoned, pa.scalar(None, pa.string()), text), pa.timestamp("us")
    )
    stamps = plain.cast(TIMESTAMP)
    if pc.any(zoned).as_py():
        with_zone, more = bisect_cast(
            pc.if_else(zoned, text, pa.scalar(None, pa.string())), TIMESTAMP
        )
        stamps, bad = pc.coalesce(with_zone, stamps), either(bad, more)
    return stamps, bad


def epoch_number(epoch: str) -> pa.DataType:
    """The type of the numbers of an epoch."""
    return pa.int64() if epoch in _WHOLE else pa.float64()


def cast_epoch(numbers: pa.Array, epoch: str) -> Cast:
    """Epoch numbers ("s", "ms", "us", "ns") to timestamps. Fractions are kept to the microsecond,
    what is finer is cut off: the time is never later than it was.
    """
    if epoch == "ns":
        numbers, bad = bisect_cast(numbers, pa.int64())
        micros = pa.array(np.asarray(pc.fill_null(numbers, 0)) // 1_000)
        whole = pc.if_else(numbers.is_valid(), micros, pa.scalar(None, pa.int64()))
        return whole.cast(TIMESTAMP), bad
    per_unit = 1_000_000 // _PER_SECOND[epoch]
    limits = _MIN_US // per_unit, _MAX_US // per_unit
    inside = pc.and_(pc.greater_equal(numbers, limits[0]), pc.less_equal(numbers, limits[1]))
    bad = _marked(inside)
    values = np.asarray(pc.fill_null(without(numbers, bad), 0))
    if values.dtype.kind == "f":
        whole = np.floor(values)
        micros = whole.astype(np.int64) * per_unit
        micros += np.rint((values - whole) * per_unit).astype(np.int64)
    else:
        micros = values * per_unit
    valid = None if numbers.null_count == 0 and bad is None else without(numbers, bad).is_null()
    stamps = pa.array(micros, pa.int64(), mask=None if valid is None else np.asarray(valid))
    return stamps.cast(TIMESTAMP), bad


def unscaled(array: pa.BinaryArray, kind: pa.Decimal128Type) -> Cast:
    """Decimals as Avro writes them, the digits as one big-endian two's complement number."""
    limit = 10**kind.precision
    raw = [None if v is None else int.from_bytes(v, signed=True) for v in array.to_pylist()]
    bad = np.array([value is not None and abs(value) >= limit for value in raw], dtype=np.bool_)
    values = [
        None if value is None or wrong else decimal.Decimal(value).scaleb(-kind.scale, _EXACT)
        for value, wrong in zip(raw, bad.tolist(), strict=True)
    ]
    return pa.array(values, kind), bad if bad.any() else None


def beyond_digits(array: pa.Decimal128Array) -> Mask | None:
    """Decimals with more digits than their type has. pyarrow's JSON reader makes them: it counts
    the digits that are written, before it adds zeros behind the point. Parquet would store another
    number, and Spark fails for the whole file.
    """
    kind = array.type
    most = decimal.Decimal(10**kind.precision - 1).scaleb(-kind.scale, _EXACT)
    high, low = pa.scalar(most, kind), pa.scalar(most.copy_negate(), kind)
    return _marked(pc.and_(pc.less_equal(array, high), pc.greater_equal(array, low)))


def cast_integers(numbers: pa.DoubleArray, kind: pa.DataType) -> tuple[pa.Array, Mask, Mask]:
    """Doubles to integers: the values, where they do not fit, and where a double cannot tell."""
    values = np.asarray(pc.fill_null(numbers, 0.0))
    limit = 2.0 ** (kind.bit_width - 1)
    with np.errstate(invalid="ignore"):
        bad = ~((values == np.floor(values)) & (values >= -limit) & (values <= limit))
    vague = ~bad & (np.abs(values) >= EXACT_MAX)
    if kind.bit_width < 64:
        bad |= values == limit
    whole = np.where(bad | vague, 0, values).astype(np.int64)
    return pa.array(whole, mask=np.asarray(numbers.is_null())).cast(kind), bad, vague


def narrow(array: pa.Array, kind: pa.DataType) -> Cast:
    """int64 to int32 or float64 to float32, with what does not fit."""
    if kind == pa.int32():
        limit = 2**31
        bad = _marked(pc.and_(pc.greater_equal(array, -limit), pc.less(array, limit)))
        return without(array, bad).cast(kind), bad
    small = array.cast(kind, safe=False)
    bad = _marked(pc.invert(pc.and_(pc.is_inf(small), pc.is_finite(array))))
    return without(small, bad), bad
