"""What Flume makes of one agent: which parts it drops and why, what keeps the agent from running.

As Flume 1.11 loads an agent: filters, channels, sources, sinks, groups; a part that is wrong is
dropped, and what depends on it; the rest goes on. What Flume says nothing of (parts described and
never listed, names misspelt) is told as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rayflume.config import component_of
from rayflume.config.fields import names_secret
from rayflume.config.plan import PartPlan
from rayflume.config.wiring import ChecksChannels
from rayflume.errors import ConfigError
from rayflume.flume.filters import AgentFilters
from rayflume.flume.findings import Finding, Place
from rayflume.flume.global_tls import GlobalTls
from rayflume.flume.groups import Group, group_of
from rayflume.flume.names import FlumePart, Severity, Status
from rayflume.flume.sections import KINDS, AgentText, Section, meant, nearest_of
from rayflume.flume.servers import OpenSource, address_of, open_to_all
from rayflume.flume.times import asks_for_time, is_timed
from rayflume.flume.translate import KeyPath, Translation
from rayflume.flume.values import Resolver, Surroundings, Value

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_COMMENT = re.compile(r"\s(#.*)", re.DOTALL)


@dataclass
class Kept:
    """A part that runs: its table, options, channels (of rayflume's plan, by Flume's names)."""

    name: str
    part: FlumePart
    options: dict[str, Json]
    place: Place
    places: dict[KeyPath, Place]
    values: Mapping[str, Value]
    channels: list[str] = field(default_factory=list)

    def number(self, prop: str) -> int | None:
        """The number of a property, or its default; None when there is neither."""
        if not prop:
            return None
        found = self.part.find(prop)
        text = self.values[prop].text if prop in self.values else found and found.default
        return int(text) if text and re.fullmatch(r"[-+]?[0-9]{1,18}", text) else None

    def room(self, prop: str) -> int | None:
        """As `number`; what is no number above 0 counts as the default, as in Flume's channels."""
        room, known = self.number(prop), self.part.find(prop)
        if (room is None or room <= 0) and known is not None and known.default:
            return int(known.default)
        return room


