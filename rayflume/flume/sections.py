"""Entries -> agents: the lists of names, and the properties of every part.

A key is `AGENT.KIND` (a list of names) or `AGENT.KIND.NAME.PROPERTY`. Names of agents and parts end
at the first dot, the property may have more. Flume user guide, section Configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rayflume.flume.findings import Finding, Place
from rayflume.flume.grammar import Entry
from rayflume.flume.names import Severity

KINDS = {
    "configfilters": "config_filter",
    "channels": "channel",
    "sources": "source",
    "sinks": "sink",
    "sinkgroups": "sink_group",
}
"""Section -> kind of its parts, in the order in which Flume looks at them."""
_PARTS = ("channels", "sources", "sinks")
_NAMES_MAX = 300


@dataclass(frozen=True)
class Section:
    """The properties of one part, by name, in the order of the file."""

    folder: str
    name: str
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """`sources.r1`."""
        return f"{self.folder}.{self.name}"


@dataclass(frozen=True)
class AgentText:
    """What a file says of one agent. `lists`: section -> its line of names."""

    name: str
    lists: dict[str, Entry] = field(default_factory=dict)
    sections: dict[str, dict[str, Section]] = field(default_factory=dict)

    def listed(self, folder: str) -> list[str]:
        """The names of a section's list, without repetition. Sink groups are parted by blanks."""
        entry = self.lists.get(folder)
        words = entry.value.split(" " if folder == "sinkgroups" else None) if entry else []
        words = [word for word in words if word]
        return list(dict.fromkeys(words))

    def section(self, folder: str, name: str) -> Section | None:
        return self.sections.get(folder, {}).get(name)


def split(entries: Mapping[str, Entry]) -> tuple[dict[str, AgentText], list[Finding]]:
    """The agents of a file by name: all with a list of sources, channels or sinks.

    What belongs to none of them is told, once for what has one cause.
    """
    agents: dict[str, AgentText] = {}
    strange: dict[tuple[str, str], list[Entry]] = {}
    asked = "\n".join(entry.value for entry in entries.values() if "${" in entry.value)
    findings: list[Finding] = []
    for key, entry in entries.items():
        agent, dot, rest = key.partition(".")
        folder, _, inner = rest.partition(".")
        if folder not in KINDS and (f"${{{key}}}" in asked or f"${{{key}:-" in asked):
            continue  # a value for other keys
        if not (dot and agent and folder):
            findings.append(_loose(entry))
        elif folder not in KINDS:
            strange.setdefault((agent, folder), []).append(entry)
        else:
            text = agents.setdefault(agent, AgentText(agent))
            findings += _sorted_in(text, folder, inner, entry)
    real = {name: one for name, one in agents.items() if any(map(one.lists.get, _PARTS))}
    for name, one in agents.items():
        if name not in real and next(_entries(one), None):
            findings.append(_no_agent(one, real))
    findings += [_unknown_kind(*where, found, real) for where, found in strange.items()]
    return real, findings


def _sorted_in(text: AgentText, folder: str, inner: str, entry: Entry) -> Iterator[Finding]:
    if not inner:
        text.lists[folder] = entry
        return
    name, _, prop = inner.partition(".")
    if not name or not prop:
        hint = f"write {text.name}.{folder}.{name or 'NAME'}.PROPERTY"
        yield Finding(
            entry.place,
            Severity.WARNING,
            entry.key,
            f"has no property after the name and is ignored, as in Flume; {hint}",
            text.name,
        )
        return
    sections = text.sections.setdefault(folder, {})
    sections.setdefault(name, Section(folder, name)).entries[prop] = entry


def _loose(entry: Entry) -> Finding:
    text = "belongs to no agent and is ignored, as in Flume; a key is AGENT.sources.NAME.PROPERTY"
    return Finding(entry.place, Severity.WARNING, entry.key, text)


def _no_agent(one: AgentText, real: Iterable[str]) -> Finding:
    entry = next(_entries(one))
    hint = meant(one.name, real)
    text = (
        f"the agent {one.name!r} lists no sources, channels or sinks, so nothing of it is used"
        f"{hint}"
    )
    return Finding(entry.place, Severity.WARNING, entry.key, text, one.name)


def _unknown_kind(
    agent: str, folder: str, found: list[Entry], real: Mapping[str, AgentText]
) -> Finding:
    more = f" (and {len(found) - 1} more keys)" if len(found) > 1 else ""
    text = f"{folder!r} is no section of an agent{more} and is ignored, as in Flume"
    text += meant(folder, KINDS)
    owner = agent if agent in real else ""
    return Finding(found[0].place, Severity.WARNING, found[0].key, text, owner)


def _entries(one: AgentText) -> Iterator[Entry]:
    yield from one.lists.values()
    for sections in one.sections.values():
        for section in sections.values():
            yield from section.entries.values()


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name nearest to `name`, "" when none is near.

    A known name that only has a prefix more, or differs in case or hyphens, is the nearest.
    """
    nearest = nearest_of(name, known)
    return f"; did you mean {nearest!r}?" if nearest else ""


def nearest_of(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, "" when none is near, or among too many to tell."""
    known = list(known)
    if len(known) > _NAMES_MAX:
        return ""
    plain = _plain(name)
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(_plain(one), one)
    for one, full in folded.items():
        if one.rpartition(".")[2] == plain or one == plain.rpartition(".")[2]:
            return full
    close = difflib.get_close_matches(plain, list(folded), n=1, cutoff=0.7)
    close += [one for one in folded if _one_letter_off(plain, one)]
    return folded[close[0]] if close else ""


def _one_letter_off(name: str, other: str) -> bool:
    """Of short names: `al` for `a1`. `c1` and `c2` are two names that are both meant."""
    if len(name) != len(other) or len(name) > 4:
        return False
    off = [(a, b) for a, b in zip(name, other, strict=True) if a != b]
    return len(off) == 1 and not (off[0][0].isdigit() and off[0][1].isdigit())


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def duplicates(entries: Iterable[Entry]) -> Iterator[Finding]:
    """Keys given twice in one file: a note when the values are one, else a warning."""
    for entry in entries:
        if entry.earlier is None:
            continue
        place, value = entry.earlier
        same = value == entry.value
        text = f"is given twice, first in line {place.line}; the last counts"
        severity = Severity.NOTE if same else Severity.WARNING
        yield Finding(entry.place, severity, entry.key, text, entry.key.partition(".")[0])


def no_agent_at_all(entries: Mapping[str, Entry], file: str) -> str:
    """Why a file without any agent is none, for people."""
    if not entries:
        return f"{file}: is empty; a Flume file lists AGENT.sources, AGENT.channels, AGENT.sinks"
    if any(key.startswith("log4j.") for key in entries):
        return f"{file}: is a configuration of log4j, not of an agent"
    if any(key == "client.type" or key == "hosts" or key.startswith("hosts.") for key in entries):
        return f"{file}: is a configuration of Flume's RPC client, not of an agent"
    place: Place = next(iter(entries.values())).place
    return f"{place}: no agent is described; a Flume file lists AGENT.sources, AGENT.channels, ..."
