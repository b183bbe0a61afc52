"""What can be known on this host before anything starts: each part is asked."""

from __future__ import annotations

from rayflume.clock import SystemClock
from rayflume.component import Context
from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan, PartPlan
from rayflume.errors import ConfigError
from rayflume.metrics import Metrics


def check_host(plan: AgentPlan, node: str = "") -> list[str]:
    """What is wrong on this host, a sentence each: directories, ports. Changes nothing.

    A part with a `node` in its placement is asked only on the node of that name.
    """
    monitoring = plan.monitoring.problems() if plan.monitoring else []
    problems = [f"monitoring.{text}" for text in monitoring]
    for part in plan.parts():
        if part.placement.node not in (None, node):
            continue
        selector = [part.selector] if part.selector else []
        for one in (part, *part.interceptors, *selector):
            place = f"{plan.file}:{one.line}: {one.where}" if plan.file else one.where
            problems += [f"{place}: {text}" for text in _asked(one, plan, node)]
    return problems


def _asked(part: PartPlan, plan: AgentPlan, node: str) -> list[str]:
    context = Context(plan.agent, part.name, SystemClock(), Metrics(), plan.directory, node=node)
    try:
        return component_of(part).check(context)
    except ConfigError as error:
        return list(error.problems) or [error.message]
    except OSError as error:
        return [f"cannot be checked: {error.strerror or error}"]
