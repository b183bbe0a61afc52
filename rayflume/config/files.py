"""What can be said of the files of a plan before it runs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan


@runtime_checkable
class WritesFiles(Protocol):
    """A sink that knows how large its files will be."""

    def expected_files(self) -> str:
        """When they end, in one sentence."""
        ...


def expected_files(plan: AgentPlan) -> dict[str, str]:
    """Sink -> how large its files will be; only of sinks that say it."""
    found = {}
    for sink in plan.sinks.values():
        component = component_of(sink)
        if isinstance(component, WritesFiles):
            replicas = sink.placement.replicas
            each = f"; each of its {replicas} replicas has files of its own" if replicas > 1 else ""
            found[sink.name] = component.expected_files() + each
    return found
