"""No property of a part that is done is passed over: another value changes what runs, or is told.

From the tables alone: every property of every part gets a value that differs from Flume's default,
and the part is translated with and without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from rayflume.flume import names, translate
from rayflume.flume.grammar import parse_bytes
from rayflume.flume.names import COMMON, FlumePart, Prop, Status
from rayflume.flume.sections import split
from rayflume.flume.values import Resolver, Surroundings
from rayflume.flume.verdict import Verdict
from rayflume.interfaces import Json

Given = dict[str, str]
PLACEHOLDER = "k1"
FOLDERS = {"source": "sources", "channel": "channels", "sink": "sinks"}
CANDIDATES = [
    "c1", "7", "2000", "true", "false", "gzip", "Text", "/some/where", "a=b", "a:1",
    "UTF-16", "127.0.0.2", "http://127.0.0.1:9/", "200", "TLSv1.2", "0.5", "allow:ip:127.*",
]  # fmt: skip
"""Values to try; the first that can be read and is not the default is taken."""
SAMPLES = {
    "filegroups": PLACEHOLDER,
    "regex": "(a)(b)",
    "pattern": "yyyy",
    "hdfs.path": "/logs/%Y",
    "hdfs.timeZone": "UTC",
}
"""Values of properties that take no others, or make others mean something."""
GIVEN = {"regex_extractor": {"serializers": "s1", "serializers.s1.name": "n"}}
"""Part -> what must be there, although no single property is required."""
FIRST = {"hdfs.fileType": "DataStream"}
"""What others depend on: without it they are tried one by one, which takes long."""
DONE = [part for part in names.all_parts() if part.status is Status.DONE]
ALONE = [part for part in DONE if part.kind in FOLDERS and part.type]


@pytest.fixture(autouse=True)
def _defaults_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which defaults are written out is tested elsewhere, and takes most of the time."""
    monkeypatch.setattr(translate, "pruned", lambda kind, name, options, *_: options)


def with_type(part: FlumePart) -> str:
    return part.types[0] if part.types else part.java_class


def name_of(prop: Prop) -> str:
    """Its name with something in the place of each placeholder."""
    return re.sub(r"<[^<>]+>|(?<![^.])\*$", PLACEHOLDER, prop.name)


def another(prop: Prop) -> str:
    """A value that is not the default."""
    if prop.name in SAMPLES:
        return SAMPLES[prop.name]
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
    """A property with a value, what else must be there, and what may be."""

    name: str
    value: str
    given: Given
    beside: Given = field(default_factory=dict)


def cases(part: FlumePart, start: str, given: Given, outer: Given) -> Iterator[Case]:
    """Every property of a part whose names begin with `start`, and of the parts within it. `outer`:
    what may be given of the parts around it.
    """
    needed = {start + name_of(p): another(p) for p in part.props if p.required and p.option}
    more = {start + name: value for name, value in GIVEN.get(part.name, {}).items()}
    given = {**given, **needed, **more}
    beside = outer | {
        start + name_of(prop): another(prop) for prop in part.props if not prop.nested
    }
    for prop in part.props:
        full = start + name_of(prop)
        if prop.nested:
            yield from nested(prop, start, given, beside)
        elif full in needed:
            yield Case(full, another(prop) + "1", given, beside)
        else:
            yield Case(full, another(prop), given, beside)


def nested(prop: Prop, start: str, given: Given, outer: Given) -> Iterator[Case]:
    for inner in DONE:
        if inner.kind != prop.nested or with_type(inner)[:1] == "<":
            continue
        own = {start + prop.name: "i1" if prop.many else with_type(inner)}
        begin = f"{start}{prop.inner}i1." if prop.many else f"{start}{prop.inner}"
        if prop.many:
            own[f"{begin}type"] = with_type(inner)
            if inner.kind == "regex_extractor_serializer":
                own[f"{begin}name"] = "n"
        yield from cases(inner, begin, {**given, **own}, outer)


def translated(part: FlumePart, given: Given) -> tuple[Json, set[str]]:
    """The options of the part, None when it is dropped, and what is said of it."""
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
    said = {f"{one.key}: {one.text}" for one in verdict.findings if one.key.startswith(start)}
    return (kept.options if kept else None), said


def passed_over(part: FlumePart, found: Iterator[Case]) -> list[str]:
    wrong = []
    for case in found:
        if not any(noticed(part, case, around) for around in surroundings(part, case)):
            wrong.append(f"{case.name} = {case.value}")
    return wrong


def noticed(part: FlumePart, case: Case, around: Given) -> bool:
    """Whether the property changes the options, or something is said of it."""
    before, said_before = translated(part, around)
    after, said = translated(part, {**around, case.name: case.value})
    return after != before or any(case.name in one for one in said - said_before)


def surroundings(part: FlumePart, case: Case) -> Iterator[Given]:
    """What else is given: what must be; all that is off turned on (a key store means nothing
    without `ssl`); every other property; each of them alone.
    """
    yield case.given
    others = {n: v for n, v in case.beside.items() if n != case.name and n not in case.given}
    yield {**{n: v for n, v in FIRST.items() if n in others}, **case.given}
    yield {**{n: v for n, v in others.items() if v == "true"}, **case.given}
    yield {**others, **case.given}
    yield from ({name: value, **case.given} for name, value in others.items())


@pytest.mark.parametrize("part", ALONE, ids=lambda part: f"{part.kind} {part.name}")
def test_no_property_is_passed_over(part: FlumePart) -> None:
    assert passed_over(part, cases(part, "", {}, {})) == []


@pytest.mark.parametrize("prop", [p for p in COMMON["source"] if p.nested], ids=lambda p: p.nested)
def test_no_property_of_what_every_source_has_is_passed_over(prop: Prop) -> None:
    sources = [part for part in ALONE if part.kind == "source"]
    if not sources:
        pytest.skip("no source is in the tables yet")
    needed = {p.name: another(p) for p in sources[0].props if p.required and p.option}
    assert passed_over(sources[0], nested(prop, "", needed, {})) == []


def test_what_is_passed_over_is_noticed() -> None:
    memory = names.lookup("channel", "memory")
    assert memory is not None
    case = Case("capacity", "1000000", {})  # what every smaller number is raised to
    assert passed_over(memory, iter([case])) == ["capacity = 1000000"]
