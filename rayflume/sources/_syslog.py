"""Syslog messages to events, as Flume's two parsers make them. Vectorised.

What differs from flume-ng-core 1.11 and why: a zone in a time with a fraction is honoured (Flume
reads such a time in the zone of the process); `.5` is half a second (there 5 ms); a time that does
not exist makes no `timestamp` header (there it rolls over, or is 0); years are found by one rule in
both parsers (there the other one counts from the year 2000); bytes that are not text stay as they
are; a carriage return is a byte like others; `-` is kept as `-` (there `null`); nothing of an
earlier message is remembered; a message without the `>` of its priority is Invalid and ends with
its line; what makes Flume's second parser fail and its connection end is Invalid too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import Header
from rayflume.sources import _syslog_kernel as kernel
from rayflume.sources._syslog_format import CustomFormat, CustomRows
from rayflume.sources._syslog_times import LocalTimes
from rayflume.spans import Mask, as_text, block_of, no_spans, not_utf8, pieces

STATUS = "flume.syslog.status"
FACILITY, SEVERITY, TIMESTAMP, HOST = "Facility", "Severity", "timestamp", "host"
KEPT = ("priority", "version", "timestamp", "hostname")
"""Words of `keep_fields`: the parts of a message that stay in the body, in this order."""
_STATUSES = pa.array(["Invalid", "Incomplete"])
_INVALID, _INCOMPLETE = range(2)
_DASH = ord("-")
_LAYOUT = (
    ("priority", kernel.PRIORITY, b"<", b">"),
    ("version", kernel.VERSION, b"", b" "),
    ("timestamp", kernel.TIME, b"", b" "),
    ("hostname", kernel.HOST, b"", b" "),
)
"""A word of KEPT, its part of a message, and what is put around it."""


@dataclass(frozen=True)
class Rules:
    """How to read. `by_hand`: as multiport_syslogtcp. `keep`: words of KEPT; `keep_all`: the body
    is the whole line. `zone`: of times that name none, "" is that of the process.
    """

    by_hand: bool = False
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    zone: str = ""
    custom: CustomFormat | None = None


@dataclass(frozen=True)
class Encoded:
    """Rows that are written in another character set than UTF-8. Its first 128 codes must be those
    of ASCII.
    """

    charset: str
    rows: Mask


def kept_fields(text: str) -> tuple[bool, tuple[str, ...]]:
    """Flume's `keepFields`, in any case: whether the whole line is kept, and else which of KEPT.

    Only the words are looked for, whatever is between them; none of them means none.
    """
    text = text.strip().lower()
    if text in ("all", "true"):
        return True, ()
    return False, tuple(word for word in KEPT if word in text)


class SyslogReader:
    """Reads messages by fixed rules and remembers nothing of them. For one thread at a time."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._times = LocalTimes(rules.zone)

    def prepare(self) -> None:
        """Load the machine code. Blocks, for seconds when it must be made."""
        self.read(pa.array([b"<13>x"], pa.binary()), 0)

    def read(
        self,
        lines: pa.BinaryArray,
        now_ms: int,
        cut: Mask | None = None,
        encoded: Sequence[Encoded] = (),
    ) -> tuple[pa.BinaryArray, dict[str, Header]]:
        """Bodies and headers, a row per message and in order.

        `lines`: messages without their line ends, none of them null. `now_ms`: since 1970 UTC.
        `cut`: rows that are only the beginning of a message, for it was too long. `encoded` counts
        if `by_hand`; the rows in no such set are UTF-8.
        """
        found = self._scan(lines, now_ms, encoded)
        columns = self._columns(found, now_ms, encoded)
        columns[STATUS] = _status(found, cut)
        headers = {name: column for name, column in columns.items() if column is not None}
        return self._bodies(found), headers

    def _scan(self, lines: pa.BinaryArray, now_ms: int, encoded: Sequence[Encoded]) -> _Found:
        found, limits = _Found(lines), self._times.limits(now_ms)
        read = kernel.read_by_hand if self._rules.by_hand else kernel.read_by_patterns
        read(found.data, found.offsets, found.spans, found.facts, limits)
        if self._rules.by_hand:
            found.refuse(no_text(lines, encoded))
        if self._rules.custom is not None:
            readable = found.facts[kernel.STATE] != kernel.INVALID
            found.custom = self._rules.custom.find(lines, readable, self._times, now_ms)
        return found

    def _columns(
        self, found: _Found, now_ms: int, encoded: Sequence[Encoded]
    ) -> dict[str, Header | None]:
        by_hand, rank = self._rules.by_hand, found.facts[kernel.RANK]
        ranked = found.read if by_hand else np.ones(len(rank), dtype=np.bool_)
        named = found.read if by_hand else found.filled(kernel.HOST) & ~found.is_dash(kernel.HOST)
        prioritized = found.read if by_hand else found.present(kernel.PRIORITY)
        version = found.filled(kernel.VERSION)
        return {
            FACILITY: _numbers(rank >> 3, ranked),
            SEVERITY: _numbers(rank & 7, ranked),
            "Priority" if by_hand else "priority": found.header(kernel.PRIORITY, prioritized),
            "Version" if by_hand else "version": found.header(kernel.VERSION, version),
            TIMESTAMP: self._timestamps(found, now_ms),
            HOST: found.header(kernel.HOST, named, encoded),
        }

    def _timestamps(self, found: _Found, now_ms: int) -> Header | None:
        stamp, millis = found.facts[kernel.STAMP], found.facts[kernel.MILLIS]
        local = stamp == kernel.LOCAL
        if local.any():
            millis[local] = self._times.to_utc(millis[local])
        millis[stamp == kernel.NOW] = now_ms
        known = stamp != kernel.NO_TIME
        if found.custom is not None:
            rows = found.custom.rows
            millis = np.where(rows, found.custom.millis, millis)
            known = np.where(rows, found.custom.timed, known)
        return _numbers(millis, known)

    def _bodies(self, found: _Found) -> pa.BinaryArray:
        if self._rules.keep_all:
            return found.lines
        if not self._rules.keep:
            return found.message_or_line()
        parts = [
            found.surrounded(slot, before, behind)
            for word, slot, before, behind in _LAYOUT
            if word in self._rules.keep
        ]
        whole = pc.binary_join_element_wise(*parts, found.text(kernel.MESSAGE), b"")
        return pc.if_else(pa.array(found.read), whole, found.lines)


