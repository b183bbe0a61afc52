"""Numbers and month names at fixed places of many texts, read together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Chars = npt.NDArray[np.uint8]
"""(rows, width): the bytes of texts that are all of one width."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def chars_of(text: pa.StringArray, width: int) -> Chars:
    """The bytes of texts; all must have this width, and none may be null."""
    fixed = text.cast(pa.binary()).cast(pa.binary(width))
    start = fixed.offset * width
    return np.frombuffer(fixed.buffers()[1], dtype=np.uint8)[
        start : start + width * len(text)
    ].reshape(-1, width)


def number(digits: Chars) -> npt.NDArray[np.int64]:
    """The number that each row's digits make."""
    value = np.zeros(len(digits), dtype=np.int64)
    for place in range(digits.shape[1]):
        value = value * 10 + (digits[:, place].astype(np.int64) - ord("0"))
    return value


def months(names: Chars) -> npt.NDArray[np.int64]:
    """1 to 12, and 0 for what is no English month."""
    month = np.zeros(len(names), dtype=np.int64)
    for place, name in enumerate(_MONTHS, start=1):
        month[(names == np.frombuffer(name.encode(), dtype=np.uint8)).all(axis=1)] = place
    return month


def days_of(
    year: npt.NDArray[np.int64], month: npt.NDArray[np.int64], day: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Days since 1970, and where there is no such day."""
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    begin = first.astype("datetime64[D]")
    length = ((first + 1).astype("datetime64[D]") - begin).astype(np.int64)
    wrong = (month == 0) | (day < 1) | (day > length) | (year < 1)
    return begin.astype(np.int64) + day - 1, np.asarray(wrong)
