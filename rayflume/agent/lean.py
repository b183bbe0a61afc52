"""Processes that only move rows do without pandas."""

from __future__ import annotations

import sys
import types
import warnings

import pyarrow as pa


def spare_pandas() -> None:
    """Keep pyarrow from importing pandas in this process (0.9 s and 40 MB, at its first array).

    Pyarrow looks for pandas once, whether it is needed or not; here it finds one that is too old to
    use. Not for a process in which users turn tables into frames. Does nothing if pandas is there.
    """
    if "pandas" in sys.modules:
        return
    too_old = types.ModuleType("pandas")
    too_old.__version__ = "0.1"  # type: ignore[attr-defined]
    sys.modules["pandas"] = too_old
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pa.array([0])
    finally:
        del sys.modules["pandas"]
