"""Which lake a command means: a path with storage options, or a sink of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.component import nearest
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.agent.lakes import LakePlace
    from rayflume.config import AgentPlan

LakePath = Annotated[
    str | None,
    typer.Argument(metavar="PATH", help="The lake: a directory, or s3://bucket/prefix."),
]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--storage",
        metavar="KEY=VALUE",
        help="An option of the storage, such as endpoint=http://127.0.0.1:8333; may be repeated. "
        "Secrets are better left to the environment, or to --config.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="CONF", help="Take path and storage from a sink of it."),
]
SinkName = Annotated[
    str | None, typer.Option("--sink", metavar="NAME", help="Which sink, if CONF has several.")
]


def chosen_lake(
    path: str | None, options: list[str] | None, conf: Path | None, sink: str | None
) -> LakePlace:
    """The lake that was named. Raises ConfigError when it was not, or twice."""
    from rayflume.agent.lakes import LakePlace

    if (path is None) == (conf is None):
        raise ConfigError("name the lake: either its path, or --config CONF (and --sink NAME)")
    if path is not None:
        if sink is not None:
            raise ConfigError("--sink goes with --config")
        return LakePlace(path, _parsed(options or []))
    from rayflume.flume.read import load

    if options:
        raise ConfigError("--storage goes with a path; --config has the storage's options")
    assert conf is not None
    return _of_sink(load(conf), sink)


def _parsed(options: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise ConfigError(f"--storage {name}: write it as KEY=VALUE, like region=eu-north-1")
        found[name.strip().replace("-", "_")] = value
    return found


def _of_sink(plan: AgentPlan, sink: str | None) -> LakePlace:
    from rayflume.agent.lakes import LakePlace
    from rayflume.config import component_of

    lakes = {
        name: component
        for name, part in plan.sinks.items()
        if hasattr(component := component_of(part), "storage") and hasattr(component, "path")
    }
    if sink is None and len(lakes) == 1:
        sink = next(iter(lakes))
    if sink is None:
        names = ", ".join(lakes) or "none"
        raise ConfigError(f"name the sink with --sink; those of {plan.file} with a lake: {names}")
    if sink not in lakes:
        known = list(lakes)
        hint = nearest(sink, known) if known else ""
        raise ConfigError(f"{plan.file} has no sink {sink!r} with a lake{hint}")
    found = lakes[sink]
    table = getattr(found, "table", None)
    path = getattr(found, "lake_path", found.path)  # without escapes
    return LakePlace(path, dict(found.storage), plan.directory, table)
