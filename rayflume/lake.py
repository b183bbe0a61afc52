"""From the `path` of a lake and its `storage` options to a working Storage.

A sink may not import the storage folder; it comes here, and the path's scheme names the type:
`s3://lake/clicks` is `storage/s3.py`, a plain path is `storage/local.py`. Only that module is
imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from rayflume.component import Component, Context, lookup, nearest, options_of
from rayflume.errors import OptionError

if TYPE_CHECKING:
    from rayflume.interfaces import Storage

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TYPES = {"": "local", "file": "local", "s3a": "s3", "s3n": "s3", "viewfs": "hdfs"}
"""Schemes that are not the name of their type; Hadoop users write `s3a://`."""


def storage_type(path: str) -> str:
    """The storage type that a lake's path names: `s3://lake/clicks` -> `s3`, `/lake` -> `local`."""
    match = _SCHEME.match(path)
    scheme = match[1].lower() if match else ""
    return _TYPES.get(scheme, scheme)


def storage_options(path: str, options: Mapping[str, object]) -> Component:
    """The checked options of the storage that `path` names; touches nothing, so `validate` can ask.

    Raises OptionError for every wrong option at once, and ConfigError for an unknown scheme. No
    text has a secret in it.
    """
    cls = lookup("storage", storage_type(path))
    if "path" in options:
        raise OptionError("storage.path: the place of the lake is the option `path` of the sink")
    try:
        return cls.model_validate({**options, "path": path})
    except ValidationError as error:
        problems = tuple(_problem(cls, dict(entry)) for entry in error.errors(include_url=False))
        raise OptionError("; ".join(problems), problems=problems) from None


def storage_for(path: str, options: Mapping[str, object], context: Context) -> Storage:
    """The storage below `path`, not yet contacted: `check` does that.

    Raises OptionError and ConfigError as `storage_options` does.
    """
    return cast("Storage", storage_options(path, options).build(context))


def shown_path(path: str, context: Context) -> str:
    """The path of a lake as people look for it: a local one whole."""
    return str(context.path(path)) if storage_type(path) == "local" and "://" not in path else path


def _problem(cls: type[Component], entry: dict[str, object]) -> str:
    """One sentence for one of pydantic's findings: where, what is wrong, and the value if it may be
    shown.
    """
    where = [str(step) for step in cast("tuple[object, ...]", entry["loc"])]
    name = where[0] if where else ""
    fields = options_of(cls)
    place = name if name == "path" else ".".join(["storage", *where])
    if entry["type"] == "extra_forbidden":
        known = [field for field in fields if field != "path"]
        return f"{place}: no such option of {cls.type_name!r}{nearest(name, known)}"
    text = str(entry["msg"]).removeprefix("Value error, ")
    secret = name in fields and "SecretStr" in str(fields[name].annotation)
    if not name or secret or "@" in str(entry["input"]):  # a URL may have credentials before its @
        return f"{place}: {text}"
    return f"{place}: {text} (it is {entry['input']!r})"
