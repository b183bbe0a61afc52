"""The inner loops of _syslog: where the parts of a syslog message are, and what its time is.

Two grammars, because Flume has two parsers (flume-ng-core 1.11, SyslogUtils and SyslogParser; RFC
3164 section 4.1, RFC 5424 section 6). `read_by_patterns` finds what the two regular expressions of
`syslogtcp` and `syslogudp` find, RFC 5424 first; `read_by_hand` is the one of
`multiport_syslogtcp`, which reads from blank to blank.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rayflume.kernels import ANY_CASE, days_since_1970, is_day, kernel, month_of, step, two_digits

PRIORITY, VERSION, TIME, HOST, MESSAGE = range(5)
"""Rows of `spans`. A part that is not there is empty."""
TEXTS = 5
STATE, RANK, STAMP, MILLIS = range(4)
"""Rows of `facts`: how far a message was read, its priority as a number, which kind of time
MILLIS is.
"""
FACTS = 4
READ, UNREAD, INVALID = range(3)
"""UNREAD: only the priority could be read. INVALID: not even that (or, by hand, not all)."""
NO_TIME, UTC, LOCAL, NOW = range(4)
YEAR, LATEST, EARLIEST = range(3)
"""What a time without a year needs: the present year, and the bounds (milliseconds, local) beyond
which it is of the year before or after.
"""
_VERSION_END, _TIME_AT, _TIME_END, _HOST_END, _KIND, _TIME = range(6)
_FOUND = 6

Bytes = npt.NDArray[np.uint8]
_BLANK, _LESS, _GREATER, _DASH, _PLUS, _POINT, _COLON, _ZERO, _ONE = b" <>-+.:01"
_TAB, _RETURN, _UNDERSCORE, _AT, _T, _Z, _A, _CAPITAL_Z = b"\t\r_@TZAZ"
_ISO = np.frombuffer(b"0000-00-00T00:00:00", np.uint8)
_ISO_BYTES = 19
_CLOCK_BYTES = 8
_PRIORITY_DIGITS_MAX, _PRIORITY_DIGITS_MAX_BY_HAND = 3, 5
_FRACTION_DIGITS_MAX = 6
_ANY_NUMBER = 2**31 - 1
_BAD_TIME = np.iinfo(np.int64).min
_ABSENT = -1


@step
def _is(values: Bytes, place: int, end: int, byte: int) -> bool:
    return place < end and values[place] == byte


@step
def _is_digit(values: Bytes, place: int, end: int) -> bool:
    return place < end and 0 <= int(values[place]) - _ZERO <= 9


@step
def _is_space(values: Bytes, place: int, end: int) -> bool:
    """A blank, tab, line end, page or column feed, as Java's expressions have it."""
    return place < end and (values[place] == _BLANK or _TAB <= values[place] <= _RETURN)


@step
def _digits_end(values: Bytes, place: int, end: int, digits_max: int) -> int:
    stop = place
    while stop - place < digits_max and _is_digit(values, stop, end):
        stop += 1
    return stop


@step
def _blank_after(values: Bytes, place: int, end: int) -> int:
    """Where the next blank is, or _ABSENT."""
    while place < end:
        if values[place] == _BLANK:
            return place
        place += 1
    return _ABSENT


# -- times -----------------------------------------------------------------------------------------


@kernel
def _has_clock(values: Bytes, place: int, end: int) -> bool:
    """`00:00:00`."""
    if end - place < _CLOCK_BYTES:
        return False
    for at in range(_CLOCK_BYTES):
        if at % 3 == 2:
            if values[place + at] != _COLON:
                return False
        elif not _is_digit(values, place + at, end):
            return False
    return True


@kernel
def _clock(values: Bytes, place: int) -> int:
    """Milliseconds of the day, or _BAD_TIME. 60 seconds are a leap second."""
    hour, minute = two_digits(values, place), two_digits(values, place + 3)
    second = two_digits(values, place + 6)
    if hour > 23 or minute > 59 or second > 60:
        return _BAD_TIME
    return (hour * 3600 + minute * 60 + second) * 1000


@kernel
def _has_iso(values: Bytes, place: int, end: int) -> bool:
    """`2003-10-11T22:14:15`."""
    if end - place < _ISO_BYTES:
        return False
    for at in range(_ISO_BYTES):
        form = _ISO[at]
        if form == _ZERO:
            if not _is_digit(values, place + at, end):
                return False
        elif values[place + at] != form:
            return False
    return True


