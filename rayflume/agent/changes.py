"""What a new plan of a running agent changes, part by part, and what it may not change. Pure.

A part is made of more than its own lines: a source must know whether a sink beside it marks, a
sink which sources write to its channel. All of that is in its print; parts whose prints are the
same are left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from rayflume.agent.marking import expected_sources, marks
from rayflume.agent.paths import relative_paths
from rayflume.component import lookup
from rayflume.config import AgentPlan, PartPlan, component_of, is_durable, replay_of
from rayflume.config.division import Divides
from rayflume.config.environment import resolve_text
from rayflume.config.guarantee import required_channels
from rayflume.interfaces import Json

# -- what differs ----------------------------------------------------------------------------------


def prints(plan: AgentPlan) -> dict[str, str]:
    """Part -> `<print>:<print of what can change while it runs>`. Imports the parts' modules."""
    return {part.name: ":".join(map(_digest, _made_of(part, plan))) for part in plan.parts()}


def adjusted_only(old: str, new: str) -> bool:
    """Whether a part with the first print becomes one with the second without starting anew."""
    return old.partition(":")[0] == new.partition(":")[0]


def _digest(value: Json) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _made_of(part: PartPlan, plan: AgentPlan) -> tuple[Json, Json]:
    own = _written(part, plan)
    fixed: list[Json] = [own, plan.orphan_after_ms]
    open_to_change: list[Json] = []
    if part.kind == "source":
        beside = [sink for sink in plan.sinks.values() if sink.channel in part.channels]
        fixed.append(any(marks(sink) for sink in beside))
    elif part.kind == "sink":
        fixed.append(plan.channels[part.channel].placement.per_node)
        if marks(part):
            fixed.append(dict(expected_sources(plan, part.channel, 1)))
    else:
        groups = [g for g in plan.groups.values() if set(g.sinks) & _sinks_of(part.name, plan)]
        open_to_change += [[*g.sinks, _written(g.processor, plan)] for g in groups]
        if getattr(lookup("channel", part.type), "adjusts", False):
            open_to_change.append(own["options"])
            own["options"] = {}
    return fixed, open_to_change


def _written(part: PartPlan, plan: AgentPlan) -> dict[str, Json]:
    """All of a part but its line, and how many of it there are (which does not change the others,
    unless they share journals out among them).
    """
    placement = part.placement
    shared = part.kind == "sink" and plan.channels[part.channel].placement.per_node
    if not shared:
        placement = placement.model_copy(update={"replicas": 1})
    return {
        "type": part.type,
        "options": dict(part.options),
        "channels": list(part.channels),
        "interceptors": [_written(one, plan) for one in part.interceptors],
        "selector": _written(part.selector, plan) if part.selector else None,
        "placement": placement.model_dump(mode="json"),
    }


