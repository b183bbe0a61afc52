"""The parts that Flume would run -> a configuration of the shape of the YAML -> a checked plan."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayflume.config import AgentPlan, PartPlan
from rayflume.config.check import checked
from rayflume.config.load import Document
from rayflume.flume.defines import MONITORING, MONITORS
from rayflume.flume.findings import Finding, Place
from rayflume.flume.names import Severity
from rayflume.flume.translate import KeyPath
from rayflume.flume.values import Surroundings, literal
from rayflume.flume.verdict import Kept, Verdict

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

STATE_DIR = "~/.rayflume"
"""Flume keeps positions and journals below `~/.flume`, whatever directory it is started in."""
_ODD = re.compile(r"[^A-Za-z0-9_.-]")
_NAME_MAX = 80
_CHANNELS_OF_SELECTOR = ("optional", "default", "mapping")


@dataclass
class AgentReading:
    """One agent of a file. `value`: its configuration in the shape of the YAML; `plan`: None when
    it cannot run. `renamed`: Flume's name -> the plan's, per section, where they differ.
    """

    name: str
    value: dict[str, Json]
    findings: list[Finding]
    plan: AgentPlan | None = None
    renamed: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def dropped(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.dropped]


def built(verdict: Verdict, around: Surroundings, exported: Mapping[str, str]) -> AgentReading:
    """The reading of a judged agent. Imports the parts' modules."""
    names = _names(verdict)
    value, places = _value(verdict, names, around)
    reading = AgentReading(verdict.agent.name, value, list(verdict.findings))
    for (folder, name), new in names.items():
        if name != new and folder:
            reading.renamed[folder, name] = new
            text = (
                f"is called {new!r} here: a name is unique in its agent, and has letters, digits, "
                "`_`, `-` and `.` only"
            )
            place, key = verdict.kept[folder][name].place, f"{reading.name}.{folder}.{name}"
            reading.findings.append(Finding(place, Severity.NOTE, key, text, reading.name))
    if "monitoring" in value:
        text = "the metrics are shown on every address of the host, as in Flume"
        place = Place(next(iter(verdict.agent.lists.values())).place.file)
        key = "flume.monitoring.type"
        reading.findings.append(Finding(place, Severity.WARNING, key, text, reading.name))
    _check(reading, places, {**around.environ, **exported})
    return reading


# -- names -----------------------------------------------------------------------------------------


def _names(verdict: Verdict) -> dict[tuple[str, str], str]:
    """(section, Flume's name) -> a name that is fine in a plan, where all parts' names differ.

    Channels keep theirs before sources, and these before sinks: a channel has a journal.
    """
    found: dict[tuple[str, str], str] = {("", ""): _fine(verdict.agent.name)}
    taken: set[str] = set()
    for folder in ("channels", "sources", "sinks"):
        for name in verdict.kept[folder]:
            fine = _fine(name)
            numbered = (f"{fine}-{number}" for number in count(2))
            tried = chain([fine, f"{fine}-{folder[:-1]}"], numbered)
            new = next(one for one in tried if one not in taken)
            taken.add(new)
            found[folder, name] = new
    return found


def _fine(name: str) -> str:
    plain = _ODD.sub("_", name)[:_NAME_MAX]
    return f"_{plain}" if not plain or plain[0] in "-." else plain


# -- the configuration -----------------------------------------------------------------------------


def _value(
    verdict: Verdict, names: Mapping[tuple[str, str], str], around: Surroundings
) -> tuple[dict[str, Json], dict[KeyPath, Place]]:
    value: dict[str, Json] = {"agent": names["", ""], "state_dir": _state_dir(around)}
    places: dict[KeyPath, Place] = {}
    for folder in ("sources", "channels", "sinks"):
        parts: dict[str, Json] = {}
        for kept in verdict.kept[folder].values():
            new = names[folder, kept.name]
            parts[new] = _part(folder, kept, names)
            for path, place in kept.places.items():
                places[(folder, new, *path[2:])] = place
        value[folder] = parts
    if verdict.groups:
        value["sink_groups"] = {
            name: {
                "sinks": [names["sinks", s] for s in group.sinks if ("sinks", s) in names],
                "processor": _renamed_sinks(group.processor, names),
            }
            for name, group in verdict.groups.items()
        }
        places |= {("sink_groups", name): g.place for name, g in verdict.groups.items()}
    monitoring = _monitoring(around)
    return value | ({"monitoring": monitoring} if monitoring else {}), places


