"""Which partition each row belongs to: Flume's path escapes, computed for columns, not for rows.

A batch has few distinct partitions. So the event times are floored to the finest unit any pattern
shows, every escaped field is dictionary-encoded, and only the distinct combinations are rendered as
text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.clock import EPOCH
from rayflume.sinks._escape import NULL, escape, guard_segment

Ints: TypeAlias = "npt.NDArray[np.int64]"
Field: TypeAlias = "pa.Array | str | None"
"""Values of a field: one per row, one for all rows, or null for all rows."""

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
TIME_MIN_MS = -62_135_510_400_000
TIME_MAX_MS = 253_402_214_400_000
"""0001-01-02 and 9999-12-31 00:00 UTC: what every calendar and every zone can still show."""

_QUARTER = 15 * MINUTE
_LEGAL_TIME_MS = 2 * 365 * DAY + 8 * DAY
"""From about 1972 on all zones differ from UTC by whole quarters of an hour; before, by seconds."""
_NAME = re.compile(r"[^\W_][\w.-]{0,39}")
_ESCAPE = re.compile(r"%(?:\{([\w.-]+)\}|(.))?", re.DOTALL)
_DENSE_MAX = 1 << 16

TIME_ESCAPES: dict[str, tuple[int, Callable[[datetime], str]]] = {
    "a": (DAY, lambda t: f"{t:%a}"),
    "A": (DAY, lambda t: f"{t:%A}"),
    "b": (DAY, lambda t: f"{t:%b}"),
    "B": (DAY, lambda t: f"{t:%B}"),
    "c": (SECOND, lambda t: f"{t:%a %b} {t.day} {t:%H:%M:%S} {t.year:04d}"),
    "d": (DAY, lambda t: f"{t.day:02d}"),
    "D": (DAY, lambda t: f"{t.month:02d}/{t.day:02d}/{t.year % 100:02d}"),
    "e": (DAY, lambda t: f"{t.day}"),
    "H": (HOUR, lambda t: f"{t.hour:02d}"),
    "I": (HOUR, lambda t: f"{t:%I}"),
    "j": (DAY, lambda t: f"{t:%j}"),
    "k": (HOUR, lambda t: f"{t.hour}"),
    "l": (HOUR, lambda t: f"{(t.hour + 11) % 12 + 1}"),
    "m": (DAY, lambda t: f"{t.month:02d}"),
    "M": (MINUTE, lambda t: f"{t.minute:02d}"),
    "n": (DAY, lambda t: f"{t.month}"),
    "p": (HOUR, lambda t: "AM" if t.hour < 12 else "PM"),
    "s": (SECOND, lambda t: f"{(t - EPOCH) // timedelta(seconds=1)}"),
    "S": (SECOND, lambda t: f"{t.second:02d}"),
    "t": (1, lambda t: f"{(t - EPOCH) // timedelta(milliseconds=1)}"),
    "y": (DAY, lambda t: f"{t.year % 100:02d}"),
    "Y": (DAY, lambda t: f"{t.year:04d}"),
    "z": (HOUR, lambda t: f"{t:%z}"),
}
"""Flume's time escapes: the unit they change with, and how they read."""


@dataclass(frozen=True)
class TextPiece:
    """Part of a pattern: literal text, the value of a field, or a time escape."""

    text: str
    kind: str


@dataclass(frozen=True)
class LocalTime:
    """A local time: `%t` shows it as it is, as in Flume, and all other escapes show it rounded."""

    exact: datetime
    rounded: datetime


@dataclass(frozen=True)
class Pattern:
    """One directory level: `name=pattern`, or a pattern alone (`name` is "")."""

    name: str
    pieces: tuple[TextPiece, ...]

    @staticmethod
    def parse(text: str) -> Pattern:
        """Raises ValueError for an unknown escape, a bad name or an empty pattern."""
        head, found, tail = text.partition("=")
        name, body = (head, tail) if found and "%" not in head else ("", text)
        if found and name and not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} in {text!r} is no partition name: write up to 40 letters, digits, "
                "`_`, `-`, `.`, beginning with a letter or digit"
            )
        if not body or (found and not name and "%" not in head):
            raise ValueError(f"{text!r} is no partition: write name=pattern, such as dt=%Y-%m-%d")
        return Pattern(name, _pieces(text, body))

    def render(self, at: LocalTime | None, fields: Mapping[str, bytes | None]) -> str:
        """The segment for one event time and the values of the fields."""
        value = b""
        for piece in self.pieces:
            if piece.kind == "field":
                part = fields[piece.text]
                if part is None:
                    return self._segment(NULL)
                value += part
            elif piece.kind == "time" and at is not None:
                shown = at.exact if piece.text == "t" else at.rounded
                value += TIME_ESCAPES[piece.text][1](shown).encode()
            else:
                value += piece.text.encode()
        return self._segment(escape(value))

    def _segment(self, value: str) -> str:
        return f"{self.name}={value}" if self.name else guard_segment(value)


