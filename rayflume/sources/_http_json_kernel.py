"""Flume's JSON list of events, taken apart in one pass over its bytes.

Only the plain form is known here: a list of objects with at most a `body` (a text or null) and
`headers` (an object of texts and nulls, or null). Whatever else there is, or is wrong, is for
another reader.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayflume.kernels import kernel, step

OTHER = -1
"""Not the plain form."""
Given: TypeAlias = "tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]"
_BODY, _HEADERS = 1, 2
_QUOTE, _COMMA, _COLON, _BACKSLASH = 34, 44, 58, 92
_LIST, _LIST_END, _OBJECT, _OBJECT_END, _N, _U = 91, 93, 123, 125, 110, 117


@step
def _skip(data: NDArray[np.uint8], at: int) -> int:
    """The first byte from `at` on that is no white space; the last byte is none."""
    while at < len(data) - 1 and (
        data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9
    ):
        at += 1
    return at


@step
def _text_end(
    data: NDArray[np.uint8], marks: NDArray[np.int64], seen: NDArray[np.int64], at: int
) -> int:
    """The place of the quote that ends the text which begins at `at`; -1 if it has no end.

    Bytes that must be escaped end it as well. `marks`: places of all quotes, backslashes and such
    bytes; `seen[0]`: how many of them are behind us.
    """
    mark = seen[0]
    while mark < len(marks):
        place = marks[mark]
        mark += 1
        if place < at:
            continue
        byte = data[place]
        if byte != _BACKSLASH:
            seen[0] = mark
            return place if byte == _QUOTE else -1
        at = place + 2
    return -1


@step
def _is_null(data: NDArray[np.uint8], at: int) -> bool:
    return (
        at + 4 < len(data)
        and data[at] == _N
        and data[at + 1] == _U
        and data[at + 2] == 108
        and data[at + 3] == 108
    )


@step
def _field(data: NDArray[np.uint8], start: int, end: int) -> int:
    """_BODY, _HEADERS, or 0 for another name."""
    if end - start == 4:
        if data[start] == 98 and data[start + 1] == 111 and data[start + 2] == 100:
            return _BODY if data[start + 3] == 121 else 0
    elif end - start == 7:
        word = (104, 101, 97, 100, 101, 114, 115)
        for i in range(7):
            if data[start + i] != word[i]:
                return 0
        return _HEADERS
    return 0


@kernel
def _headers(
    given: Given, at: int, cells: NDArray[np.int32], count: int, row: int
) -> tuple[int, int]:
    """Note the headers of one event, which begin behind the brace before `at`.

    The place behind them, or OTHER, and the new count of cells. A cell: row, start and end of the
    name, start and end of the text (-1: null).
    """
    data, marks, seen = given
    at = _skip(data, at)
    if data[at] == _OBJECT_END:
        return at + 1, count
    while True:
        if data[at] != _QUOTE or count == len(cells):
            return OTHER, count
        name, end = at + 1, _text_end(data, marks, seen, at + 1)
        at = _skip(data, end + 1)
        if end < 0 or data[at] != _COLON:
            return OTHER, count
        at = _skip(data, at + 1)
        cells[count, 0], cells[count, 1], cells[count, 2] = row, name, end
        if data[at] == _QUOTE:
            text, end = at + 1, _text_end(data, marks, seen, at + 1)
            if end < 0:
                return OTHER, count
            cells[count, 3], cells[count, 4] = text, end
            at = end + 1
        elif _is_null(data, at):
            cells[count, 3] = cells[count, 4] = -1
            at += 4
        else:
            return OTHER, count
        count += 1
        at = _skip(data, at)
        if data[at] == _OBJECT_END:
            return at + 1, count
        if data[at] != _COMMA:
            return OTHER, count
        at = _skip(data, at + 1)


@kernel
def events_of(
    data: NDArray[np.uint8], marks: NDArray[np.int64], bodies: NDArray[np.int32],
    cells: NDArray[np.int32],
) -> tuple[int, int]:  # fmt: skip
    """Fill `bodies` with start and end of each event's text and `cells` with all headers, as
    `_headers` says; how many there are of both. OTHER if this is not the plain form, or there is
    no room for all. `marks`: see `_text_end`.
    """
    rows, count = 0, 0
    seen = np.zeros(1, np.int64)
    at = _skip(data, 0)
    if data[at] != _LIST:
        return OTHER, 0
    at = _skip(data, at + 1)
    while data[at] == _OBJECT and rows < len(bodies):
        fields = 0
        bodies[rows, 0] = bodies[rows, 1] = 0
        at = _skip(data, at + 1)
        while data[at] == _QUOTE:
            end = _text_end(data, marks, seen, at + 1)
            field = _field(data, at + 1, end) if end > 0 else 0
            if field == 0 or fields & field:
                return OTHER, 0
            fields |= field
            at = _skip(data, end + 1)
            if data[at] != _COLON:
                return OTHER, 0
            at = _skip(data, at + 1)
            if _is_null(data, at):
                at += 4
            elif field == _BODY and data[at] == _QUOTE:
                end = _text_end(data, marks, seen, at + 1)
                if end < 0:
                    return OTHER, 0
                bodies[rows, 0], bodies[rows, 1] = at + 1, end
                at = end + 1
            elif field == _HEADERS and data[at] == _OBJECT:
                at, count = _headers((data, marks, seen), at + 1, cells, count, rows)
                if at < 0:
                    return OTHER, 0
            else:
                return OTHER, 0
            at = _skip(data, at)
            if data[at] == _COMMA:
                at = _skip(data, at + 1)
                if data[at] != _QUOTE:
                    return OTHER, 0
            elif data[at] != _OBJECT_END:
                return OTHER, 0
        if data[at] != _OBJECT_END:
            return OTHER, 0
        rows += 1
        at = _skip(data, at + 1)
        if data[at] == _COMMA:
            at = _skip(data, at + 1)
            if data[at] != _OBJECT:
                return OTHER, 0
        elif data[at] != _LIST_END:
            return OTHER, 0
    if data[at] != _LIST_END or rows == 0:
        return OTHER, 0
    at = _skip(data, at + 1)
    return (rows, count) if at == len(data) - 1 and data[at] == 32 else (OTHER, 0)


@kernel
def names_of(
    data: NDArray[np.uint8], cells: NDArray[np.int32], names: NDArray[np.int32],
    which: NDArray[np.int32],
) -> int:  # fmt: skip
    """Fill `which` with the name of each cell and `names` with where each name stands first; how
    many names there are. OTHER when there is no room for all, or one is written with an escape.
    """
    found, guess = 0, 0
    for i in range(len(cells)):
        start, length = cells[i, 1], cells[i, 2] - cells[i, 1]
        place = -1
        # Events mostly have their headers in one order: the next name is looked at first.
        for tried in range(found):
            other = (guess + tried) % found
            if names[other, 1] - names[other, 0] != length:
                continue
            same = True
            for at in range(length):
                if data[start + at] != data[names[other, 0] + at]:
                    same = False
                    break
            if same:
                place = other
                break
        if place < 0:
            if found == len(names):
                return OTHER
            for at in range(length):
                if data[start + at] == _BACKSLASH:
                    return OTHER
            names[found, 0], names[found, 1] = start, start + length
            place, found = found, found + 1
        which[i] = place
        guess = place + 1 if place + 1 < found else 0
    return found


@step
def _hex(data: NDArray[np.uint8], at: int) -> int:
    """The four hexadecimal digits at `at` as a number, or OTHER."""
    if at + 4 > len(data):
        return OTHER
    code = 0
    for i in range(4):
        byte = int(data[at + i])
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 65 <= byte <= 70 or 97 <= byte <= 102:
            digit = (byte & 0xDF) - 55
        else:
            return OTHER
        code = code * 16 + digit
    return code


@step
def _put(out: NDArray[np.uint8], at: int, code: int) -> int:
    """Write one character as UTF-8; the place behind it."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
    elif code < 0x10000:
        out[at] = 0xE0 | code >> 12
    else:
        out[at] = 0xF0 | code >> 18
        at += 1
        out[at] = 0x80 | code >> 12 & 0x3F
    if code >= 0x800:
        at += 1
        out[at] = 0x80 | code >> 6 & 0x3F
    out[at + 1] = 0x80 | code & 0x3F
    return at + 2


