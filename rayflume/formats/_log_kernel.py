"""The inner loop of _log_lines: plain lines of an access log, field by field.

A line is plain when its fields hold no blank where none belongs, its request is
`METHOD path [PROTOCOL/1.0]`, its time is right, and nothing is cut off. What the regular expression
of combined_log makes of such a line is what is made here; all others are left to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rayflume.kernels import days_since_1970, is_day, kernel, month_of, step, two_digits

HOST, IDENT, USER, METHOD, PATH, PROTOCOL, REQUEST, REFERRER, USER_AGENT = range(9)
TEXTS = 9
STATUS, BYTES = range(2)
NUMBERS = 2
_BLANK, _QUOTE, _BACKSLASH, _DASH, _OPEN, _CLOSE = b' "\\-[]'
_SLASH, _COLON, _PLUS, _POINT, _ZERO = b"/:+.0"
_TIME_BYTES = 26
_BYTES_DIGITS_MAX = 18
_NOT_PLAIN = -1
_BAD_TIME = np.iinfo(np.int64).min
_FORM = np.frombuffer(b"00/Aaa/0000:00:00:00 +0000", np.uint8)
_DIGIT_PLACES = np.flatnonzero(_FORM == _ZERO)
_FIXED_PLACES = np.flatnonzero((_FORM == _SLASH) | (_FORM == _COLON) | (_FORM == _BLANK))


@step
def _word_end(values: npt.NDArray[np.uint8], place: int, end: int) -> int:
    """Where a field without blanks and control characters ends."""
    while place < end and values[place] > _BLANK:
        place += 1
    return place


@step
def _quoted_end(values: npt.NDArray[np.uint8], place: int, end: int) -> int:
    """Where the closing quote is."""
    while place < end:
        byte = values[place]
        if byte == _QUOTE:
            return place
        if byte < _BLANK:
            break
        place += 2 if byte == _BACKSLASH else 1
    return _NOT_PLAIN


@step
def _time(values: npt.NDArray[np.uint8], place: int) -> int:
    """`17/May/2015:10:05:03 +0200` in seconds since 1970, UTC."""
    for at in _DIGIT_PLACES:
        if not 0 <= int(values[place + at]) - _ZERO <= 9:
            return _BAD_TIME
    for at in _FIXED_PLACES:
        if values[place + at] != _FORM[at]:
            return _BAD_TIME
    sign, month, day = values[place + 21], month_of(values, place + 3), two_digits(values, place)
    year = 100 * two_digits(values, place + 7) + two_digits(values, place + 9)
    hour, minute, second = (
        two_digits(values, place + 12),
        two_digits(values, place + 15),
        two_digits(values, place + 18),
    )
    if sign not in (_PLUS, _DASH) or month == 0 or year < 1 or hour > 23 or minute > 59:
        return _BAD_TIME
    if second > 60 or not is_day(year, month, day):
        return _BAD_TIME
    zone = 3600 * two_digits(values, place + 22) + 60 * two_digits(values, place + 24)
    seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    return seconds + zone if sign == _DASH else seconds - zone


@step
def _request(values: npt.NDArray[np.uint8], place: int, end: int) -> tuple[int, int, int]:
    """Where method, path and protocol of a request end; the last is that of the path when there is
    no protocol.
    """
    method = place
    while method < end and 65 <= (values[method] & 0xDF) <= 90:
        method += 1
    if method in (place, end) or values[method] != _BLANK:
        return _NOT_PLAIN, 0, 0
    path = _word_end(values, method + 1, end)
    if path == method + 1:
        return _NOT_PLAIN, 0, 0
    at = path + 1
    while at < end and 65 <= values[at] <= 90:
        at += 1
    if path < end and (values[path] != _BLANK or at == path + 1 or at >= end - 1):
        return _NOT_PLAIN, 0, 0
    if path < end:
        if values[at] != _SLASH:
            return _NOT_PLAIN, 0, 0
        for digit in range(at + 1, end):
            if values[digit] != _POINT and not 0 <= int(values[digit]) - _ZERO <= 9:
                return _NOT_PLAIN, 0, 0
    return method, path, end


@step
def _amount(
    values: npt.NDArray[np.uint8], place: int, end: int, digits_max: int
) -> tuple[int, int]:
    """A number of up to so many digits, or a dash (-1): where it ends, and the value."""
    if place < end and values[place] == _DASH:
        return place + 1, -1
    amount, start = 0, place
    while place < end and 0 <= int(values[place]) - _ZERO <= 9 and place - start < digits_max:
        amount = 10 * amount + int(values[place]) - _ZERO
        place += 1
    return (place if place > start else _NOT_PLAIN), amount


@step
def _is(values: npt.NDArray[np.uint8], place: int, end: int, byte: int) -> bool:
    return 0 <= place < end and values[place] == byte


@kernel
def read_lines(
    values: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int32],
    spans: npt.NDArray[np.int32],
    numbers: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Which rows are plain. Their texts (TEXTS), numbers (NUMBERS; -1 for a dash) and times in
    seconds are in the other arrays then; a text that is not there is empty.
    """
    plain = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for row in range(len(plain)):
        place, end = int(offsets[row]), int(offsets[row + 1])
        for text in range(HOST, USER + 1):
            stop = _word_end(values, place, end)
            if stop == place or not _is(values, stop, end, _BLANK):
                place = end
                break
            spans[text, 2 * row], spans[text, 2 * row + 1] = place, stop
            place = stop + 1
        stop = place + 1 + _TIME_BYTES
        if not _is(values, place, end, _OPEN) or not _is(values, stop, end, _CLOSE):
            continue
        times[row] = _time(values, place + 1)
        start = stop + 3
        if times[row] == _BAD_TIME or not _is(values, stop + 1, end, _BLANK):
            continue
        stop = _quoted_end(values, start, end) if _is(values, start - 1, end, _QUOTE) else -1
        method, path, last = _request(values, start, stop)
        if stop < 0 or method < 0 or not _is(values, stop + 1, end, _BLANK):
            continue
        spans[REQUEST, 2 * row], spans[REQUEST, 2 * row + 1] = start, stop
        spans[METHOD, 2 * row], spans[METHOD, 2 * row + 1] = start, method
        spans[PATH, 2 * row], spans[PATH, 2 * row + 1] = method + 1, path
        spans[PROTOCOL, 2 * row] = min(path + 1, last)
        spans[PROTOCOL, 2 * row + 1] = last
        start = stop + 2
        stop, numbers[STATUS, row] = _amount(values, start, end, 3)
        if stop - start == 2 or not _is(values, stop, end, _BLANK):
            continue
        if stop - start == 1 and numbers[STATUS, row] >= 0:
            continue
        place, numbers[BYTES, row] = _amount(values, stop + 1, end, _BYTES_DIGITS_MAX)
        for text in range(REFERRER, USER_AGENT + 1):
            if place < 0 or (place == end and text == REFERRER):
                break
            if not _is(values, place, end, _BLANK) or not _is(values, place + 1, end, _QUOTE):
                place = _NOT_PLAIN
                break
            stop = _quoted_end(values, place + 2, end)
            spans[text, 2 * row], spans[text, 2 * row + 1] = place + 2, max(stop, place + 2)
            place = stop + 1 if stop >= 0 else _NOT_PLAIN
        plain[row] = place == end
    return plain
