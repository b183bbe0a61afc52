"""Event time of every row, from a decoded column or a header, as epoch milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.sinks._bucket import TIME_MAX_MS, TIME_MIN_MS, Field, Ints

_DIGITS = r"^-?[0-9]{1,15}$"
_PER_MS = {"us": 1_000, "ns": 1_000_000}


@dataclass(frozen=True)
class EventTimes:
    """`ms`: one per row, 0 where there is none. `known` None: every row has one.

    `unreadable`: rows whose value is there but is no time that can be used.
    """

    ms: Ints
    known: npt.NDArray[np.bool_] | None = None
    unreadable: npt.NDArray[np.bool_] | None = None


def usable_type(kind: pa.DataType) -> bool:
    """Whether a column of this type can be an event time: timestamp, date, or int64 epoch ms."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_int64(kind))


def event_times(field: Field, rows: int) -> EventTimes:
    """Times of a column of a usable type, or of a header with epoch milliseconds as text."""
    if field is None:
        return EventTimes(np.zeros(rows, np.int64), np.zeros(rows, np.bool_))
    if isinstance(field, str):
        one = event_times(pa.array([field], pa.string()), 1)
        return EventTimes(
            np.repeat(one.ms, rows),
            None if one.known is None else np.repeat(one.known, rows),
            None if one.unreadable is None else np.repeat(one.unreadable, rows),
        )
    column: pa.Array = _parse_text(field) if pa.types.is_string(field.type) else field
    ms = _milliseconds(column)
    good = (ms >= TIME_MIN_MS) & (ms <= TIME_MAX_MS)
    if column.null_count:
        good &= np.asarray(column.is_valid())
    if good.all():
        return EventTimes(ms)
    return EventTimes(np.where(good, ms, 0), good, np.asarray(field.is_valid()) & ~good)


def _parse_text(field: pa.Array) -> pa.Array:
    try:
        return field.cast(pa.int64())
    except pa.ArrowInvalid:
        text = field.cast(pa.binary())
        number = pc.match_substring_regex(text, _DIGITS)
        return pc.if_else(number, text, None).cast(pa.string()).cast(pa.int64())


def _milliseconds(field: pa.Array) -> Ints:
    kind = field.type
    if pa.types.is_date(kind):
        field, kind = field.cast(pa.timestamp("ms")), pa.timestamp("ms")
    values: Ints = np.asarray(field.view(pa.int64()).fill_null(0))
    if not pa.types.is_timestamp(kind) or kind.unit == "ms":
        return values
    if kind.unit == "s":
        return np.clip(values, TIME_MIN_MS // 1000 - 1, TIME_MAX_MS // 1000 + 1) * 1000
    # Floor and not truncate: a row before 1970 belongs to the millisecond it lies in.
    return values // _PER_MS[kind.unit]
