"""Which of Flume's defaults must be written out: those where rayflume's own default is another."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rayflume.component import FOLDERS, Component, lookup
from rayflume.config import resolve
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

KeyPath = tuple[str | int, ...]
_OF_PLAN = ("interceptors", "selector")
"""Keys of a source beside its options, which belong to the plan and not to its class."""


def pruned(
    kind: str,
    type_name: str,
    options: dict[str, Json],
    defaults: Sequence[KeyPath],
    environ: Mapping[str, str],
) -> dict[str, Json]:
    """The options without those of the paths in `defaults` that change nothing.

    Where the class is not there or refuses the options all of them stay; whoever checks the whole
    plan says what is wrong.
    """
    if kind not in FOLDERS or not type_name:
        return options
    try:
        cls = lookup(kind, type_name)
        beside = _OF_PLAN if kind == "source" else ()
        wanted = _model(cls, options, environ, beside)
    except (ConfigError, ValidationError):
        return options
    kept = copy.deepcopy(options)
    for path in sorted(defaults, key=len, reverse=True):
        tried = copy.deepcopy(kept)
        if not _removed(tried, path):
            continue
        try:
            if _model(cls, tried, environ, beside) == wanted:
                kept = tried
        except ValidationError:
            continue
    return kept


def _model(
    cls: type[Component],
    options: Mapping[str, Json],
    environ: Mapping[str, str],
    beside: Sequence[str],
) -> Component:
    own = {name: value for name, value in options.items() if name not in beside}
    return cls.model_validate(resolve(own, environ))


def _removed(options: Json, path: KeyPath) -> bool:
    """Take the path out, and what is empty then around it."""
    chain: list[tuple[dict[str, Json], str]] = []
    for key in path:
        if isinstance(options, list) and isinstance(key, int) and key < len(options):
            options = options[key]
            chain.clear()  # an item of a list stays, empty or not
        elif isinstance(options, dict) and str(key) in options:
            chain.append((options, str(key)))
            options = options[str(key)]
        else:
            return False
    for holder, key in reversed(chain):
        if holder is chain[-1][0] or holder[key] == {}:
            del holder[key]
    return True