class Verdict:
    """Judges one agent; `kept` (section -> name -> part) and `findings` are what comes out."""

    def __init__(self, agent: AgentText, resolver: Resolver, around: Surroundings) -> None:
        self.agent = agent
        self.kept: dict[str, dict[str, Kept]] = {"channels": {}, "sources": {}, "sinks": {}}
        self.groups: dict[str, Group] = {}
        self.findings: list[Finding] = []
        self._resolver = resolver
        self._around = around
        self._filters = AgentFilters(agent, resolver, around)
        self.tls = GlobalTls(around, resolver)
        self._impossible: set[tuple[str, str]] = set()
        """(section, name) of parts that only rayflume cannot run: others may need them."""
        self._comments()
        self._judge()
        self.findings += self._filters.findings

    def _judge(self) -> None:
        for name in self._listed("channels"):
            self._channel(name)
        for name in self._listed("sources"):
            self._source(name)
        for name in self._listed("sinks"):
            self._sink(name)
        for name in self._listed("sinkgroups"):
            self._group(name)
        self._had_channels = bool(self.kept["channels"])
        self._unconnected()
        self._unlisted()
        self._untimed()
        self._open_to_all()
        self._nothing_left()

    # -- lists of names ----------------------------------------------------------------------------

    def _listed(self, folder: str) -> Iterable[str]:
        """The listed names that are described; the others are told as dropped."""
        described = self.agent.sections.get(folder, {})
        listed = self.agent.listed(folder)
        for name in listed:
            if name in described:
                yield name
                continue
            if name.startswith("#"):
                return  # a comment, told as such
            entry = self.agent.lists[folder]
            hint = meant(name, [one for one in described if one not in listed])
            text = f"{name!r} is described nowhere, so it is dropped, as in Flume{hint}"
            finding = Finding(entry.place, Severity.ERROR, entry.key, text, self.agent.name)
            self.findings.append(replace(finding, dropped=f"{folder}.{name}"))

    def _unlisted(self) -> None:
        for folder, sections in self.agent.sections.items():
            listed = dict.fromkeys(self.agent.listed(folder))
            undescribed = [one for one in listed if one not in sections]
            for name, section in sections.items():
                if name not in listed:
                    entry = next(iter(section.entries.values()))
                    hint = meant(name, undescribed)
                    text = (
                        f"{section.where} is described, but not named in "
                        f"`{self.agent.name}.{folder}`, so it is not used; Flume says nothing of it"
                        f"{hint or meant(name, listed)}"
                    )
                    self._tell(Severity.WARNING, entry.key, text, entry.place)

    def _comments(self) -> None:
        entries = [*self.agent.lists.values()]
        for sections in self.agent.sections.values():
            entries += [entry for one in sections.values() for entry in one.entries.values()]
        for entry in entries:
            found = _COMMENT.search(entry.value)
            if found:
                shown = "what begins with `#`" if names_secret(entry.key) else f"`{found[1][:60]}`"
                text = (
                    f"{shown} is part of the value, as in Flume; a comment stands on a line of its "
                    "own"
                )
                self._tell(Severity.WARNING, entry.key, text, entry.place)
            if not entry.value:
                text = "is empty and ignored, as in Flume: the default applies"
                self._tell(Severity.WARNING, entry.key, text, entry.place)

    def _tell(self, severity: Severity, key: str, text: str, place: Place) -> None:
        self.findings.append(Finding(place, severity, key, text, self.agent.name))

    # -- parts -------------------------------------------------------------------------------------

    def _begin(self, section: Section) -> tuple[Translation, dict[str, Value]]:
        values = {
            name: self._resolver.value(entry, self._filters)
            for name, entry in section.entries.items()
            if entry.value
        }
        place = next(iter(section.entries.values())).place
        environ = {**self._around.environ, **self._resolver.exported}
        classes = self._around.java_classes
        return Translation(self.agent.name, section.where, place, environ, classes), values

    def _part(self, folder: str, name: str) -> tuple[Translation, Kept | None]:
        """The part, translated. None when it has no type that is known."""
        section = self.agent.sections[folder][name]
        told, values = self._begin(section)
        kind = values.get("type")
        if kind is None:
            near = nearest_of("type", section.entries)
            hint = f"; did you mean it with {near!r}?" if near else ""
            told.drop("type", f"has no type{hint}; {section.where} is dropped, as in Flume")
            return told, None
        part = told.named(KINDS[folder], kind.text, "type", kind)
        if part is None:
            return told, None
        path: KeyPath = (folder, name)
        for prop, (where, value) in self.tls.missing(part, values).items():
            told.tell(Severity.NOTE, prop, f"is that of {where}, as in Flume", value)
            values[prop] = value
        told.environ = {**told.environ, **self._resolver.exported}
        options = told.options(part, values, path)
        told.places[path] = told.place
        told.places[*path, "type"] = kind.place
        return told, Kept(name, part, options, told.place, told.places, values)

    def _keep(self, folder: str, name: str, told: Translation, kept: Kept | None) -> None:
        self.findings += told.findings
        if told.impossible and not told.dropped:
            self._impossible.add((folder, name))
        if kept is not None and not told.dropped and kept.part.status is Status.DONE:
            self.kept[folder][name] = kept

    def _channel(self, name: str) -> None:
        told, kept = self._part("channels", name)
        if kept is not None and kept.part.capacity:
            room, batch = kept.room("capacity"), kept.room(kept.part.capacity)
            if room is not None and batch is not None and room < batch:
                text = (
                    f"a transaction of {batch} events is more than the capacity of {room}; "
                    f"{told.where} is dropped, as in Flume; raise {told.key}capacity"
                )
                told.drop(kept.part.capacity, text, kept.values.get(kept.part.capacity))
        self._keep("channels", name, told, kept)

    def _valid(self, folder: str = "channels") -> set[str]:
        """Names of parts that are there for others, whether or not rayflume can run them."""
        return {*self.kept[folder], *(name for where, name in self._impossible if where == folder)}

    def _source(self, name: str) -> None:
        told, kept = self._part("sources", name)
        section = self.agent.sections["sources"][name]
        listed = kept.values.get("channels") if kept else None
        if kept is not None and listed is None:
            self._no_channel(told, section, "channels")
        elif kept is not None and listed is not None:
            kept.channels = self._channels_of(told, listed)
            told.places["sources", name, "channels"] = listed.place
            self._capacities(told, kept)
            self._selected(told, kept)
        self._keep("sources", name, told, kept)

    def _no_channel(self, told: Translation, section: Section, key: str) -> None:
        near = nearest_of(key, section.entries)
        hint = f"; did you mean it with {near!r}?" if near else ""
        told.drop(key, f"has no `{key}`{hint}; {told.where} is dropped, as in Flume")

    def _channels_of(self, told: Translation, listed: Value) -> list[str]:
        wanted = list(dict.fromkeys(listed.text.split()))
        known, valid = self.agent.sections.get("channels", {}), self._valid()
        for name in wanted:
            if name.startswith("#"):
                break
            if name not in valid:
                why = "is dropped" if name in known else "is described nowhere"
                hint = "" if name in known else meant(name, [n for n in valid if n not in wanted])
                text = f"the channel {name!r} {why}, so it is left out, as in Flume{hint}"
                told.tell(Severity.WARNING, "channels", text, listed)
        found = [name for name in wanted if name in valid]
        if not found:
            text = f"none of its channels is there; {told.where} is dropped, as in Flume"
            told.drop("channels", text, listed)
        return found

    def _capacities(self, told: Translation, kept: Kept) -> None:
        batch = kept.number(kept.part.batch)
        for name in kept.channels if batch is not None else ():
            channel = self.kept["channels"].get(name)
            room = channel.room(channel.part.capacity) if channel else None
            if channel and batch is not None and room is not None and room < batch:
                at = kept.values.get(kept.part.batch)
                text = (
                    f"a batch of {batch} does not fit into a transaction of the channel {name!r} "
                    f"({channel.part.capacity} {room}); {told.where} is dropped, as in Flume; "
                    f"raise {self.agent.name}.channels.{name}.{channel.part.capacity}"
                )
                told.drop(kept.part.batch, text, at)
                return

    def _selected(self, told: Translation, kept: Kept) -> None:
        """A selector that names a channel its source has not: Flume drops the source."""
        selector = kept.options.get("selector")
        if not isinstance(selector, dict) or told.dropped:
            return
        options = {name: value for name, value in selector.items() if name != "type"}
        plan = PartPlan("selector", kept.name, str(selector.get("type", "")), options)
        try:
            component = component_of(plan, told.environ)
        except ConfigError:
            return  # whoever checks the plan says it
        if isinstance(component, ChecksChannels):
            for text in component.check_channels(kept.channels):
                at = kept.values.get("selector.type")
                told.drop("selector", f"{text}; {told.where} is dropped, as in Flume", at)

    def _sink(self, name: str) -> None:
        told, kept = self._part("sinks", name)
        section = self.agent.sections["sinks"][name]
        channel = kept.values.get("channel") if kept else None
        if kept is not None and channel is None:
            self._no_channel(told, section, "channel")
        elif kept is not None and channel is not None:
            if channel.text not in self._valid():
                known = self.agent.sections.get("channels", {})
                why = "is dropped" if channel.text in known else "is not there"
                hint = meant(channel.text, self._valid())
                text = f"its channel {channel.text!r} {why}{hint}; {told.where} is dropped"
                told.drop("channel", f"{text}, as in Flume", channel)
            kept.channels = [channel.text]
            told.places["sinks", name, "channel"] = channel.place
            self._capacities(told, kept)
        self._keep("sinks", name, told, kept)

    def _group(self, name: str) -> None:
        section = self.agent.sections["sinkgroups"][name]
        told, values = self._begin(section)
        taken = {sink for group in self.groups.values() for sink in group.sinks}
        free = [sink for sink in self.agent.listed("sinks") if sink in self._valid("sinks") - taken]
        group = group_of(told, values, free, name)
        if told.dropped and group is not None:
            for sink in group.sinks:  # Flume drops them with the group
                text = f"sinks.{sink} is dropped with its group, as in Flume"
                told.drop("sinks", text, values.get("sinks"))
                told.findings[-1] = replace(told.findings[-1], dropped=f"sinks.{sink}")
                self.kept["sinks"].pop(sink, None)
        elif group is not None and group.needed:
            self.groups[name] = group
        self.findings += told.findings

    # -- the agent ---------------------------------------------------------------------------------

    def _unconnected(self) -> None:
        if self._impossible:
            return  # who knows what they are connected to
        parts = [*self.kept["sources"].values(), *self.kept["sinks"].values()]
        used = {name for part in parts for name in part.channels}
        for name in [name for name in self.kept["channels"] if name not in used]:
            channel = self.kept["channels"].pop(name)
            text = f"channels.{name} has neither source nor sink and is left out, as in Flume"
            key = f"{self.agent.name}.channels.{name}"
            self._tell(Severity.WARNING, key, text, channel.place)

    def _untimed(self) -> None:
        """Sinks whose path asks for a time, and sources whose events have none."""
        for name, sink in self.kept["sinks"].items():
            if sink.part.type != "hdfs" or not asks_for_time(sink.options):
                continue
            sources = [
                one for one in self.kept["sources"].values() if sink.channels[0] in one.channels
            ]
            untimed = [
                one.name for one in sources
                if not is_timed(one.part.type, one.options.get("interceptors"))
            ]  # fmt: skip
            if sources and not untimed:
                continue
            whose = f" (nothing of {', '.join(untimed)} sets it)" if untimed else ""
            text = (
                f"events without a header `timestamp` in milliseconds{whose} go to the dead "
                "letters, where Flume would try them for ever: add the interceptor timestamp, or "
                "hdfs.useLocalTimeStamp = true"
            )
            place = sink.values["hdfs.path"].place
            key = f"{self.agent.name}.sinks.{name}.hdfs.path"
            self._tell(Severity.NOTE, key, text, place)

    def _open_to_all(self) -> None:
        """Sources that listen to other hosts, all of them in one sentence."""
        sources = self.kept["sources"]
        found = [
            OpenSource(one.name, address_of(one.options), one.part, "ssl" in one.options)
            for one in sources.values()
            if address_of(one.options)
        ]
        for first, text in open_to_all(found):
            kept = sources[first.name]
            at = kept.values.get("bind") or kept.values.get("host")
            key = at.key if at else f"{self.agent.name}.sources.{kept.name}"
            self._tell(Severity.WARNING, key, text, at.place if at else kept.place)

    def _nothing_left(self) -> None:
        fatal = any(finding.fatal for finding in self.findings)
        if fatal or ((self.kept["sources"] or self.kept["sinks"]) and self.kept["channels"]):
            return
        entry = next(iter(self.agent.lists.values()))
        no_part = not (self.kept["sources"] or self.kept["sinks"])
        what = "source and no sink" if no_part and self._had_channels else "channel"
        text = f"no {what} of the agent {self.agent.name!r} is left; Flume would run with nothing"
        finding = Finding(entry.place, Severity.ERROR, self.agent.name, text, self.agent.name)
        self.findings.append(replace(finding, fatal=True))
