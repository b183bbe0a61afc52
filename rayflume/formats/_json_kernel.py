"""The inner loop of _json_shapes: the rows of a block against one shape, their values into columns.

A value that is not plain (an escape or control character in a string, an exponent, a leading zero,
a negative zero, too many digits) ends its row: `read_rows` leaves it to the reader.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rayflume.kernels import kernel, step

STRING, INTEGER, DOUBLE, BOOLEAN, NULL, SCALAR, DECIMAL = range(7)
"""What a value must be: text in quotes, or bare; a bare one may also be null. SCALAR is any bare
one, for a field that no column wants; of a DECIMAL the text is wanted.
"""
_QUOTE, _BACKSLASH, _SPACE, _MINUS, _POINT, _ZERO = b'"\\ -.0'
_WORDS = (b"null", b"true", b"false")
_WORD_TEXT = np.frombuffer(b"".join(_WORDS), np.uint8)
_WORD_BOUNDS = np.cumsum([0, *map(len, _WORDS)])
_LETTERS = ord("A")
_DIGITS_MAX = 18
"""So many digits fit into an int64, whatever they are."""
_EXACT_DIGITS = 15
_POWERS = 10.0 ** np.arange(23)
"""Powers of ten that are doubles themselves. A number of up to 15 digits is one too, so that their
quotient is rounded once, as it must be (Clinger, "How to Read Floating Point Numbers Accurately",
1990).
"""
_NOT_PLAIN = -1
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _SPACES = (_ONES * np.uint64(b) for b in (_QUOTE, _BACKSLASH, _SPACE))


class Block(NamedTuple):
    """Bytes, and the eight bytes from each place on as one integer: most work is done on those."""

    values: npt.NDArray[np.uint8]
    eights: npt.NDArray[np.uint64]


def as_block(data: npt.NDArray[np.uint8]) -> Block:
    """Bytes as a kernel takes them; nothing is copied."""
    eights: npt.NDArray[np.uint64] = np.ndarray(
        (max(0, len(data) - 7),), np.dtype("<u8"), data.data, 0, (1,)
    )
    return Block(data, eights)


class Pieces(NamedTuple):
    """What stands between values: all pieces in one (`eights` as in a Block), and where each begins
    (one bound more than pieces). `kinds`, `slots`: what each value must be, and its column (-1:
    none).
    """

    text: npt.NDArray[np.uint8]
    eights: npt.NDArray[np.uint64]
    bounds: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int32]


class Columns(NamedTuple):
    """Values by (column, row); what a column does not need is not written.

    `spans`: two for a row, the start and the end of a text. `long`: columns with a number that has
    too many digits for a double, or is a decimal, so that only its text is right.
    """

    valid: npt.NDArray[np.bool_]
    spans: npt.NDArray[np.int32]
    integers: npt.NDArray[np.int64]
    doubles: npt.NDArray[np.float64]
    long: npt.NDArray[np.bool_]


@step
def _piece_end(
    eights: npt.NDArray[np.uint64],
    place: int,
    end: int,
    piece: tuple[npt.NDArray[np.uint64], int, int],
) -> int:
    """Where a piece of eight bytes or more ends that should begin at `place`."""
    text, first, stop = piece
    if end - place < stop - first:
        return _NOT_PLAIN
    for at in range(first, stop - 8, 8):
        if eights[place + at - first] != text[at]:
            return _NOT_PLAIN
    # The last eight bytes overlap those before.
    place += stop - first
    return place if eights[place - 8] == text[stop - 8] else _NOT_PLAIN


@step
def _short_end(
    values: npt.NDArray[np.uint8],
    place: int,
    end: int,
    piece: tuple[npt.NDArray[np.uint8], int, int],
) -> int:
    """Where any piece ends."""
    text, first, stop = piece
    if end - place < stop - first:
        return _NOT_PLAIN
    for at in range(first, stop):
        if values[place] != text[at]:
            return _NOT_PLAIN
        place += 1
    return place


@step
def _string_end(
    values: npt.NDArray[np.uint8], eights: npt.NDArray[np.uint64], place: int, end: int
) -> int:
    """Where the closing quote is."""
    while place + 8 <= end:
        # A byte that is zero, or below a space, borrows into its highest bit (Mycroft, 1987).
        word = eights[place]
        quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
        found = (quote - _ONES) & ~quote | (backslash - _ONES) & ~backslash
        if (found | (word - _SPACES) & ~word) & _HIGHS:
            break
        place += 8
    while place < end:
        byte = values[place]
        if byte == _QUOTE:
            return place
        if byte == _BACKSLASH or byte < _SPACE:
            break
        place += 1
    return _NOT_PLAIN


@step
def _number(values: npt.NDArray[np.uint8], place: int, end: int) -> tuple[int, int, int, int]:
    """End of a plain number, its digits as an integer, how many they are, how many are behind the
    point (-1: there is no point).
    """
    negative = place < end and values[place] == _MINUS
    first = place = place + 1 if negative else place
    amount, point = 0, -1
    while place < end:
        digit = int(values[place]) - _ZERO
        if 0 <= digit <= 9:
            # 19 digits may overflow into the sign, more of them anywhere; then nobody reads it.
            amount = 10 * amount + digit
        elif digit == _POINT - _ZERO and point < 0:
            point = place
        else:
            break
        place += 1
    whole = (point if point >= 0 else place) - first
    decimals = place - 1 - point if point >= 0 else -1
    if whole == 0 or decimals == 0 or (whole > 1 and values[first] == _ZERO):
        return _NOT_PLAIN, 0, 0, 0
    if negative and amount == 0:
        # An integer has no negative zero; a double has.
        return _NOT_PLAIN, 0, 0, 0
    return place, -amount if negative else amount, whole + max(decimals, 0), decimals


@step
def _whole(amount: int, digits: int, decimals: int, first: int) -> bool:
    """Whether a number is an integer that fits into an int64; `first` is its first byte."""
    if decimals >= 0 or digits <= _DIGITS_MAX:
        return decimals < 0
    # One digit more fits if it left the sign as it was.
    return digits == _DIGITS_MAX + 1 and (amount < 0) == (first == _MINUS)


@step
def _word(values: npt.NDArray[np.uint8], place: int, end: int) -> int:
    """Which of _WORDS begins here, -1 for none."""
    for number in range(len(_WORDS)):
        first, stop = _WORD_BOUNDS[number], _WORD_BOUNDS[number + 1]
        if _short_end(values, place, end, (_WORD_TEXT, first, stop)) >= 0:
            return number
    return -1


@kernel
def read_rows(
    block: Block,
    offsets: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int64],
    shape: Pieces,
    columns: Columns,
) -> npt.NDArray[np.bool_]:
    """Which of the `rows` have the shape; their values are in the columns then. What is written for
    the others lies within their rows, and `valid` says nothing about them.
    """
    values, eights = block
    text, text_eights, bounds, kinds, slots = shape
    valid, spans, integers, doubles, long = columns
    read = np.zeros(len(rows), dtype=np.bool_)
    for index in range(len(rows)):
        row = int(rows[index])
        place, end = int(offsets[row]), int(offsets[row + 1])
        for number in range(len(kinds) + 1):
            first, stop = bounds[number], bounds[number + 1]
            if stop - first >= 8:
                place = _piece_end(eights, place, end, (text_eights, first, stop))
            else:
                place = _short_end(values, place, end, (text, first, stop))
            if place < 0:
                break
            if number == len(kinds):
                read[index] = place == end
                break
            if place == end:
                break
            start, kind, slot = place, kinds[number], slots[number]
            there = slot >= 0
            if kind == STRING:
                place = _string_end(values, eights, start, end)
            elif values[start] >= _LETTERS:
                word = _word(values, start, end)
                if word < 0 or (word > 0 and kind != BOOLEAN and kind != SCALAR):
                    break
                place += _WORD_BOUNDS[word + 1] - _WORD_BOUNDS[word]
                there = there and word > 0
                if there:
                    integers[slot, row] = word == 1
            else:
                place, amount, digits, decimals = _number(values, start, end)
                if kind == INTEGER and _whole(amount, digits, decimals, values[start]):
                    integers[slot, row] = amount
                elif kind == DOUBLE and digits <= _EXACT_DIGITS and decimals < len(_POWERS):
                    doubles[slot, row] = amount / _POWERS[max(decimals, 0)]
                elif kind in (DOUBLE, DECIMAL):
                    long[slot] = True
                elif kind != SCALAR:
                    break
            if place < 0:
                break
            if there:
                valid[slot, row] = True
                spans[slot, 2 * row] = start
                spans[slot, 2 * row + 1] = place
    return read
