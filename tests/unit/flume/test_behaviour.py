"""No property of a part that is done is passed over: another value changes what runs, or is told.

From the tables alone: every property of every part gets a value that differs from Flume's default,
and the part is translated with and without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from rayflume.flume import names
from rayflume.flume.grammar import parse_bytes
from rayflume.flume.names import COMMON, FlumePart, Prop, Status
from rayflume.flume.sections import split
from rayflume.flume.values import Resolver, Surroundings
from rayflume.flume.verdict import Verdict
from rayflume.interfaces import Json

Given = Mapping[str, str]
FOLDERS = {"source": "sources", "channel": "channels", "sink": "sinks"}
CANDIDATES = [
    "k1", "7", "2000", "true", "false", "c1", "/some/where", "(a)(b)", "yyyy", "a=b", "a:1",
    "UTF-16", "127.0.0.2", "http://127.0.0.1:9/", "200", "TLSv1.2", "0.5", "allow:ip:127.*",
]  # fmt: skip
"""Values to try; the first that can be read and is not the default is taken."""
DONE = [part for part in names.all_parts() if part.status is Status.DONE]
ALONE = [part for part in DONE if part.kind in FOLDERS and part.type]


def with_type(part: FlumePart) -> str:
    return part.types[0] if part.types else part.java_class


def name_of(prop: Prop) -> str:
    """Its name with something in the place of each placeholder."""
    return re.sub(r"<[^<>]+>|(?<![^.])\*$", "k1", prop.name)


def another(prop: Prop) -> str:
    """A value that is not the default."""
    choices = list(CANDIDATES)
    default = None if prop.default is None else prop.read(prop.default)
    for value in choices:
        try:
            if prop.read(value) != default:
                return value
        except ValueError as error:
            listed = re.search(r"is none of (.*)", str(error))
            choices += (
                [one for one in listed[1].split(", ") if one not in choices] if listed else []
            )
    raise AssertionError(f"no value of {CANDIDATES} can be read as {prop.name}")


@dataclass(frozen=True)
class Case:
    """A property with a value, and what else must be there."""

    name: str
    value: str
    given: Given


def cases(part: FlumePart, start: str, given: Given) -> Iterator[Case]:
    """Every property of a part whose names begin with `start`, and of the parts within it."""
    needed = {start + name_of(p): another(p) for p in part.props if p.required and p.option}
    given = {**given, **needed}
    for prop in part.props:
        full = start + name_of(prop)
        if prop.nested:
            yield from nested(prop, start, given)
        elif full in needed:
            yield Case(full, another(prop) + "1", given)
        else:
            yield Case(full, another(prop), given)


def nested(prop: Prop, start: str, given: Given) -> Iterator[Case]:
    for inner in DONE:
        if inner.kind != prop.nested or with_type(inner)[:1] == "<":
            continue
        own = {start + prop.name: "i1" if prop.many else with_type(inner)}
        begin = f"{start}{prop.inner}i1." if prop.many else f"{start}{prop.inner}"
        if prop.many:
            own[f"{begin}type"] = with_type(inner)
            if inner.kind == "regex_extractor_serializer":
                own[f"{begin}name"] = "n"
        yield from cases(inner, begin, {**given, **own})


def translated(part: FlumePart, given: Given) -> tuple[Json, set[str]]:
    """The options of the part, None when it is dropped, and the keys that something is said of."""
    folder = FOLDERS[part.kind]
    lines = [f"a.{folder} = p", f"a.{folder}.p.type = {with_type(part)}"]
    if part.kind == "channel":  # one that nobody uses is left out
        lines += ["a.sinks = s", "a.sinks.s.type = null", "a.sinks.s.channel = p"]
    else:
        key = "channel" if part.kind == "sink" else "channels"
        lines += ["a.channels = c1", "a.channels.c1.type = memory", f"a.{folder}.p.{key} = c1"]
        lines += [f"a.channels.c1.{name} = 100000" for name in ("capacity", "transactionCapacity")]
    lines += [f"a.{folder}.p.{name} = {value}" for name, value in given.items()]
    text = parse_bytes("\n".join(lines).encode(), "flume.conf")
    agents, _ = split(text.entries)
    around = Surroundings({})
    verdict = Verdict(agents["a"], Resolver(text.entries, around), around)
    kept = verdict.kept[folder].get("p")
    start = f"a.{folder}.p."
    said = {one.key.removeprefix(start) for one in verdict.findings if one.key.startswith(start)}
    return (kept.options if kept else None), said


def passed_over(part: FlumePart, found: Iterator[Case]) -> list[str]:
    wrong = []
    for case in found:
        before, _ = translated(part, case.given)
        after, said = translated(part, {**case.given, case.name: case.value})
        if after == before and case.name not in said:
            wrong.append(f"{case.name} = {case.value}")
    return wrong


@pytest.mark.parametrize("part", ALONE, ids=lambda part: f"{part.kind} {part.name}")
def test_no_property_is_passed_over(part: FlumePart) -> None:
    assert passed_over(part, cases(part, "", {})) == []


@pytest.mark.parametrize("prop", [p for p in COMMON["source"] if p.nested], ids=lambda p: p.nested)
def test_no_property_of_what_every_source_has_is_passed_over(prop: Prop) -> None:
    sources = [part for part in ALONE if part.kind == "source"]
    if not sources:
        pytest.skip("no source is in the tables yet")
    needed = {p.name: another(p) for p in sources[0].props if p.required and p.option}
    assert passed_over(sources[0], nested(prop, "", needed)) == []


def test_what_is_passed_over_is_noticed() -> None:
    memory = names.lookup("channel", "memory")
    assert memory is not None
    case = Case("capacity", "100", {})  # Flume's default
    assert passed_over(memory, iter([case])) == ["capacity = 100"]