def _sinks_of(channel: str, plan: AgentPlan) -> set[str]:
    return {sink.name for sink in plan.sinks.values() if sink.channel == channel}


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of parts. `adjust`: changed without being started anew. `what`: part -> what of it."""

    keep: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    adjust: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    what: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.change or self.adjust or self.add or self.remove)

    def lines(self) -> list[str]:
        """A line for each part, what changes first; `nothing changes` when nothing does."""
        found = [
            f"{verb} {name}{f' ({self.what[name]})' if self.what.get(name) else ''}"
            for verb in ("remove", "change", "adjust", "add")
            for name in getattr(self, verb)
        ]
        if not found:
            return ["nothing changes"]
        return [*found, f"keep {', '.join(self.keep)}"] if self.keep else found


def changes(old: AgentPlan, new: AgentPlan) -> Changes:
    """What becomes of each part when `new` takes the place of `old`."""
    before, after = prints(old), prints(new)
    olds, news = ({part.name: part for part in plan.parts()} for plan in (old, new))
    found: dict[str, list[str]] = {"keep": [], "change": [], "adjust": []}
    what: dict[str, str] = {}
    for name in [name for name in after if name in before]:
        verb = "change"
        if before[name] == after[name]:
            replicas = [p[name].placement.replicas for p in (olds, news)]
            verb = "keep" if replicas[0] == replicas[1] else "adjust"
        elif adjusted_only(before[name], after[name]):
            verb = "adjust"
        found[verb].append(name)
        if verb != "keep":
            what[name] = _differences(olds[name], news[name]) or "its neighbours"
    add = [name for name in after if name not in before]
    remove = [name for name in before if name not in after]
    what |= {name: f"{news[name].kind} {news[name].type}" for name in add}
    what |= {name: f"{olds[name].kind} {olds[name].type}" for name in remove}
    kept = {verb: tuple(names) for verb, names in found.items()}
    return Changes(**kept, add=tuple(add), remove=tuple(remove), what=what)


def _differences(old: PartPlan, new: PartPlan) -> str:
    """Names of what differs, never a value: it may be a secret."""
    unlined = [_unlined(part) for part in (old, new)]
    fields = ("type", "channels", "interceptors", "selector", "placement")
    found = [name for name in fields if getattr(unlined[0], name) != getattr(unlined[1], name)]
    options = sorted({*old.options, *new.options})
    return ", ".join([*(n for n in options if _differ(n, old, new)), *found])


def _differ(option: str, old: PartPlan, new: PartPlan) -> bool:
    absent = object()
    return old.options.get(option, absent) != new.options.get(option, absent)


def _unlined(part: PartPlan) -> PartPlan:
    selector = part.selector and replace(part.selector, line=0)
    interceptors = tuple(replace(one, line=0) for one in part.interceptors)
    return replace(part, line=0, interceptors=interceptors, selector=selector)


# -- what is refused -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """How a part is now. `rows`: of a channel, those not committed; -1 when that is not known.
    `prepared`: sinks with Prepared deliveries in it. `deliveries`: of a sink, open ones and those
    on their way.
    """

    state: str = "running"
    rows: int = 0
    prepared: tuple[str, ...] = ()
    deliveries: int = 0

    def and_(self, other: Found) -> Found:
        """Both together: two replicas of a part."""
        known = self.rows >= 0 and other.rows >= 0
        return Found(
            self.state if self.state != "running" else other.state,
            self.rows + other.rows if known else -1,
            (*self.prepared, *other.prepared),
            self.deliveries + other.deliveries,
        )


def refusals(old: AgentPlan, new: AgentPlan, found: Mapping[str, Found]) -> list[str]:
    """Why the agent cannot go from one plan to the other as it is now: a sentence each, with what
    to do. `found`: part -> how it is (of several replicas all together); a missing one is not
    known.
    """
    if old.agent != new.agent:
        return [f"the configuration is of the agent {new.agent!r}, the one that runs is another"]
    state = _Before(old, new, found)
    return [text for rule in _RULES for text in rule(state)]


@dataclass(frozen=True, slots=True)
class _Before:
    old: AgentPlan
    new: AgentPlan
    found: Mapping[str, Found]

    def rows(self, channel: str) -> int:
        return self.found.get(channel, Found(rows=-1)).rows

    def holding(self, channel: str) -> str:
        """`holds 12 rows`, or that it is not known; "" when it holds none."""
        rows = self.rows(channel)
        if rows < 0:
            return f"may hold rows (it is {self.found.get(channel, Found('away')).state})"
        return f"holds {rows:,} rows" if rows else ""

    @property
    def drain(self) -> str:
        return f"`rayflume drain {self.old.agent}` delivers them; start the new file then"

    def both(self, folder: str) -> Iterator[tuple[PartPlan, PartPlan]]:
        olds, news = getattr(self.old, folder), getattr(self.new, folder)
        return ((olds[name], news[name]) for name in olds if name in news)


def _paths(now: _Before) -> Iterator[str]:
    moved = now.old.directory != now.new.directory
    if moved and (relative_paths(now.old) or relative_paths(now.new)):
        yield (
            f"relative paths start in {now.old.directory} now and would start in "
            f"{now.new.directory}: apply the file from its old place, or write paths from / on"
        )
    if now.old.monitoring != now.new.monitoring:
        yield "monitoring: its listener opens at the start: leave it as it is until the next one"
    same_channels = {old.name for old, _ in now.both("channels")}
    volatile = {name for name in same_channels if not is_durable(now.old.channels[name])}
    if volatile and not moved and now.old.state_path() != now.new.state_path():
        yield f"state_dir: positions of {_and(volatile)} are kept there: leave it as it is"


def _names(now: _Before) -> Iterator[str]:
    kinds = {part.name: part.kind for part in now.old.parts()}
    for part in now.new.parts():
        before = kinds.get(part.name, part.kind)
        if before != part.kind:
            yield f"{part.name} is a {before} now: give the new {part.kind} another name"


def _channels_gone(now: _Before) -> Iterator[str]:
    for name in now.old.channels:
        if name not in now.new.channels and (holding := now.holding(name)):
            yield (
                f"channel {name} {holding} and would be dropped: let its sinks deliver them first "
                f"({now.drain})"
            )


def _sinks_gone(now: _Before) -> Iterator[str]:
    for name, sink in now.old.sinks.items():
        if name in now.new.sinks:
            continue
        channel = now.found.get(sink.channel, Found())
        if now.found.get(name, Found()).deliveries or name in channel.prepared:
            yield (
                f"sink {name} has open deliveries and would be dropped: apply this again when "
                f"`rayflume status` shows none of it (they end with its roll age or idle time), or "
                f"`rayflume drain {now.old.agent}` and start the new file"
            )


def _journals(now: _Before) -> Iterator[str]:
    """A channel that is another one afterwards has other positions, and none of the rows."""
    for old, new in now.both("channels"):
        where = [_digest([part.options.get("directory"), _home(part)]) for part in (old, new)]
        if old.type != new.type or where[0] != where[1]:
            yield (
                f"channel {old.name} keeps positions and rows in its journal, and its type, "
                "directory and place must stay as they are: add a channel of another name beside "
                "it, and leave this one out in a second step"
            )
        elif not is_durable(old) and not _stays_open(old, now):
            yield (
                f"channel {old.name} has its rows in memory and cannot be opened anew without "
                f"losing them: {now.drain}"
            )


def _keys(now: _Before) -> Iterator[str]:
    """Rows at rest can be read only with the key they were sealed with."""
    for old, new in now.both("channels"):
        gone = _key_files(old) - _key_files(new)
        if gone and (holding := now.holding(old.name)):
            yield (
                f"channel {old.name} {holding}, sealed with the keys {_and(gone)} perhaps: leave "
                "them in `encryption.key_files` until it is empty"
            )


def _key_files(channel: PartPlan) -> set[str]:
    encryption = channel.options.get("encryption")
    files = encryption.get("key_files") if isinstance(encryption, dict) else None
    return set(files) if isinstance(files, dict) else set()


def _stays_open(channel: PartPlan, now: _Before) -> bool:
    return adjusted_only(prints(now.old)[channel.name], prints(now.new)[channel.name])


def _home(part: PartPlan) -> Json:
    placement = part.placement
    node: Json = dict(placement.node) if isinstance(placement.node, Mapping) else placement.node
    return [placement.per_node, node]


def _positions(now: _Before) -> Iterator[str]:
    """Where a source stands is known by the names of its streams, in its channels."""
    for old, new in now.both("sources"):
        ids = [resolve_text(str(part.options.get("id") or part.name)) for part in (old, new)]
        required = [set(required_channels(part)) for part in (old, new)]
        if ids[0] != ids[1]:
            yield (
                f"source {old.name} has its positions under the id {ids[0]!r}: with another it "
                "would read all again; leave `id` as it is, or give the source another name"
            )
        elif replay_of(new) == "replayable" and required[0].isdisjoint(required[1]):
            names = _and(required[0])
            yield (
                f"source {old.name} has its positions in {names} and would lose them: name its new "
                "channels beside the old, apply, and leave the old out in a second step"
            )


def _division(now: _Before) -> Iterator[str]:
    for old, new in now.both("sources"):
        if not (_divides(old) or _divides(new)):
            continue
        differ = [
            name
            for name in ("channels", "interceptors", "selector")
            if getattr(_unlined(old), name) != getattr(_unlined(new), name)
        ]
        full = [name for name in old.channels if now.holding(name)]
        if differ and full:
            yield (
                f"source {old.name} divides its rows among channels, and {_and(set(full))} "
                f"{now.holding(full[0])}: {_and(set(differ))} can change only when they are empty "
                f"({now.drain})"
            )


def _failed(now: _Before) -> Iterator[str]:
    """Prepared deliveries are landed where they were staged, by the sink as it was."""
    for old, new in now.both("sinks"):
        channel = now.found.get(old.channel, Found())
        state = now.found.get(old.name, Found()).state
        moved = old.type != new.type or old.channels != new.channels or _differ("path", old, new)
        if moved and old.name in channel.prepared and state not in ("running", "held"):
            yield (
                f"sink {old.name} is {state} and has prepared deliveries, which land where they "
                "were staged: mend its store first, or leave its type, channel and path as they are"
            )


def _divides(source: PartPlan) -> bool:
    return source.selector is not None and isinstance(component_of(source.selector), Divides)


def _and(names: set[str]) -> str:
    return " and ".join(sorted(names))


_RULES = (
    _paths, _names, _channels_gone, _sinks_gone, _journals, _keys, _positions, _division, _failed,
)  # fmt: skip
