"""Whether rows that are read again would be divided among the channels as before.

A selector that divides rows (it has `divides_by`) must find the same values in them at each read:
a put that a crash left half done is packed anew, and a row that changes its channel meanwhile is
in both, or in none. Parts say of the headers they write whether their values are the same at each
read (`headers_written`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from rayflume.component import lookup
from rayflume.config.parts import component_of
from rayflume.config.plan import PartPlan


@runtime_checkable
class Divides(Protocol):
    """The options of a selector that gives each row to one channel, by some headers."""

    def divides_by(self) -> Sequence[str]: ...


@runtime_checkable
class WritesHeaders(Protocol):
    """Options of a source or interceptor. Header -> whether a row has the same value in it at each
    read.
    """

    def headers_written(self) -> Mapping[str, bool]: ...


def undecided(source: PartPlan, environ: Mapping[str, str] | None = None) -> str:
    """The first header by which rows may be divided otherwise at the next read; "" for none."""
    if source.selector is None:
        return ""
    selector = component_of(source.selector, environ)
    if not isinstance(selector, Divides):
        return ""
    same: dict[str, bool] = {}
    for plan in (source, *source.interceptors):
        part = component_of(plan, environ)
        if isinstance(part, WritesHeaders):
            same.update(part.headers_written())
    # What callers send with a request they may send otherwise when they repeat it.
    known = getattr(lookup("source", source.type), "replay", "lossy") == "replayable"
    return next((name for name in selector.divides_by() if not same.get(name, known)), "")
