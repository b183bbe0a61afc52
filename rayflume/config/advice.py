"""What is right and yet hardly meant: sentences for whoever looks at a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from rayflume.component import lookup
from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan, PartPlan
from rayflume.escapes import TIME_HEADER


@runtime_checkable
class WantsTime(Protocol):
    """The options of a sink whose paths may have the time of a row, from its header `timestamp`."""

    @property
    def without_time(self) -> str:
        """What to write so that rows need no such header; "" when they need none now."""
        ...


def advice(plan: AgentPlan, environ: Mapping[str, str] | None = None) -> list[str]:
    """Sources whose rows would all be dead letters, a sentence each with its place in the file."""
    found = []
    for sink in plan.sinks.values():
        options = component_of(sink, environ)
        other_way = options.without_time if isinstance(options, WantsTime) else ""
        for source in plan.sources.values() if other_way else ():
            if sink.channel in source.channels and _timeless(source):
                place = f"{plan.file}:{source.line}: " if plan.file else ""
                found.append(
                    f"{place}{source.where}: all rows would be dead letters of {sink.where}, whose "
                    f"directories need the header `{TIME_HEADER}`: add `interceptors: [{{type: "
                    f"timestamp}}]` here, or {other_way} there"
                )
    return found


def _timeless(source: PartPlan) -> bool:
    """Whether no row of a source can have the header: nothing on its way makes one of that name."""
    return all(
        getattr(lookup(part.kind, part.type), "timeless", False)
        and TIME_HEADER not in str(part.options)
        for part in (source, *source.interceptors)
    )
