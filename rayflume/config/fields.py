"""What a part's class declares: names of options, models nested in them, secrets.

Shared by the sentences about errors and by the documentation of the options.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, BeforeValidator, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from rayflume.component import NestedPart, lookup
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_SECRET_WORD = re.compile(
    r"passw|secret|token|credential|passphrase|jaas|(access|account|api|private)_?key",
    re.IGNORECASE,
)


def option_name(name: str, field: FieldInfo) -> str:
    """The name in the file: the alias if there is one (a name that Python or pydantic needs)."""
    return field.alias or name


def option_names(model: type[BaseModel] | None) -> list[str]:
    """Names of all options of a model, as written in the file; of nothing: none."""
    return [option_name(name, field) for name, field in model.model_fields.items()] if model else []


def model_of(model: type[BaseModel] | None, name: str, value: Json) -> type[BaseModel] | None:
    """The model that describes the value of option `name`, if that is a mapping of options."""
    field = _field(model, name)
    if field is None:
        return None
    part = next((p for p in parts_in(field) if isinstance(p, NestedPart)), None)
    if part is not None:
        return _part_model(part, value)
    return next((p for p in parts_in(field) if isinstance(p, type) and _is_model(p)), None)


def names_secret(name: str) -> bool:
    """Whether a value under this name, of an option or of one of Flume's properties, must never
    show.
    """
    return bool(_SECRET_WORD.search(name))


def is_secret(model: type[BaseModel] | None, name: str) -> bool:
    """Whether the option's value must never show: by its type, or by its name in a free mapping."""
    field = _field(model, name)
    if names_secret(name):
        return True
    return field is not None and any(p in (SecretStr, SecretBytes) for p in parts_in(field))


def parts_in(field: FieldInfo) -> Iterator[object]:
    """All types and validators that an option's type is made of, from the outside in."""
    for mark in field.metadata:
        yield mark.func if isinstance(mark, BeforeValidator) else mark
    yield from _walk(field.annotation)


def _walk(annotation: object) -> Iterator[object]:
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *marks = typing.get_args(annotation)
        for mark in marks:
            yield mark.func if isinstance(mark, BeforeValidator) else mark
        yield from _walk(inner)
        return
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _walk(argument)


def _field(model: type[BaseModel] | None, name: str) -> FieldInfo | None:
    if model is None:
        return None
    return next((f for n, f in model.model_fields.items() if option_name(n, f) == name), None)


def _is_model(found: type) -> bool:
    # `list[Model]` is a type for isinstance and none for issubclass
    return typing.get_origin(found) is None and issubclass(found, BaseModel)


def _part_model(part: NestedPart, value: Json) -> type[BaseModel] | None:
    type_name = value.get("type", part.default) if isinstance(value, Mapping) else value
    try:
        return _looked_up(part.kind, str(type_name))
    except ConfigError:
        return None


@lru_cache
def _looked_up(kind: str, type_name: str) -> type[BaseModel]:
    return lookup(kind, type_name)
