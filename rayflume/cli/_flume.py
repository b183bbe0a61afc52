"""What `validate` prints of a Flume file: every finding, then the agents that can run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from rayflume.cli._output import printable, say, say_json
from rayflume.cli.validate import Wanted, plan_as_json, show
from rayflume.config import can_wait, guarantees, host_problems_of
from rayflume.flume.build import AgentReading
from rayflume.flume.findings import Finding, Place
from rayflume.flume.names import Severity
from rayflume.flume.read import FlumeFile, findings_of

if TYPE_CHECKING:
    from rayflume.config import AgentPlan

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def validated(file: FlumeFile, agent: str | None, wanted: Wanted) -> None:
    """Print all that is found, of one agent or of all. Raises Exit(2) when one could not run."""
    chosen = [file.chosen(agent)] if agent is not None else list(file.agents.values())
    findings = findings_of(file, chosen[0].name if agent is not None else None)
    for reading in chosen if wanted.host else ():
        findings += _of_host(reading)
    wrong = [
        one for one in findings
        if one.fatal or (wanted.strict and one.severity is not Severity.NOTE)
    ]  # fmt: skip
    plans = [one.plan for one in chosen if one.plan is not None]
    if wanted.as_json:
        say_json(_as_json(findings, plans, wrong))
    else:
        _show(findings, plans, wrong)
    if wrong:
        raise typer.Exit(2)


def _of_host(reading: AgentReading) -> list[Finding]:
    """What is wrong on this host. Flume finds it when it starts a part, and tries on for ever."""
    problems = host_problems_of(reading.plan) if reading.plan else []
    waits = reading.plan is not None and can_wait(reading.plan, problems)
    found = []
    for problem in problems:
        place, _, text = str(problem).partition(": ")
        file, _, line = place.rpartition(":")
        at = Place(file, int(line)) if line.isdecimal() else Place(place)
        more = (
            f"; until then {problem.where} is tried again and again, as in Flume" if waits else ""
        )
        finding = Finding(at, Severity.ERROR, "", text + more, reading.name)
        found.append(replace(finding, fatal=not waits))
    return found


def _show(findings: list[Finding], plans: list[AgentPlan], wrong: list[Finding]) -> None:
    for one in findings:
        say(printable(str(one)), _STYLES[one.severity])
    counts = {severity: sum(one.severity is severity for one in findings) for severity in Severity}
    if findings:
        say("")
    for plan in plans if not wrong else ():
        whole = not any(one.dropped for one in findings if one.agent == plan.agent)
        show(plan, guarantees(plan), whole=whole)
        say("")
    words = [f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items()]
    without = ", ".join(dict.fromkeys(one.dropped for one in findings if one.dropped))
    runs = f"runs without {without}" if without else "runs"
    verdict = "cannot run as it is" if wrong else runs
    say(f"{', '.join(words)}: {verdict}", "bold red" if wrong else "bold green")


def _as_json(
    findings: list[Finding], plans: list[AgentPlan], wrong: list[Finding]
) -> dict[str, object]:
    return {
        "ok": not wrong,
        "problems": [str(one) for one in wrong],
        "findings": [
            {
                "file": one.place.file,
                "line": one.place.line,
                "agent": one.agent,
                "key": one.key,
                "severity": str(one.severity),
                "text": one.text,
                "dropped": one.dropped,
                "fatal": one.fatal,
            }
            for one in findings
        ],
        "agents": [plan_as_json(plan, guarantees(plan)) for plan in plans],
    }
