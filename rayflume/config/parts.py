"""One part's options -> its Component; what pydantic finds becomes sentences for people.

A sentence shows the value as it stands in the file, never what a variable expanded to, and never
the value of a secret or of an unknown option (which may be a misspelt secret).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rayflume.component import Component, lookup, nearest
from rayflume.config.environment import refers, resolve, resolve_known
from rayflume.config.fields import is_secret, model_of, option_name, option_names
from rayflume.config.plan import PartPlan
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


KeyPath = tuple[str | int, ...]
_HIDDEN = "***"
_USER_IN_URL = re.compile(r"://[^/@\s]*@")
_WANTED = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text",
    "list": "a list", "tuple": "a list", "set": "a list", "dict": "a mapping",
    "mapping": "a mapping", "model": "a mapping", "dataclass": "a mapping", "bytes": "text",
    "path": "a path", "url": "a URL", "finite": "a finite number", "none": "empty",
}  # fmt: skip
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"), "less_than": ("less than", "lt"),
    "multiple_of": ("a multiple of", "multiple_of"),
}  # fmt: skip


def component_of(part: PartPlan, environ: Mapping[str, str] | None = None) -> Component:
    """The options of a part with its variables resolved here; `.build(context)` makes the part.

    Raises ConfigError with all `problems`.
    """
    cls = lookup(part.kind, part.type)
    resolved = resolve(part.options, environ)
    try:
        return cls.model_validate(resolved)
    except ValidationError as error:
        found = explain(error, Given(cls, part.options, resolved))
        problems = tuple(f"{part.where}{dotted(path)}: {text}" for path, text in found)
        raise ConfigError("\n".join(problems), problems=problems) from None


def dotted(path: KeyPath) -> str:
    """`("roll", "bytes", 0)` -> `.roll.bytes[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)


@dataclass(frozen=True)
class Given:
    """What a validation was given: the class, the options as written, and resolved.

    `also`: keys that are fine here although they are no options of the class.
    """

    cls: type[BaseModel]
    written: Mapping[str, Json]
    resolved: Mapping[str, Json]
    also: tuple[str, ...] = ()

    @cached_property
    def masks(self) -> dict[str, str]:
        """Text that must not show -> what shows instead; the longest first."""
        found = dict(_masks(dict(self.written), dict(self.resolved), self.cls))
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def masked(self, text: str) -> str:
        for hidden, shown in self.masks.items():
            text = text.replace(repr(hidden), repr(shown))
            if len(hidden) >= 4:
                text = text.replace(hidden, shown)
        return text


def _masks(
    written: Json, resolved: Json, model: type[BaseModel] | None, secret: bool = False
) -> Iterator[tuple[str, str]]:
    if isinstance(written, dict) and isinstance(resolved, dict):
        for name, item in written.items():
            inner = model_of(model, name, item)
            hidden = secret or is_secret(model, name)
            yield from _masks(item, resolved.get(name), inner, hidden)
    elif isinstance(written, list) and isinstance(resolved, list):
        for item, value in zip(written, resolved, strict=False):
            yield from _masks(item, value, model, secret)
    elif isinstance(written, str) and isinstance(resolved, str) and resolved:
        if refers(written):
            yield resolved, written
        elif secret:
            yield resolved, _HIDDEN


def explain(error: ValidationError, given: Given) -> list[tuple[KeyPath, str]]:
    """(path in the options, sentence) for every error; one for all branches of a union."""
    found: dict[KeyPath, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = _written_path(detail, given.written)
        texts = found.setdefault(path, [])
        text = given.masked(_sentence(detail, path, given))
        if text not in texts:
            texts.append(text)
    return [(path, "; or ".join(texts)) for path, texts in found.items()]


def _written_path(detail: ErrorDetails, written: Mapping[str, Json]) -> KeyPath:
    """The location without what pydantic adds (names of union branches, `[key]`)."""
    path: list[str | int] = []
    value: Json = dict(written)
    for key in detail["loc"]:
        if isinstance(value, dict) and str(key) in value:
            value = value[str(key)]
            path.append(str(key))
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
            path.append(key)
    if detail["type"] == "missing":
        path.append(str(detail["loc"][-1]))
    return tuple(path)


def _at(value: Json, path: KeyPath) -> Json:
    for key in path:
        if isinstance(value, dict):
            value = value.get(str(key))
        elif isinstance(value, list) and isinstance(key, int):
            value = value[key]
    return value


def _model_at(given: Given, path: KeyPath) -> type[BaseModel] | None:
    model: type[BaseModel] | None = given.cls
    for index, key in enumerate(path):
        if isinstance(key, str):
            model = model_of(model, key, _at(dict(given.written), path[: index + 1]))
    return model


def _sentence(detail: ErrorDetails, path: KeyPath, given: Given) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    written = _at(dict(given.written), path)
    secret = any(
        isinstance(key, str) and is_secret(_model_at(given, path[:index]), key)
        for index, key in enumerate(path)
    )
    shown = _HIDDEN if secret else _show(written)
    if kind == "extra_forbidden":
        model = _model_at(given, path[:-1])
        also = given.also if len(path) == 1 else ()
        return f"unknown option{nearest(str(path[-1]), [*option_names(model), *also])}"
    if kind == "missing":
        return _missing(_model_at(given, path[:-1]), str(path[-1]))
    if kind in ("literal_error", "enum"):
        choices = [choice.strip("'") for choice in _choices(str(context.get("expected", "")))]
        return f"{shown} is not known{nearest(str(written), choices)}"
    if kind in _BOUNDS:
        word, limit = _BOUNDS[kind]
        return f"{shown} is out of range: it must be {word} {context.get(limit)}"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted and kind.endswith(("_type", "_parsing", "_from_float", "_attributes_type", "number")):
        quotes = kind == "string_type" and isinstance(written, int | float)
        return f"{shown} is not {wanted}" + ("; put it in quotes" if quotes else "")
    if kind in ("string_too_short", "too_short") and not written:
        return "must not be empty"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:] if kind not in ("value_error", "part") else message
    if isinstance(written, dict | list) or secret or _bare(written) in message:
        return message
    # A message may begin with its verb, as in "is no URL".
    colon = "" if message.startswith(("is ", "has ")) else ":"
    return message if kind == "part" else f"{shown}{colon} {message}"


def _missing(model: type[BaseModel] | None, name: str) -> str:
    fields = model.model_fields if model else {}
    field = next((f for n, f in fields.items() if option_name(n, f) == name), None)
    doc = (field.description or "").split(". ")[0].rstrip(".") if field else ""
    text = f"is missing: {doc[:1].lower()}{doc[1:]}" if doc else "is missing"
    if field and field.examples:
        text += f", for example `{name}: {_bare(field.examples[0])}`"
    return text


def _choices(expected: str) -> list[str]:
    return [part for chunk in expected.split(", ") for part in chunk.split(" or ") if part]


def _bare(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show(value: Json) -> str:
    text = _USER_IN_URL.sub("://...@", repr(value)) if isinstance(value, str) else _bare(value)
    if value is None:
        return "an empty value"
    return text if len(text) <= 80 else f"{text[:76]} ..."


def resolved_text(text: Json, environ: Mapping[str, str] | None) -> Json:
    """A structural value (a name, a type) resolved as far as its variables are set."""
    return resolve_known({"": text}, environ)[""]
