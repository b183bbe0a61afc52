"""A user's own Java class in a Flume file: the one place that says what becomes of it."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rayflume import component
from rayflume.component import FOLDERS, NestedPart
from rayflume.config.fields import option_name, parts_in
from rayflume.errors import ConfigError
from rayflume.flume import names
from rayflume.flume.names import FlumePart, Prop
from rayflume.flume.readers import Reader, commas, text, words
from rayflume.own_parts import how_to_map

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_PREFIX = "org.apache.flume."
_BUILDER = "$Builder"
_KINDS = {
    "channel_selector": "selector",
    "event_serializer": "serializer",
    "event_deserializer": "deserializer",
}
"""Flume's kind -> rayflume's, where they differ."""
_UNDERSCORE = re.compile(r"_([a-z0-9])")


def own_part(kind: str, type_name: str, classes: Mapping[str, str]) -> FlumePart | None:
    """The part that stands for a Java class in `classes` (Java class -> Python's dotted name, or a
    type of rayflume's).

    `type_name`: the class, or an alias of one of Flume's that is mapped. None when it is not in
    `classes`. Its properties are the options of the Python class: `batch_size` is called
    `batchSize` in the file, or `batch_size`. Raises ConfigError: the Python class is missing or
    wrong, or rayflume has no parts of the kind. Imports its module.
    """
    python = _mapped(kind, type_name, classes)
    if python is None:
        return None
    wanted = _KINDS.get(kind, kind)
    if wanted not in FOLDERS:
        raise ConfigError(f"{type_name} cannot be mapped: {what_instead(kind, type_name)}")
    cls = component.lookup(wanted, python)
    return FlumePart(kind, (), type_name, python, tuple(_properties(cls)))


def what_instead(kind: str, java_class: str) -> str:
    """What to do about a Java class of a user's own."""
    if _KINDS.get(kind, kind) in FOLDERS:
        return how_to_map(java_class)
    spoken = kind.replace("_", " ")
    return (
        f"a Java class cannot run here, and a {spoken} of one's own is not possible; write the "
        "part that names it in Python (docs/own-parts.md), and map that"
    )


def is_own(java_class: str) -> bool:
    """Whether a type of no table is a class of a user's own, and not a misspelt one of Flume's."""
    return "." in java_class and not java_class.startswith(_PREFIX)


def unused(classes: Mapping[str, str], values: Iterable[str]) -> list[str]:
    """The Java classes in `classes` that none of the values of a file names."""
    folded = {value.removesuffix(_BUILDER).lower() for value in values}
    for part in names.all_parts():
        if not folded.isdisjoint(map(str.lower, part.types)):
            folded.add(part.java_class.removesuffix(_BUILDER).lower())
    return [java for java in classes if java.removesuffix(_BUILDER).lower() not in folded]


def _mapped(kind: str, type_name: str, classes: Mapping[str, str]) -> str | None:
    """A class may be mapped without its `$Builder`; an alias means its class."""
    part = names.lookup(kind, type_name)
    meant = {type_name.removesuffix(_BUILDER)}
    if part is not None:
        meant.add(part.java_class.removesuffix(_BUILDER))
    found = [python for java, python in classes.items() if java.removesuffix(_BUILDER) in meant]
    return found[0] if found else None


def _properties(
    model: type[BaseModel], path: tuple[str, ...] = (), called: tuple[str, ...] = ()
) -> Iterator[Prop]:
    """Two names for each option, of which the file's own way comes first."""
    for name, field in model.model_fields.items():
        key = option_name(name, field)
        inner = _inner(field)
        for word in dict.fromkeys((_camel(key), key)):
            names_of_it = ".".join((*called, word))
            option = ".".join((*path, key))
            if inner is not None:
                yield from _properties(inner, (*path, key), (*called, word))
            elif any(isinstance(part, NestedPart) for part in parts_in(field)):
                yield Prop(names_of_it, option=f"{option}.type")
                yield Prop(f"{names_of_it}.<key>", option=f"{option}.<key>")
            elif _is_mapping(field):
                yield Prop(f"{names_of_it}.<key>", option=f"{option}.<key>")
            else:
                yield Prop(names_of_it, option=option, read=_reader(field))


def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """The options within an option."""
    for part in parts_in(field):
        if isinstance(part, NestedPart):
            return None
        if not isinstance(part, type) or typing.get_origin(part) is not None:
            continue
        if issubclass(part, BaseModel):
            return part
    return None


def _is_mapping(field: FieldInfo) -> bool:
    return any(part is dict or typing.get_origin(part) is dict for part in parts_in(field))


def _reader(field: FieldInfo) -> Reader:
    many = {list, tuple, set, frozenset}
    if any(part in many or typing.get_origin(part) in many for part in parts_in(field)):
        return _list
    return text


def _list(value: str) -> Json:
    """Flume writes lists both ways."""
    return commas(value) if "," in value else words(value)
