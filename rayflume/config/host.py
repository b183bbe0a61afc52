"""What can be known on this host before anything starts: each part is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rayflume.clock import SystemClock
from rayflume.component import Context
from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan, PartPlan
from rayflume.errors import ConfigError
from rayflume.metrics import Metrics


@dataclass(frozen=True, slots=True)
class HostProblem:
    """What is wrong on this host for a part: a directory, a port.

    `where`: the part that cannot start, `sources.web`; `monitoring` for that. `place`: of what
    complains, with file and line.
    """

    where: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def host_problems_of(plan: AgentPlan, node: str = "") -> list[HostProblem]:
    """What is wrong on this host, part by part. Changes nothing.

    A part with a `node` in its placement is asked only on the node of that name.
    """
    return list(_found(plan, node))


def check_host(plan: AgentPlan, node: str = "") -> list[str]:
    """As `host_problems_of`, a sentence each."""
    return [str(one) for one in _found(plan, node)]


def can_wait(plan: AgentPlan, problems: Sequence[HostProblem]) -> bool:
    """Whether the agent has work while the parts with problems are tried again and again, as Flume
    does it: every channel is there, and of its sources and of its sinks not all have to wait.
    """
    waiting = {one.where for one in problems}
    parts = [part for part in plan.parts() if part.kind in ("source", "sink")]
    starting = {part.kind for part in parts if part.where not in waiting}
    known = {part.where for part in parts}
    return waiting <= known and starting == {part.kind for part in parts}


def _found(plan: AgentPlan, node: str) -> Iterator[HostProblem]:
    for text in plan.monitoring.problems() if plan.monitoring else ():
        place, _, sentence = f"monitoring.{text}".partition(": ")
        yield HostProblem("monitoring", place, sentence)
    for part in plan.parts():
        if part.placement.node not in (None, node):
            continue
        selector = [part.selector] if part.selector else []
        for one in (part, *part.interceptors, *selector):
            place = f"{plan.file}:{one.line}: {one.where}" if plan.file else one.where
            for text in _asked(one, plan, node):
                yield HostProblem(part.where, place, text)


def _asked(part: PartPlan, plan: AgentPlan, node: str) -> list[str]:
    context = Context(plan.agent, part.name, SystemClock(), Metrics(), plan.directory, node=node)
    try:
        return component_of(part).check(context)
    except ConfigError as error:
        return list(error.problems) or [error.message]
    except OSError as error:
        return [f"cannot be checked: {error.strerror or error}"]
