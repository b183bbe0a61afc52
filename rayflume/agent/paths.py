"""Local paths of a plan: which of its options name files or directories of the host.

An option says so itself (component.LOCAL_PATH). On a cluster relative ones are refused: they would
start wherever a part happens to run, in a job in a folder that vanishes with the session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from rayflume.component import lookup
from rayflume.config import AgentPlan, PartPlan, is_durable
from rayflume.config.environment import refers, resolve_known
from rayflume.config.fields import model_of, option_name
from rayflume.errors import ConfigError
from rayflume.interfaces import Json

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def relative_paths(plan: AgentPlan) -> list[tuple[PartPlan | None, str, str]]:
    """(part, option, path) of every relative local path; the part is None for `state_dir`.

    A variable that is not set here is taken for an absolute path: only the host knows it.
    """
    found: list[tuple[PartPlan | None, str, str]] = []
    for part in plan.parts():
        for name, text in _local_paths(part):
            if _relative(text):
                found.append((part, name, text))
    in_memory = [part for part in plan.channels.values() if not is_durable(part)]
    if in_memory and _relative(_resolved(plan.state_dir)):
        found.append((None, "state_dir", plan.state_dir))
    return found


def refuse_relative(plan: AgentPlan) -> None:
    """Raises ConfigError naming every relative local path of the plan, with its line."""
    problems = tuple(
        f"{plan.file}:{part.line if part else plan.line}: "
        f"{f'{part.where}.' if part else ''}{name}: {text!r} is a relative path; on a cluster it "
        "would start at a place nobody knows: write it from / on"
        for part, name, text in relative_paths(plan)
    )
    if problems:
        raise ConfigError("\n".join(problems), problems=problems)


def _local_paths(part: PartPlan) -> Iterator[tuple[str, str]]:
    return _paths_in(lookup(part.kind, part.type), resolve_known(dict(part.options)))


def _paths_in(model: type[BaseModel], options: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        written, extra = option_name(name, field), field.json_schema_extra
        value = options.get(written)
        inner = model_of(model, written, value)
        if isinstance(extra, dict) and extra.get("local_path"):
            for text in _texts(value):
                yield written, text
        elif inner is not None and isinstance(value, dict):
            for below, text in _paths_in(inner, value):
                yield f"{written}.{below}", text


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _resolved(text: str) -> str:
    return str(resolve_known({"": text})[""])


def _relative(text: str) -> bool:
    local = not _URL.match(text) or text.lower().startswith("file://")
    path = text[len("file://") :] if _URL.match(text) else text
    return local and not refers(path[:2]) and not Path(path).expanduser().is_absolute()
