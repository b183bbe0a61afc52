"""Sink groups: `AGENT.sinkgroups.NAME` -> `sink_groups:`. Flume user guide, Flume Sink Processors.

sink_groups:
  g1: {sinks: [k1, k2], processor: {type: failover, priority: {k1: 5}, max_penalty: 10s}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rayflume.flume.findings import Place
from rayflume.flume.names import Severity
from rayflume.flume.sections import meant
from rayflume.flume.translate import Translation
from rayflume.flume.values import Value

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


@dataclass
class Group:
    """A group. `processor`: its type and options as in `sink_groups:`."""

    name: str
    sinks: list[str]
    place: Place
    processor: dict[str, Json] = field(default_factory=dict)

    @property
    def needed(self) -> bool:
        """The default processor has one sink and does nothing."""
        return self.processor.get("type") != "default"


def group_of(
    told: Translation, values: Mapping[str, Value], free: Sequence[str], name: str
) -> Group | None:
    """The group, with those of its sinks that are `free`: kept, and in no other group.

    None when no sink is left. `told` says what is wrong.
    """
    listed = values.get("sinks")
    if listed is None:
        told.refuse("sinks", "a sink group needs `sinks`; Flume loads nothing of such a file")
        return None
    sinks = [sink for sink in dict.fromkeys(listed.text.split()) if sink in free]
    for sink in dict.fromkeys(listed.text.split()):
        if sink not in free:
            why = "is not there, or in another group, and is left out, as in Flume"
            hint = meant(sink, [one for one in free if one not in sinks])
            told.tell(Severity.WARNING, "sinks", f"the sink {sink!r} {why}{hint}", listed)
    if not sinks:
        told.drop("sinks", f"no sink of it is left; {told.where} is dropped, as in Flume", listed)
        return None
    group = Group(name, sinks, told.place)
    kind = values.get("processor.type")
    if kind is None:
        told.drop(
            "processor.type",
            f"a sink group needs `processor.type`; {told.where} is dropped, as in Flume",
        )
        return group
    part = told.named("sink_processor", kind.text, "processor.type", kind)
    if part is None:
        return group
    inner = {
        n.removeprefix("processor."): v
        for n, v in values.items()
        if n.startswith("processor.") and n != "processor.type"
    }
    for other in values.keys() - {"sinks"}:
        if not other.startswith("processor."):
            text = f"is no property of a sink group{meant(other, ['sinks', 'processor.type'])}"
            told.tell(Severity.WARNING, other, text, values[other])
    options = told.options(part, inner, ("sink_groups", name, "processor"), "processor.")
    group.processor = {"type": part.type, **options}
    _of_others(told, group, values)
    _count(told, group, kind)
    return group


def _of_others(told: Translation, group: Group, values: Mapping[str, Value]) -> None:
    """Flume asks for the priorities of a group's own sinks, and passes over all others."""
    priority = group.processor.get("priority")
    for name in list(priority) if isinstance(priority, dict) else ():
        if isinstance(priority, dict) and name not in group.sinks:
            del priority[name]
            key = f"processor.priority.{name}"
            text = f"{name!r} is no sink of this group, so it is ignored, as in Flume"
            hint = meant(name, [one for one in group.sinks if one not in priority])
            told.tell(Severity.WARNING, key, text + hint, values.get(key))


def _count(told: Translation, group: Group, kind: Value) -> None:
    wanted = str(group.processor["type"])
    if wanted == "default" and len(group.sinks) > 1:
        text = "the default processor has exactly one sink; write `failover` or `load_balance`"
        told.drop("processor.type", f"{text}; {told.where} is dropped, as in Flume", kind)
    if wanted == "load_balance" and len(group.sinks) < 2:
        text = "the load_balance processor needs at least two sinks"
        told.drop("processor.type", f"{text}; {told.where} is dropped, as in Flume", kind)
