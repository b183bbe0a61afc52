"""Types and defaults of options in words."""

from __future__ import annotations

import types
import typing
from enum import Enum

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rayflume.component import NestedPart
from rayflume.units import parse_bytes, parse_millis

_WORDS = {
    str: "text", int: "whole number", float: "number", bool: "true or false", bytes: "text",
    dict: "mapping", list: "list", tuple: "list", SecretStr: "secret", SecretBytes: "secret",
    type(None): "null",
}  # fmt: skip
_BYTES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_MILLIS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


def kind_text(field: FieldInfo) -> str:
    """What may be written: `size`, `duration`, `list of text`, `json or csv`; with its limits."""
    word = _marked(field.metadata) or _word(field.annotation)
    limits = []
    for mark in field.metadata:
        if isinstance(mark, Ge) and mark.ge != 0:
            limits.append(f"at least {mark.ge}")
        if isinstance(mark, Gt):
            limits.append(f"more than {mark.gt}")
        if isinstance(mark, Le):
            limits.append(f"at most {mark.le}")
        if isinstance(mark, Lt):
            limits.append(f"less than {mark.lt}")
    return f"{word} ({', '.join(limits)})" if limits else word


def default_text(field: FieldInfo) -> str:
    """The default as one would write it; "" for a required option."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    word = kind_text(field)
    if isinstance(value, int) and not isinstance(value, bool):
        if word.startswith("size"):
            return _scaled(value, _BYTES, "")
        if word.startswith("duration"):
            return _scaled(value, _MILLIS, "ms")
    return _text(value)


def _scaled(value: int, units: tuple[tuple[str, int], ...], smallest: str) -> str:
    for unit, factor in units:
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}{smallest}" if value else "0"


def _text(value: object) -> str:
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, BaseModel):
        fields = {n: v for n, v in value if value.model_fields_set and n in value.model_fields_set}
        return _text(fields) if fields else "see below"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, str):
        return value if value and value == value.strip() and value.isprintable() else repr(value)
    return str(value)


def _marked(marks: typing.Iterable[object]) -> str:
    for mark in marks:
        function = mark.func if isinstance(mark, BeforeValidator) else None
        if function is parse_bytes:
            return "size"
        if function is parse_millis:
            return "duration"
        if isinstance(function, NestedPart):
            return f"{function.kind} (a mapping with `type`)"
    return ""


def _word(annotation: object) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _marked(arguments[1:]) or _word(arguments[0])
    if origin is typing.Literal:
        return " or ".join(_text(one) for one in arguments)
    if origin in (typing.Union, types.UnionType):
        words = [_word(one) for one in arguments if one is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin in (list, tuple, set, frozenset):
        inner = next((one for one in arguments if one is not ...), str)
        return f"list of {_word(inner)}"
    if origin is dict and arguments:
        return f"mapping of {_word(arguments[0])} to {_word(arguments[1])}"
    if annotation is object:
        return "any value"
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return " or ".join(str(one.value) for one in annotation)
        if annotation in _WORDS:
            return _WORDS[annotation]
        return "mapping" if issubclass(annotation, BaseModel) else annotation.__name__.lower()
    return "any value"
