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

F = TypeVar("F", bound=Callable[..., object])


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