def _pieces(text: str, body: str) -> tuple[TextPiece, ...]:
    pieces, end = [], 0
    for match in _ESCAPE.finditer(body):
        if match.start() > end:
            pieces.append(TextPiece(body[end : match.start()], "text"))
        end = match.end()
        if match[1]:
            pieces.append(TextPiece(match[1], "field"))
        elif match[2] == "%":
            pieces.append(TextPiece("%", "text"))
        elif match[2] in TIME_ESCAPES:
            pieces.append(TextPiece(match[2], "time"))
        else:
            known = " ".join(f"%{letter}" for letter in TIME_ESCAPES)
            raise ValueError(
                f"{match[0]!r} in {text!r} is no escape; known: {known} %% %{{header or column}}"
            )
    if end < len(body):
        pieces.append(TextPiece(body[end:], "text"))
    if any(piece.kind == "text" and "/" in piece.text for piece in pieces):
        raise ValueError(f"{text!r} holds a `/`: write one list item for each directory level")
    return tuple(pieces)


@dataclass(frozen=True)
class Groups:
    """Distinct directories of a batch, and for each row which one; None: all rows are in the
    first.
    """

    directories: list[str]
    codes: Ints | None = None

    def rows(self) -> list[Ints]:
        """The row indices of each directory, ascending."""
        if self.codes is None:
            raise ValueError("one directory holds all rows")
        count = len(self.directories)
        narrow = np.uint16 if count < _DENSE_MAX else np.int64
        order = np.argsort(self.codes.astype(narrow), kind="stable")
        ends = np.cumsum(np.bincount(self.codes, minlength=count))
        return np.split(order, ends[:-1])


