"""Flume's files -> their agents, each with its plan and all that is to be said."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rayflume.clock import SystemClock
from rayflume.component import nearest
from rayflume.config import AgentPlan
from rayflume.config import load as load_yaml
from rayflume.errors import ConfigError
from rayflume.flume.build import AgentReading, built
from rayflume.flume.findings import Finding, Place
from rayflume.flume.grammar import is_flume, read_files
from rayflume.flume.names import Severity
from rayflume.flume.own import unused
from rayflume.flume.sections import duplicates, no_agent_at_all, split
from rayflume.flume.values import Resolver, Surroundings
from rayflume.flume.verdict import Verdict
from rayflume.own_parts import make_importable

PROBLEMS_MAX = 200


@dataclass(frozen=True)
class FlumeFile:
    """What is in a file, or in several merged ones. `findings`: of all agents and of none, in the
    order of the file. `exported`: variables of the environment that the plans refer to and that
    config filters have given their values.
    """

    files: tuple[str, ...]
    agents: dict[str, AgentReading]
    findings: list[Finding]
    exported: dict[str, str] = field(default_factory=dict)

    def chosen(self, agent: str | None) -> AgentReading:
        """The agent of that name, or the only one. Raises ConfigError."""
        known = list(self.agents)
        file = ", ".join(self.files)
        if agent is None and len(known) == 1:
            return self.agents[known[0]]
        if agent is None:
            text = f"has several agents; choose one with --agent: {', '.join(known)}"
            raise ConfigError(f"{file}: {text}")
        if agent not in self.agents:
            raise ConfigError(f"{file}: has no agent {agent!r}{nearest(agent, known)}")
        return self.agents[agent]


def surroundings(
    defines: Mapping[str, str] | None = None,
    allow_exec: Sequence[str] = (),
    java_classes: Mapping[str, str] | None = None,
) -> Surroundings:
    """Those of this process: its environment and the time."""
    now_ms = SystemClock().now_ms()
    given = dict(defines or {}), now_ms, tuple(allow_exec), dict(java_classes or {})
    return Surroundings(dict(os.environ), *given)


def read_flume(paths: Sequence[str | Path], around: Surroundings) -> FlumeFile:
    """Read and judge all agents of the files. Blocks on the disk, and on programs of config
    filters that are allowed.

    Raises ConfigError: a file cannot be read, or there is no agent in it.
    """
    text = read_files(paths)
    files = tuple(str(path) for path in paths)
    agents, findings = split(text.entries)
    if not agents:
        raise ConfigError(no_agent_at_all(text.entries, ", ".join(files)))
    beside = [Path(path).expanduser().absolute().parent for path in paths]
    make_importable(list(around.java_classes.values()), Path.cwd(), *beside)
    resolver = Resolver(text.entries, around)
    for one in agents.values():
        lists = {name: replace(e, value=resolver.value(e).text) for name, e in one.lists.items()}
        one.lists.update(lists)
    verdicts = [Verdict(agent, resolver, around) for agent in agents.values()]
    readings = {one.agent.name: built(one, around, resolver.exported) for one in verdicts}
    findings = [*text.findings, *findings, *duplicates(text.entries.values()), *resolver.findings]
    values = {entry.value for entry in text.entries.values()}
    findings += [
        Finding(Place(files[0]), Severity.WARNING, "", f"--map {java}: nothing is of that class")
        for java in unused(around.java_classes, values)
    ]
    findings = [_owned(one, readings) for one in findings]
    for reading in readings.values():
        if any(one.fatal and one.agent in ("", reading.name) for one in findings):
            reading.plan = None
        reading.findings = [_masked(one, resolver) for one in reading.findings]
        findings += reading.findings
    findings = [_masked(one, resolver) for one in findings]
    order = {file: number for number, file in enumerate(files)}
    findings.sort(key=lambda one: (order.get(one.place.file, 0), one.place.line))
    return FlumeFile(files, readings, list(dict.fromkeys(findings)), dict(resolver.exported))


def _masked(finding: Finding, resolver: Resolver) -> Finding:
    return replace(finding, text=resolver.masked(finding.text))


def _owned(finding: Finding, agents: Mapping[str, AgentReading]) -> Finding:
    owner = finding.key.partition(".")[0]
    return replace(finding, agent=owner if owner in agents else "")


def findings_of(file: FlumeFile, agent: str | None) -> list[Finding]:
    """Those of one agent and of the file as a whole; of all agents without one."""
    if agent is None:
        return file.findings
    return [one for one in file.findings if one.agent in ("", agent)]


def refused(file: FlumeFile, agent: str, strict: bool) -> list[Finding]:
    """What keeps an agent from running: fatal errors; with `strict` all errors and warnings."""
    return [
        one
        for one in findings_of(file, agent)
        if one.fatal or (strict and one.severity is not Severity.NOTE)
    ]


def plan_of_flume(file: FlumeFile, agent: str | None, strict: bool = False) -> AgentPlan:
    """The plan of an agent. Raises ConfigError with all that keeps it from running."""
    reading = file.chosen(agent)
    wrong = refused(file, reading.name, strict)
    if wrong or reading.plan is None:
        problems = [f"{one.place}: {one.key}: {one.text}" for one in wrong[:PROBLEMS_MAX]]
        raise ConfigError("\n".join(problems), problems=tuple(problems))
    return reading.plan


def load(
    path: str | Path,
    agent: str | None = None,
    environ: Mapping[str, str] | None = None,
    java_classes: Mapping[str, str] | None = None,
) -> AgentPlan:
    """The checked plan of one agent of a configuration file, YAML or Flume's.

    `agent` is needed only if the file has several. `java_classes`: Java class -> dotted name of the
    Python class in its place. Raises ConfigError with all `problems`.
    """
    if not is_flume(path):
        return load_yaml(path, agent, environ, java_classes)
    around = surroundings(java_classes=java_classes)
    if environ is not None:
        around = replace(around, environ=environ)
    return plan_of_flume(read_flume([path], around), agent)
