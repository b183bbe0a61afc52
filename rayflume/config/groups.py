"""Sink groups of a configuration: read, checked, and led by their processors.

sink_groups:
  g1: {sinks: [near, far], processor: {type: failover, priority: {near: 10, far: 5}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rayflume.component import Component, nearest
from rayflume.config.load import KeyPath
from rayflume.config.parts import component_of, resolved_text
from rayflume.config.plan import AgentPlan, GroupPlan, PartPlan
from rayflume.errors import ConfigError
from rayflume.sink_group import SinkProcessor

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_KEYS = ["sinks", "processor"]


class Reader(Protocol):
    """Of check.py: what reads a document and notes what is wrong with it."""

    environ: Mapping[str, str] | None

    def report(self, path: KeyPath, text: str) -> None: ...
    def line(self, path: KeyPath) -> int: ...
    def name_is_good(self, path: KeyPath, name: str) -> None: ...
    def stage(self, kind: str, name: str, value: Json, path: KeyPath) -> PartPlan: ...


@runtime_checkable
class Leads(Protocol):
    """The options of a sink processor."""

    def check_sinks(self, sinks: Sequence[str]) -> list[str]: ...
    def lead(self, sinks: Sequence[str]) -> SinkProcessor: ...


def read_groups(reader: Reader, value: Json) -> dict[str, GroupPlan]:
    """The value of `sink_groups` as plans; what is wrong with their form is reported."""
    path = ("sink_groups",)
    if value is None:
        return {}
    if not isinstance(value, dict):
        reader.report(path, "must be a mapping from names to groups of sinks")
        return {}
    return {name: _group(reader, name, item) for name, item in value.items()}


def _group(reader: Reader, name: str, value: Json) -> GroupPlan:
    path: KeyPath = ("sink_groups", name)
    reader.name_is_good(path, name)
    line = reader.line(path)
    if not isinstance(value, dict):
        reader.report(path, "must be a mapping, for example `{sinks: [k1, k2], processor: ...}`")
        return GroupPlan(name, (), PartPlan("sink_processor", name, ""), line)
    for key in value:
        if key not in _KEYS:
            reader.report((*path, key), f"unknown option{nearest(key, _KEYS)}")
    given = value.get("processor", "default")
    processor = reader.stage("sink_processor", f"{name}.processor", given, (*path, "processor"))
    return GroupPlan(name, _sinks(reader, value.get("sinks"), path), processor, line)


def _sinks(reader: Reader, value: Json, path: KeyPath) -> tuple[str, ...]:
    given = resolved_text(value, reader.environ)
    names = given.split() if isinstance(given, str) else given
    good = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    if not good or not isinstance(names, list):
        reader.report((*path, "sinks"), "must be a list of sinks, for example `[k1, k2]`")
        return ()
    found = [str(resolved_text(name, reader.environ)) for name in names]
    for name in sorted({name for name in found if found.count(name) > 1}):
        reader.report((*path, "sinks"), f"{name!r} is there twice; remove one")
    return tuple(dict.fromkeys(found))


def grouping(
    plan: AgentPlan, environ: Mapping[str, str] | None = None
) -> Iterator[tuple[KeyPath, str]]:
    """All that is wrong between groups and sinks. Pure: (path in the file, sentence)."""
    owner: dict[str, str] = {}
    for group in plan.groups.values():
        path: KeyPath = ("sink_groups", group.name)
        for name in group.sinks:
            if name not in plan.sinks:
                known = nearest(name, list(plan.sinks))
                yield (*path, "sinks"), f"there is no sink {name!r}{known}"
            if name in owner:
                text = f"the sink {name!r} is in the group {owner[name]!r} already; a sink has one"
                yield (*path, "sinks"), text
            owner.setdefault(name, group.name)
        leader = _leader(group, environ)
        for text in leader.check_sinks(group.sinks) if leader and group.sinks else ():
            yield (*path, "processor"), text


def _leader(group: GroupPlan, environ: Mapping[str, str] | None) -> Leads | None:
    if not group.processor.type:
        return None
    try:
        options: Component = component_of(group.processor, environ)
    except ConfigError:
        return None  # reported with its place already
    return options if isinstance(options, Leads) else None


def leaders(plan: AgentPlan, channel: str) -> list[tuple[tuple[str, ...], SinkProcessor]]:
    """The groups that compete for the rows of a channel: the members on it, and who leads them.

    Members on other channels take other rows: on each channel the group is led by itself. (Flume
    lets them stand still while another channel has its turn.) Raises ConfigError for a processor
    whose options hold a variable that is not set here.
    """
    found = []
    for group in plan.groups.values():
        members = tuple(s for s in group.sinks if s in plan.sinks and channel in _channels(plan, s))
        if len(members) > 1:
            options = component_of(group.processor)
            if isinstance(options, Leads):
                found.append((members, options.lead(members)))
    return found


def _channels(plan: AgentPlan, sink: str) -> tuple[str, ...]:
    return plan.sinks[sink].channels
