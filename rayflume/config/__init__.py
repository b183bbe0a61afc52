"""From a configuration file to an AgentPlan: plain, checked, picklable data. Builds nothing.

load.py         YAML -> values that know their line
check.py        values -> AgentPlan, all problems at once
wiring.py       what must hold between the parts
groups.py       sink groups and who leads them
parts.py        one part's options -> its Component, errors as sentences
fields.py       what a part's class declares
environment.py  `${NAME}` in strings
guarantee.py    what the plan promises, path by path
monitoring.py   where an agent's metrics are served
files.py        what can be said of its files
advice.py       what is right and yet hardly meant
host.py         what can be known on this host before anything starts
"""

from __future__ import annotations

from rayflume.config.advice import advice
from rayflume.config.check import load, plan_of
from rayflume.config.environment import resolve
from rayflume.config.files import expected_files
from rayflume.config.guarantee import Level, PathGuarantee, guarantees, is_durable, replay_of
from rayflume.config.host import can_wait, check_host, host_problems_of
from rayflume.config.monitoring import Monitoring
from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan, GroupPlan, PartPlan, Placement

__all__ = [
    "AgentPlan",
    "GroupPlan",
    "Level",
    "Monitoring",
    "PartPlan",
    "PathGuarantee",
    "Placement",
    "advice",
    "can_wait",
    "check_host",
    "component_of",
    "expected_files",
    "guarantees",
    "host_problems_of",
    "is_durable",
    "load",
    "plan_of",
    "replay_of",
    "resolve",
]