@kernel
def texts_of(
    data: NDArray[np.uint8], escapes: NDArray[np.int64], spans: NDArray[np.int32],
    out: NDArray[np.uint8], offsets: NDArray[np.int32],
) -> int:  # fmt: skip
    """Copy the texts `data[start:end]`, which are in order, behind each other, escapes resolved;
    `offsets` is filled with where each begins. How many bytes they take, or OTHER for a wrong
    escape. `escapes`: places of all backslashes.
    """
    to = mark = 0
    offsets[0] = 0
    for i in range(len(spans)):
        at, end = spans[i, 0], spans[i, 1]
        while at < end:
            while mark < len(escapes) and escapes[mark] < at:
                mark += 1
            stop = end
            if mark < len(escapes) and escapes[mark] < end:
                stop = escapes[mark]
            if at < stop:
                out[to : to + stop - at] = data[at:stop]
                to += stop - at
                at = stop
                continue
            kind = data[at + 1]
            at += 2
            if kind == _U:
                code = _hex(data, at)
                at += 4
                if 0xD800 <= code < 0xDC00 and at + 6 <= end:
                    low = _hex(data, at + 2) if data[at] == _BACKSLASH and data[at + 1] == _U else 0
                    if not 0xDC00 <= low < 0xE000:
                        return OTHER
                    code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
                    at += 6
                if code < 0 or 0xD800 <= code < 0xE000 or at > end:
                    return OTHER
                to = _put(out, to, code)
                continue
            if kind in (_QUOTE, _BACKSLASH) or kind == 47:
                out[to] = kind
            elif kind == _N:
                out[to] = 10
            elif kind == 116:
                out[to] = 9
            elif kind == 114:
                out[to] = 13
            elif kind == 98:
                out[to] = 8
            elif kind == 102:
                out[to] = 12
            else:
                return OTHER
            to += 1
        offsets[i + 1] = to
    return to