@dataclass(frozen=True)
class Rounding:
    """Flume's `hdfs.round`: the field `unit` (SECOND, MINUTE or HOUR) goes down to a multiple of
    `value` within the next larger one, and smaller fields to 0.
    """

    unit: int
    value: int

    @staticmethod
    def of(ms: int) -> Rounding | None:
        """`10min` in milliseconds -> ten minutes; 0: None. Raises ValueError for what is not whole
        1 to 60 seconds or minutes, or 1 to 24 hours.
        """
        if ms == 0:
            return None
        for unit, most in ((SECOND, 60), (MINUTE, 60), (HOUR, 24)):
            if ms % unit == 0 and ms // unit <= most:
                return Rounding(unit, ms // unit)
        raise ValueError("write 1 to 60 seconds, 1 to 60 minutes or 1 to 24 hours, such as 10min")

    def down(self, at: datetime) -> datetime:
        """The local time rounded down."""
        if self.unit == SECOND:
            return at.replace(second=at.second // self.value * self.value, microsecond=0)
        if self.unit == MINUTE:
            return at.replace(minute=at.minute // self.value * self.value, second=0, microsecond=0)
        hour = at.hour // self.value * self.value
        return at.replace(hour=hour, minute=0, second=0, microsecond=0)


class Template(Protocol):
    """A part of a path with escapes in it."""

    @property
    def pieces(self) -> tuple[TextPiece, ...]: ...
    def render(self, at: LocalTime | None, fields: Mapping[str, bytes | None]) -> str:
        """The text for one time and the values of the fields."""
        ...


class Buckets:
    """Templates that a path is made of, joined with `/`: which path each row has. Immutable.

    `names`: of partitions, where the templates have names. `uses_time`: there are time escapes.
    `fields`: what the templates read.
    """

    def __init__(
        self, templates: Sequence[Template], zone: tzinfo = UTC, rounding: Rounding | None = None
    ) -> None:
        self.names: tuple[str, ...] = ()
        self._templates = tuple(templates)
        self._zone = zone
        self._rounding = rounding
        pieces = [piece for template in self._templates for piece in template.pieces]
        units = [TIME_ESCAPES[piece.text][0] for piece in pieces if piece.kind == "time"]
        self.uses_time = bool(units)
        self._unit = min(units, default=DAY)
        if rounding is not None and self._unit > 1:
            self._unit = max(self._unit, rounding.unit)
        self.fields = tuple(dict.fromkeys(p.text for p in pieces if p.kind == "field"))

    @property
    def step_ms(self) -> int:
        """Times within one whole multiple of so many milliseconds have the same path, in every
        zone; 0 when times do not matter.
        """
        return min(self._unit, _QUARTER) if self.uses_time else 0

    def group(self, times: Ints | None, fields: Mapping[str, Field]) -> Groups:
        """The directory of every row. `times`: epoch milliseconds (needed if `uses_time`), none
        outside TIME_MIN_MS and TIME_MAX_MS. At least one row.
        """
        keys: list[tuple[Ints | None, list[int | bytes | None]]] = []
        if self.uses_time and times is not None:
            unit = self._floor_unit(times)
            floors, codes = _compact(times // unit)
            keys.append((codes, [int(floor) * unit for floor in floors]))
        keys += [_encode(fields.get(name)) for name in self.fields]
        combined, rows = _combine(keys)
        directories: dict[str, int] = {}
        chosen = [directories.setdefault(self._render(v), len(directories)) for v in combined]
        if rows is None or len(directories) == 1:
            return Groups(list(directories))
        return Groups(list(directories), np.array(chosen, dtype=np.int64)[rows])

    def _floor_unit(self, times: Ints) -> int:
        if self._zone is UTC or self._unit <= SECOND:
            return self._unit
        return min(self._unit, _QUARTER if times.min() >= _LEGAL_TIME_MS else SECOND)

    def _render(self, values: Sequence[int | bytes | None]) -> str:
        at, rest = None, values
        if self.uses_time:
            local = (EPOCH + timedelta(milliseconds=int(values[0] or 0))).astimezone(self._zone)
            at = LocalTime(local, local if self._rounding is None else self._rounding.down(local))
            rest = values[1:]
        fields: dict[str, bytes | None] = {
            name: value if isinstance(value, bytes) else None
            for name, value in zip(self.fields, rest, strict=True)
        }
        return "/".join(template.render(at, fields) for template in self._templates)


class Partitioning(Buckets):
    """The patterns of a lake's directories, outermost first. Immutable."""

    def __init__(
        self, patterns: Sequence[str], zone: tzinfo = UTC, rounding: Rounding | None = None
    ) -> None:
        self.patterns = tuple(Pattern.parse(text) for text in patterns)
        super().__init__(self.patterns, zone, rounding)
        self.names = tuple(pattern.name for pattern in self.patterns if pattern.name)


def _encode(field: Field) -> tuple[Ints | None, list[int | bytes | None]]:
    if field is None or isinstance(field, str):
        return None, [None if field is None else field.encode("utf-8", "surrogatepass")]
    if not (pa.types.is_string(field.type) or pa.types.is_binary(field.type)):
        field = field.cast(pa.string(), safe=False)
    encoded = pc.dictionary_encode(field, null_encoding="encode")
    values: list[int | bytes | None] = encoded.dictionary.cast(pa.binary()).to_pylist()
    if len(values) == 1:
        return None, values
    return np.asarray(encoded.indices).astype(np.int64), values


def _compact(values: Ints) -> tuple[Ints, Ints | None]:
    """Distinct values, ascending, and the index of each; None when there is one."""
    low, high = int(values.min()), int(values.max())
    if low == high:
        return values[:1], None
    if high - low >= _DENSE_MAX:
        distinct, codes = np.unique(values, return_inverse=True)
        return distinct, codes
    shifted = values - low
    found = np.flatnonzero(np.bincount(shifted))
    codes_of = np.zeros(high - low + 1, dtype=np.int64)
    codes_of[found] = np.arange(len(found))
    return found + low, codes_of[shifted]


def _combine(
    keys: Sequence[tuple[Ints | None, list[int | bytes | None]]],
) -> tuple[list[tuple[int | bytes | None, ...]], Ints | None]:
    """Distinct combinations of several coded keys, and which one each row has."""
    combined: list[tuple[int | bytes | None, ...]] = [()]
    rows: Ints | None = None
    for codes, values in keys:
        if codes is None:
            combined = [(*before, values[0]) for before in combined]
        elif rows is None:
            combined = [(*combined[0], value) for value in values]
            rows = codes
        else:
            # Compacted at each step: the product of all keys could pass 64 bits.
            found, rows = _compact(rows * len(values) + codes)
            pairs = [divmod(int(pair), len(values)) for pair in found]
            combined = [(*combined[before], values[value]) for before, value in pairs]
    return combined, rows