@kernel
def _iso(values: Bytes, place: int) -> int:
    """Milliseconds since 1970 of a time of that form, or _BAD_TIME."""
    year = 100 * two_digits(values, place) + two_digits(values, place + 2)
    month, day = two_digits(values, place + 5), two_digits(values, place + 8)
    clock = _clock(values, place + 11)
    if year < 1 or not 1 <= month <= 12 or clock == _BAD_TIME or not is_day(year, month, day):
        return _BAD_TIME
    return days_since_1970(year, month, day) * 86_400_000 + clock


@step
def _fraction(values: Bytes, place: int, stop: int) -> int:
    """The digits of `[place, stop)` behind a point in milliseconds, the rest cut off."""
    millis, weight = 0, 100
    while place < stop and weight > 0:
        millis += weight * (int(values[place]) - _ZERO)
        weight //= 10
        place += 1
    return millis


@kernel
def _offset(values: Bytes, place: int, end: int) -> tuple[bool, int]:
    """Whether there is `+00:00` or `-00:00`, and its milliseconds, or _BAD_TIME."""
    if end - place < 6 or values[place + 3] != _COLON:
        return False, 0
    for at in (1, 2, 4, 5):
        if not _is_digit(values, place + at, end):
            return False, 0
    hours, minutes = two_digits(values, place + 1), two_digits(values, place + 4)
    if hours > 23 or minutes > 59:
        return True, _BAD_TIME
    millis = (60 * hours + minutes) * 60_000
    return True, -millis if values[place] == _DASH else millis


@kernel
def _yearless_end(values: Bytes, place: int, end: int, case: int) -> int:
    """Behind `Oct 11 22:14:15`, whose day may have one digit and another blank, or _ABSENT."""
    if end - place < 3 or not _A <= values[place] <= _CAPITAL_Z:
        return _ABSENT
    for at in (1, 2):
        letter = values[place + at]
        if not _A <= letter & ~ANY_CASE <= _CAPITAL_Z or not (letter & ANY_CASE or case):
            return _ABSENT
    at = place + 3
    if not _is_space(values, at, end):
        return _ABSENT
    at += 2 if _is_space(values, at + 1, end) else 1
    stop = _digits_end(values, at, end, 2)
    if stop == at or not _is_space(values, stop, end) or not _has_clock(values, stop + 1, end):
        return _ABSENT
    return stop + 1 + _CLOCK_BYTES


@kernel
def _yearless(values: Bytes, place: int, stop: int, limits: npt.NDArray[np.int64]) -> int:
    """Local milliseconds of a time of that form, or _BAD_TIME."""
    month = month_of(values, place, ANY_CASE)
    clock = _clock(values, stop - _CLOCK_BYTES)
    tens = values[stop - _CLOCK_BYTES - 3]
    day = int(values[stop - _CLOCK_BYTES - 2]) - _ZERO
    if 0 <= int(tens) - _ZERO <= 9:
        day += 10 * (int(tens) - _ZERO)
    if month == 0 or clock == _BAD_TIME:
        return _BAD_TIME
    year = limits[YEAR]
    local = days_since_1970(year, month, day) * 86_400_000 + clock
    if local > limits[LATEST]:
        year -= 1
    elif local < limits[EARLIEST]:
        year += 1
    if not is_day(year, month, day):
        return _BAD_TIME
    return days_since_1970(year, month, day) * 86_400_000 + clock


# -- the parser of syslogtcp and syslogudp ---------------------------------------------------------


@kernel
def _dated_stamp(values: Bytes, place: int, end: int) -> tuple[int, int, int]:
    """The time of RFC 5424: where it ends (or _ABSENT), of which kind it is, and milliseconds."""
    if _is(values, place, end, _DASH):
        return place + 1, NO_TIME, 0
    if not _has_iso(values, place, end):
        return _ABSENT, NO_TIME, 0
    millis, kind, stop = _iso(values, place), LOCAL, place + _ISO_BYTES
    if _is(values, stop, end, _POINT):
        after = _digits_end(values, stop + 1, end, _FRACTION_DIGITS_MAX)
        if after == stop + 1:
            return _ABSENT, NO_TIME, 0
        if millis != _BAD_TIME:
            millis += _fraction(values, stop + 1, after)
        stop = after
    if _is(values, stop, end, _Z):
        kind, stop = UTC, stop + 1
    elif _is(values, stop, end, _PLUS) or _is(values, stop, end, _DASH):
        found, offset = _offset(values, stop, end)
        if not found:
            return _ABSENT, NO_TIME, 0
        kind, stop = UTC, stop + 6
        if millis != _BAD_TIME:
            millis = _BAD_TIME if offset == _BAD_TIME else millis - offset
    if millis == _BAD_TIME:
        kind = NO_TIME
    return stop, kind, millis


