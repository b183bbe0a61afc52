"""Every component and every property of Flume 1.11 is in a table, honoured or refused.

The list of all of them is `flume-components.yaml`, which lies beside the project; without it the
walk is skipped. FLUME_COMPONENTS may name it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from rayflume.component import FOLDERS, NestedPart, lookup
from rayflume.config.fields import option_name, parts_in
from rayflume.flume import names
from rayflume.flume.names import FlumePart, Prop, Status

DESCRIBED = {"80% of the JVM maximum heap", "local time"}
"""Defaults that describe a value instead of being one: a table may leave them out."""
OF_THE_PLAN = ("agent", "sink_group")
KIND = {"channel_selector": "selector"}
"""Flume's kind -> rayflume's, where they differ."""


@dataclass(frozen=True)
class Known:
    """One component of the list."""

    kind: str
    types: tuple[str, ...]
    java_class: str
    properties: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        return f"{self.kind} {self.types[0] if self.types else self.java_class}".rstrip()

    def parts(self) -> list[FlumePart | None]:
        """What the tables have under each of its names."""
        found = [names.lookup(self.kind, name) for name in (*self.types, self.java_class) if name]
        if not self.types and not self.java_class:
            found = [part for part in names.all_parts() if part.kind == self.kind]
        return list(found)


def listed() -> Path | None:
    """The list of components, where it is."""
    named = os.environ.get("FLUME_COMPONENTS")
    root = Path(__file__).parents[3]
    places = [place / "shared/reference/flume-components.yaml" for place in root.parents]
    return next((p for p in ([Path(named)] if named else places) if p.is_file()), None)


def components() -> list[Known]:
    path = listed()
    if path is None:
        return []
    found = yaml.safe_load(path.read_text("utf-8"))["components"]
    return [
        Known(one["kind"], tuple(one["types"]), one["class"] or "", tuple(one["properties"]))
        for one in found
    ]


ALL = components()
pytestmark = pytest.mark.skipif(
    not ALL, reason="flume-components.yaml is not beside the project; FLUME_COMPONENTS may name it"
)
each = pytest.mark.parametrize("known", ALL, ids=lambda known: known.name)


def part_of(known: Known) -> FlumePart:
    """Its part in the tables."""
    found = known.parts()
    assert found, known.name
    part = found[0]
    assert part is not None, f"{known.name} is in no table"
    return part


def test_the_list_is_whole() -> None:
    assert len(ALL) > 100


@each
def test_each_component_is_in_a_table_under_all_its_names(known: Known) -> None:
    part = part_of(known)
    assert all(found is part for found in known.parts())
    assert part.status is Status.DONE or len(part.why.split()) >= 6, "say what to use instead"


@each
def test_each_property_is_there_with_its_default(known: Known) -> None:
    part, wrong = part_of(known), []
    for one in known.properties:
        name, default = one["name"], as_text(one["default"])
        prop = part.find(name)
        if prop is None:
            wrong.append(f"{name} is not in the table")
        elif name == "type" or not own(prop, name):
            continue  # `type` is handled where the plan is made; the other is a nested part's
        elif default in DESCRIBED and prop.default is None:
            assert prop.required == one["required"]
        elif (prop.default, prop.required) != (default, one["required"]):
            found = f"{prop.default!r}, required {prop.required}"
            wrong.append(f"{name}: {default!r}, required {one['required']}; in the table {found}")
    assert wrong == []


@each
def test_each_property_is_honoured_or_refused_with_a_sentence(known: Known) -> None:
    part, wrong = part_of(known), []
    for one in known.properties:
        prop = part.find(one["name"])
        assert prop is not None
        if prop.option and part.status is Status.DONE:
            if not any(honours(part, cls, path) for cls, path in targets(part, prop)):
                wrong.append(f"{one['name']}: there is no option {prop.option!r}")
        elif not prop.nested and len(prop.why.split()) < 3:
            wrong.append(f"{one['name']}: no sentence says why it is not honoured")
    assert wrong == []


def honours(part: FlumePart, cls: type[BaseModel], path: tuple[str, ...]) -> bool:
    """Whether the option is there; `finish` may join several properties into one."""
    return leads_somewhere(cls, path) or (
        part.finish is not None and len(path) > 1 and leads_somewhere(cls, path[:1])
    )


def own(prop: Prop, name: str) -> bool:
    """Whether the property is the one of that name, and not a nested part that has it."""
    return prop.match(name) is not None or prop.name == name


def as_text(default: object) -> str | None:
    if default is None or isinstance(default, str):
        return default
    return str(default).lower() if isinstance(default, bool) else str(default)


# -- whether an option is there --------------------------------------------------------------------


def targets(part: FlumePart, prop: Prop) -> Iterator[tuple[type[BaseModel], tuple[str, ...]]]:
    """(class, path in it) where the option may be: in its own class, or, of a nested part that
    rayflume has as options of the part around it, there.
    """
    if (
        part.types == ("<custom class>",)
        or part.kind in OF_THE_PLAN
        or prop in names.COMMON.get(part.kind, ())
    ):
        yield Anything, ()
        return
    keys = tuple(prop.option.split("."))
    kind = KIND.get(part.kind, part.kind)
    if part.type and kind in FOLDERS:
        yield lookup(kind, part.type), keys
        return
    for around in names.all_parts():
        for outer in around.known:
            if outer.name.endswith(f".{prop.name}") and outer.option == prop.option:
                yield from ((cls, keys) for cls in classes(around))
            elif outer.nested == part.kind and around.status is Status.DONE:
                before = tuple(outer.option.split(".")) if outer.option else ()
                yield from ((cls, (*before, *keys)) for cls in classes(around))


def classes(part: FlumePart) -> list[type[BaseModel]]:
    kind = KIND.get(part.kind, part.kind)
    return [lookup(kind, part.type)] if part.type and kind in FOLDERS else []


class Anything(BaseModel):
    """Stands for what has no class: the plan, and classes of users."""


def leads_somewhere(cls: type[BaseModel], path: tuple[str, ...]) -> bool:
    """Whether a configuration may have these keys, one in the other."""
    if not path or cls is Anything:
        return True
    fields = {option_name(name, field): field for name, field in cls.model_fields.items()}
    field = fields.get(path[0])
    if field is None:
        return False
    if len(path) == 1:
        return True
    inner = list(parts_in(field))
    if any(isinstance(one, NestedPart) or getattr(one, "__origin__", one) is dict for one in inner):
        return True
    models = [
        one
        for one in inner
        if isinstance(one, type) and not hasattr(one, "__origin__") and issubclass(one, BaseModel)
    ]
    return any(leads_somewhere(model, path[1:]) for model in models)


def test_an_option_that_is_not_there_is_noticed() -> None:
    memory = lookup("channel", "memory")
    assert leads_somewhere(memory, ("capacity", "events"))
    assert not leads_somewhere(memory, ("capacity", "rows"))
    assert not leads_somewhere(memory, ("capacitee",))
    parquet = lookup("sink", "parquet")
    assert leads_somewhere(parquet, ("format", "schema"))
    assert leads_somewhere(parquet, ("roll", "age"))