class _Found:
    """What was found in a block of rows."""

    def __init__(self, lines: pa.BinaryArray) -> None:
        self.lines = lines
        self.buffer, self.offsets = block_of(lines)
        self.spans = no_spans(self.offsets, kernel.TEXTS)
        self.facts = np.zeros((kernel.FACTS, len(lines)), dtype=np.int64)
        self.custom: CustomRows | None = None

    @property
    def data(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.buffer, dtype=np.uint8)

    @property
    def read(self) -> Mask:
        """Rows of which all was read."""
        read: Mask = self.facts[kernel.STATE] == kernel.READ
        return read if self.custom is None else read | self.custom.rows

    def refuse(self, rows: Mask) -> None:
        """Forget what was read of these rows."""
        if rows.any():
            self.facts[:, rows] = 0
            self.facts[kernel.STATE, rows] = kernel.INVALID
            for side in (0, 1):
                self.spans[:, side::2][:, rows] = self.offsets[:-1][rows]

    def filled(self, slot: int) -> Mask:
        """Rows that have this part."""
        filled: Mask = self.spans[slot, 1::2] > self.spans[slot, 0::2]
        if self.custom is None:
            return filled
        return np.where(self.custom.rows, self.custom.filled(slot), filled)

    def is_dash(self, slot: int) -> Mask:
        starts, stops = self.spans[slot, 0::2], self.spans[slot, 1::2]
        dash: Mask = stops - starts == 1
        dash[dash] = self.data[starts[dash]] == _DASH
        return dash if self.custom is None else dash & ~self.custom.rows

    def present(self, slot: int) -> Mask:
        """Rows that have this part, be it empty, as a host may be."""
        read: Mask = self.facts[kernel.STATE] == kernel.READ
        if slot == kernel.VERSION or self.custom is None:
            return self.filled(slot) if slot == kernel.VERSION else read
        present: Mask = np.where(self.custom.rows, self.custom.filled(slot), read)
        return present

    def text(self, slot: int) -> pa.BinaryArray:
        """One part of each message, empty where there is none."""
        found = pieces(self.buffer, self.spans[slot])
        return found if self.custom is None else self.custom.over(slot, found)

    def message_or_line(self) -> pa.BinaryArray:
        """The messages, but the whole line where there is none, as in Flume."""
        spans = self.spans[kernel.MESSAGE].copy()
        empty = spans[0::2] == spans[1::2]
        spans[0::2][empty], spans[1::2][empty] = self.offsets[:-1][empty], self.offsets[1:][empty]
        found = pieces(self.buffer, spans)
        if self.custom is None:
            return found
        filled = self.custom.rows & self.custom.filled(kernel.MESSAGE)
        found = pc.if_else(pa.array(self.custom.rows), self.lines, found)
        return pc.if_else(pa.array(filled), self.custom.over(kernel.MESSAGE, found), found)

    def surrounded(self, slot: int, before: bytes, behind: bytes) -> pa.BinaryArray:
        """One part with bytes around it, empty where there is none."""
        around = pc.binary_join_element_wise(before, self.text(slot), behind, b"")
        return pc.if_else(pa.array(self.present(slot)), around, b"")

    def header(self, slot: int, rows: Mask, encoded: Sequence[Encoded] = ()) -> Header | None:
        """One part as a header of these rows; None if there are none."""
        if not rows.any():
            return None
        return pc.if_else(pa.array(rows), as_utf8(self.text(slot), encoded), None)