@kernel
def _host_end(values: Bytes, place: int, end: int) -> int:
    """Behind a host of letters, digits, `_`, `.`, `@` and `-`, or _ABSENT."""
    stop = place
    while stop < end:
        byte = values[stop]
        word = byte == _UNDERSCORE or _A <= byte & ~ANY_CASE <= _CAPITAL_Z
        if not word and not _is_digit(values, stop, end):
            other = byte in (_POINT, _AT, _DASH)
            if stop == place or not other:
                break
        stop += 1
    return stop if stop > place else _ABSENT


@kernel
def _dated(values: Bytes, start: int, end: int, found: npt.NDArray[np.int64]) -> bool:
    """Read what follows the priority as RFC 5424: version, time and host. True if it is.

    The version is a digit, it and the blank behind it may be missing; all ways are tried as a
    regular expression does.
    """
    for way in range(4):
        place = start
        if way < 2:
            if not _is_digit(values, place, end):
                continue
            place += 1
        version = place
        if way % 2 == 0:
            if not _is_space(values, place, end):
                continue
            place += 1
        if not _is_digit(values, place, end) and not _is(values, place, end, _DASH):
            continue
        stop, kind, millis = _dated_stamp(values, place, end)
        if stop < 0 or not _is_space(values, stop, end):
            continue
        host = _host_end(values, stop + 1, end)
        if host < 0 and _is(values, stop + 1, end, _DASH):
            host = stop + 2
        if host < 0 or not _is_space(values, host, end):
            continue
        found[_VERSION_END], found[_TIME_AT], found[_TIME_END] = version, place, stop
        found[_HOST_END], found[_KIND], found[_TIME] = host, kind, millis
        return True
    return False


@kernel
def _yeared(
    values: Bytes, start: int, end: int, found: npt.NDArray[np.int64], limits: npt.NDArray[np.int64]
) -> bool:
    """Read what follows the priority as RFC 3164: version (which it has not, but some senders),
    time and host. True if it is.
    """
    version = start + 1 if _is_digit(values, start, end) else start
    place = version + 1 if _is_space(values, version, end) else version
    stop = _yearless_end(values, place, end, 0)
    if stop < 0 or not _is_space(values, stop, end):
        return False
    host = _host_end(values, stop + 1, end)
    if host < 0 or not _is_space(values, host, end):
        return False
    found[_VERSION_END], found[_TIME_AT], found[_TIME_END] = version, place, stop
    found[_HOST_END], found[_TIME] = host, _yearless(values, place, stop, limits)
    found[_KIND] = NO_TIME if found[_TIME] == _BAD_TIME else LOCAL
    return True


@kernel
def _priority_end(values: Bytes, place: int, end: int, digits_max: int) -> int:
    """Behind the digits between `<` and `>`, or _ABSENT."""
    if not _is(values, place, end, _LESS):
        return _ABSENT
    stop = _digits_end(values, place + 1, end, digits_max)
    return stop if stop > place + 1 and _is(values, stop, end, _GREATER) else _ABSENT


@step
def _number(values: Bytes, place: int, stop: int) -> int:
    number = 0
    while place < stop:
        number = 10 * number + int(values[place]) - _ZERO
        place += 1
    return number


@kernel
def _keep(
    spans: npt.NDArray[np.int32], row: int, end: int, found: npt.NDArray[np.int64], start: int
) -> None:
    """Write the parts of a message that was read; `start`: behind its priority."""
    spans[VERSION, 2 * row], spans[VERSION, 2 * row + 1] = start, found[_VERSION_END]
    spans[TIME, 2 * row], spans[TIME, 2 * row + 1] = found[_TIME_AT], found[_TIME_END]
    spans[HOST, 2 * row], spans[HOST, 2 * row + 1] = found[_TIME_END] + 1, found[_HOST_END]
    spans[MESSAGE, 2 * row], spans[MESSAGE, 2 * row + 1] = found[_HOST_END] + 1, end