def _part(folder: str, kept: Kept, names: Mapping[tuple[str, str], str]) -> dict[str, Json]:
    value: dict[str, Json] = {"type": kept.part.type}
    channels = [names.get(("channels", name), name) for name in kept.channels]
    if folder == "sources":
        value["channels"] = list(channels)
    elif folder == "sinks":
        value["channel"] = channels[0] if channels else ""
    value |= kept.options
    selector = value.get("selector")
    if isinstance(selector, dict):
        renamed = {old: new for (where, old), new in names.items() if where == "channels"}
        value["selector"] = {
            key: _swapped(item, renamed) if key in _CHANNELS_OF_SELECTOR else item
            for key, item in selector.items()
        }
    return value


def _swapped(value: Json, renamed: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        return renamed.get(value, value)
    if isinstance(value, list):
        return [_swapped(item, renamed) for item in value]
    if isinstance(value, dict):
        return {key: _swapped(item, renamed) for key, item in value.items()}
    return value


def _renamed_sinks(
    processor: dict[str, Json], names: Mapping[tuple[str, str], str]
) -> dict[str, Json]:
    """Priorities are by sink; those of sinks that are not there are left out."""
    priority = processor.get("priority")
    if not isinstance(priority, dict):
        return processor
    kept: dict[str, Json] = {
        names["sinks", sink]: number
        for sink, number in priority.items()
        if ("sinks", sink) in names
    }
    return {**processor, "priority": kept}


def _state_dir(around: Surroundings) -> str:
    """Flume's memory channels keep nothing, so two agents of one name may run on a host; here
    `-D rayflume.state_dir=...` parts what their channels keep.
    """
    return literal(around.defines.get("rayflume.state_dir") or STATE_DIR)


def _monitoring(around: Surroundings) -> dict[str, Json]:
    """Of `-Dflume.monitoring.type=http`, which listens on all addresses of the host."""
    if around.defines.get(f"{MONITORING}type", "").lower() not in MONITORS:
        return {}
    port = around.defines.get(f"{MONITORING}port", "41414")
    number: Json = int(port) if port.isdecimal() else port
    return {"port": number, "bind": "0.0.0.0", "dangerously_allow_anonymous": True}


# -- the plan --------------------------------------------------------------------------------------


def _check(
    reading: AgentReading, places: Mapping[KeyPath, Place], environ: Mapping[str, str]
) -> None:
    """Check the configuration as YAML is checked; lines stand for places until it is done."""
    known = list(dict.fromkeys(places.values()))
    numbers = {place: number for number, place in enumerate(known, 1)}
    lines = {path: numbers[place] for path, place in places.items()}
    document = Document(reading.value, 0, lines)
    whole = Place(known[0].file) if known else Place("")
    plan, problems = checked(document, Path.cwd(), environ, partial=True)
    if not any(finding.fatal for finding in reading.findings):
        for number, text in problems:
            place = known[number - 1] if number else whole
            key, _, sentence = text.partition(": ")
            key = f"{reading.name}.{key}"
            finding = Finding(place, Severity.ERROR, key, sentence or text, reading.name)
            reading.findings.append(replace(finding, fatal=True))
    if not any(finding.fatal for finding in reading.findings):
        files = "+".join(dict.fromkeys(place.file for place in known))
        first = min((place.line for place in known), default=1)
        reading.plan = replace(_relined(plan, known), file=files, line=first)


def _relined(plan: AgentPlan, known: list[Place]) -> AgentPlan:
    folders = {
        folder: {name: _part_relined(part, known) for name, part in parts.items()}
        for folder, parts in _folders(plan)
    }
    groups = {
        name: replace(
            group,
            line=known[group.line - 1].line if group.line else 0,
            processor=_part_relined(group.processor, known),
        )
        for name, group in plan.groups.items()
    }
    more: dict[str, Any] = {**folders, "groups": groups}
    return replace(plan, **more)


def _folders(plan: AgentPlan) -> Iterator[tuple[str, Mapping[str, PartPlan]]]:
    yield "sources", plan.sources
    yield "channels", plan.channels
    yield "sinks", plan.sinks


def _part_relined(part: PartPlan, known: list[Place]) -> PartPlan:
    selector = part.selector and _part_relined(part.selector, known)
    interceptors = tuple(_part_relined(one, known) for one in part.interceptors)
    line = known[part.line - 1].line if part.line else 0
    return replace(part, line=line, selector=selector, interceptors=interceptors)