def _numbers(values: npt.NDArray[np.int64], rows: Mask) -> Header | None:
    """Numbers as a header of these rows, in decimal; one text if all have the same."""
    if not rows.any():
        return None
    if rows.all() and (values == values[0]).all():
        return str(values[0])
    return pa.array(values, pa.int64(), mask=~rows).cast(pa.string())


def _status(found: _Found, cut: Mask | None) -> Header | None:
    invalid: Mask = found.facts[kernel.STATE] == kernel.INVALID
    marked = invalid if cut is None else invalid | cut
    if not marked.any():
        return None
    index = np.where(invalid, _INVALID, _INCOMPLETE)
    return _STATUSES.take(pa.array(index, pa.int32(), mask=~marked))


def no_text(lines: pa.BinaryArray, encoded: Sequence[Encoded]) -> Mask:
    """True where a row is not written in its character set."""
    if not encoded:
        return not_utf8(lines)
    bad = not_utf8(lines)
    for one in encoded:
        bad &= ~one.rows
    wide = ~np.asarray(pc.string_is_ascii(as_text(lines)))
    for one in encoded:
        if _knows_every_byte(one.charset):
            continue
        # Python per row, but only for those that are not ASCII
        for row in np.flatnonzero(one.rows & wide).tolist():
            bad[row] = not _is_text(lines[row].as_py(), one.charset)
    return bad


@cache
def _knows_every_byte(charset: str) -> bool:
    """Whether whatever bytes are text, as in ISO 8859-1."""
    every = bytes(range(256))
    return _is_text(every, charset) and len(every.decode(charset)) == len(every)


def _is_text(line: bytes, charset: str) -> bool:
    try:
        line.decode(charset)
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(found: pa.BinaryArray, encoded: Sequence[Encoded]) -> pa.StringArray:
    """Texts of their character sets; what is none of them gets U+FFFD in its place."""
    text = as_text(found)
    wide = ~np.asarray(pc.string_is_ascii(text))
    if not wide.any():
        return text
    rows = np.flatnonzero(wide)
    charset = {row: one.charset for one in encoded for row in rows[one.rows[rows]].tolist()}
    mended = [
        found[row].as_py().decode(charset.get(row, "utf-8"), "replace") for row in rows.tolist()
    ]
    return pc.replace_with_mask(text, pa.array(wide), pa.array(mended, pa.string()))