@kernel
def read_by_patterns(
    values: Bytes,
    offsets: npt.NDArray[np.int32],
    spans: npt.NDArray[np.int32],
    facts: npt.NDArray[np.int64],
    limits: npt.NDArray[np.int64],
) -> None:
    """Fill `spans` and `facts` for each row."""
    found = np.zeros(_FOUND, dtype=np.int64)
    for row in range(len(offsets) - 1):
        place, end = int(offsets[row]), int(offsets[row + 1])
        stop = _priority_end(values, place, end, _PRIORITY_DIGITS_MAX)
        if stop < 0:
            facts[STATE, row] = INVALID
            continue
        spans[PRIORITY, 2 * row], spans[PRIORITY, 2 * row + 1] = place + 1, stop
        facts[RANK, row] = _number(values, place + 1, stop)
        start = stop + 1
        if _dated(values, start, end, found) or _yeared(values, start, end, found, limits):
            _keep(spans, row, end, found, start)
            facts[STATE, row] = READ
            facts[STAMP, row], facts[MILLIS, row] = found[_KIND], found[_TIME]
        else:
            facts[STATE, row] = UNREAD


# -- the parser of multiport_syslogtcp -------------------------------------------------------------


@kernel
def _any_stamp(
    values: Bytes, place: int, end: int, limits: npt.NDArray[np.int64]
) -> tuple[int, int, int]:
    """A time of either RFC and the blank behind it: where the time ends (or _ABSENT), of which
    kind it is, and milliseconds.
    """
    if _is(values, place, end, _DASH):
        return (place + 1 if _is(values, place + 1, end, _BLANK) else _ABSENT), NOW, 0
    if place < end and _A <= values[place] <= _CAPITAL_Z:
        stop = _yearless_end(values, place, end, ANY_CASE)
        if stop < 0 or not _is(values, stop, end, _BLANK):
            return _ABSENT, NO_TIME, 0
        millis = _yearless(values, place, stop, limits)
        return stop, NO_TIME if millis == _BAD_TIME else LOCAL, millis
    stop = _blank_after(values, place, end)
    at = place + _ISO_BYTES
    if stop <= at or not _has_iso(values, place, end):
        return _ABSENT, NO_TIME, 0
    millis = _iso(values, place)
    if values[at] == _POINT:
        after = _digits_end(values, at + 1, stop, _ANY_NUMBER)
        if after == at + 1 or after == stop or millis == _BAD_TIME:
            return _ABSENT, NO_TIME, 0
        millis, at = millis + _fraction(values, at + 1, after), after
    if values[at] == _PLUS or values[at] == _DASH:
        found, offset = _offset(values, at, stop)
        if not found or offset == _BAD_TIME or millis == _BAD_TIME:
            return _ABSENT, NO_TIME, 0
        millis -= offset
    return (_ABSENT if millis == _BAD_TIME else stop), UTC, millis


@kernel
def _by_hand(
    values: Bytes, start: int, end: int, found: npt.NDArray[np.int64], limits: npt.NDArray[np.int64]
) -> bool:
    """Read what follows the priority. True if all of it could be."""
    versioned = _is(values, start, end, _ONE) and _is(values, start + 1, end, _BLANK)
    place = start + 2 if versioned else start
    stop, kind, millis = _any_stamp(values, place, end, limits)
    if stop < 0:
        return False
    host = _blank_after(values, stop + 1, end)
    if host < 0:
        return False
    found[_VERSION_END], found[_TIME_AT] = start + 1 if versioned else start, place
    found[_TIME_END], found[_HOST_END] = stop, host
    found[_KIND], found[_TIME] = kind, millis
    return True


@kernel
def read_by_hand(
    values: Bytes,
    offsets: npt.NDArray[np.int32],
    spans: npt.NDArray[np.int32],
    facts: npt.NDArray[np.int64],
    limits: npt.NDArray[np.int64],
) -> None:
    """Fill `spans` and `facts` for each row."""
    found = np.zeros(_FOUND, dtype=np.int64)
    for row in range(len(offsets) - 1):
        place, end = int(offsets[row]), int(offsets[row + 1])
        facts[STATE, row] = INVALID
        stop = _priority_end(values, place, end, _PRIORITY_DIGITS_MAX_BY_HAND)
        if stop < 0 or not _by_hand(values, stop + 1, end, found, limits):
            continue
        spans[PRIORITY, 2 * row], spans[PRIORITY, 2 * row + 1] = place + 1, stop
        facts[RANK, row] = _number(values, place + 1, stop)
        _keep(spans, row, end, found, stop + 1)
        facts[STATE, row] = READ
        facts[STAMP, row], facts[MILLIS, row] = found[_KIND], found[_TIME]
