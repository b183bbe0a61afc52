"""Loops over bytes that no Arrow kernel offers, compiled to machine code with Numba.

A kernel takes and fills numpy arrays, holds no lock of the interpreter, and checks every index. Its
machine code is kept beside the source (or in the user's cache), so only the first process that ever
calls it compiles it, for some seconds. Importing this module takes half a second; whoever calls
kernels imports them when the first rows come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., object])
_ZERO = ord("0")
ANY_CASE = 0x20
"""The bit that tells small letters of ASCII from capitals."""
_MONTHS = np.frombuffer(b"JanFebMarAprMayJunJulAugSepOctNovDec", np.uint8)
_MONTH_DAYS = np.array([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def kernel(function: F) -> F:
    """Compile a function with its first call."""
    return _compiled(function, inlined=False)


def step(function: F) -> F:
    """A part of kernels, compiled into each of them: a call would cost more than the work."""
    return _compiled(function, inlined=True)


def _compiled(function: F, inlined: bool) -> F:
    compile_ = partial(numba.njit, nogil=True, boundscheck=True, forceinline=inlined)
    try:
        compiled = compile_(cache=True)(function)
    except RuntimeError:  # there is no folder to keep machine code in: each process compiles
        compiled = compile_()(function)
    return cast(F, compiled)


# -- dates -----------------------------------------------------------------------------------------


@step
def two_digits(values: npt.NDArray[np.uint8], place: int) -> int:
    """The number that two digits make; whether they are digits was seen before."""
    return 10 * (int(values[place]) - _ZERO) + int(values[place + 1]) - _ZERO


@step
def month_of(values: npt.NDArray[np.uint8], place: int, case: int = 0) -> int:
    """1 to 12 for the three letters of an English month, 0 for others. `case`: 0 or ANY_CASE."""
    for month in range(12):
        at = 3 * month
        if (
            values[place] | case == _MONTHS[at] | case
            and values[place + 1] | case == _MONTHS[at + 1] | case
            and values[place + 2] | case == _MONTHS[at + 2] | case
        ):
            return month + 1
    return 0


@step
def is_day(year: int, month: int, day: int) -> bool:
    """Whether a month from 1 to 12 has this day."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = int(_MONTH_DAYS[month - 1]) - (month == 2 and not leap)
    return 1 <= day <= last


@step
def days_since_1970(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
