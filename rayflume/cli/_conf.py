"""How the commands get a plan: from YAML, or from Flume's file with the options for it."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rayflume.cli._output import complain
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.config import AgentPlan
    from rayflume.flume.read import FlumeFile
    from rayflume.flume.values import Surroundings


@dataclass(frozen=True)
class FlumeOptions:
    """The options for Flume's files, as given."""

    conf_file: tuple[Path, ...] = ()
    define: tuple[str, ...] = ()
    allow_exec: tuple[str, ...] = ()
    map: tuple[str, ...] = ()
    strict: bool = False

    def java_classes(self) -> dict[str, str]:
        """Of `--map`: Java class -> dotted name of the Python class. Raises ConfigError."""
        from rayflume.config.java_classes import parse_maps

        return parse_maps(self.map)

    def around(self) -> Surroundings:
        """What the file may ask for. Raises ConfigError for a wrong `-D` or `--map`."""
        from rayflume.flume.read import surroundings

        defines = {}
        for given in self.define:
            name, equals, value = given.partition("=")
            if not name.strip():
                raise ConfigError(f"-D {given}: write it as NAME=VALUE")
            defines[name.strip()] = value if equals else ""
        return surroundings(defines, self.allow_exec, self.java_classes())


_DECLARED: Mapping[str, Any] = {
    "conf_file": Annotated[
        list[Path] | None,
        typer.Option(
            "--conf-file", "-f", metavar="FILE",
            help="A further Flume file, merged into the first: its keys win. May be repeated.",
        ),
    ],
    "define": Annotated[
        list[str] | None,
        typer.Option(
            "--define", "-D", metavar="NAME=VALUE",
            help="What ${sys:NAME} in a Flume file is. May be repeated.",
        ),
    ],
    "allow_exec": Annotated[
        list[str] | None,
        typer.Option(
            "--allow-exec", metavar="PROGRAM",
            help="A program that config filters of a Flume file may run. May be repeated.",
        ),
    ],
    "map": Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="JAVA=PYTHON",
            help="The Python class in the place of a Java class of your own, as "
            "com.example.MySink=my_module.MySink; @FILE has a pair in each line. May be repeated.",
        ),
    ],
    "strict": Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse a Flume file for anything dropped, ignored or other than in Flume. (YAML "
            "is always strict.)",
        ),
    ],
}  # fmt: skip


def for_flume(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for Flume's files; it gets them as its parameter `flume`."""
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "flume"]
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "strict" else None,
            annotation=declared,
        )
        for name, declared in _DECLARED.items()
    ]  # fmt: skip

    @functools.wraps(command)
    def called(**values: Any) -> None:  # noqa: ANN401 - whatever the command takes
        given = {name: values.pop(name) for name in _DECLARED}
        strict = bool(given.pop("strict"))
        lists = {name: tuple(value or ()) for name, value in given.items()}
        command(**values, flume=FlumeOptions(**lists, strict=strict))

    del called.__wrapped__  # or typer looks at the command itself
    called.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
    return called


def plan_of(
    conf: Path,
    agent: str | None,
    flume: FlumeOptions,
    environ: Mapping[str, str] | None = None,
) -> AgentPlan:
    """The plan of an agent to be run. What Flume would drop is told on stderr, in one list, and of
    YAML what is hardly meant.

    Variables that config filters have answered are set in this process. Raises ConfigError.
    """
    from rayflume.config import advice, load
    from rayflume.flume.grammar import is_flume
    from rayflume.flume.read import plan_of_flume

    if not is_flume(conf):
        refuse_for_yaml(flume)
        plan = load(conf, agent, environ, flume.java_classes())
        complain(advice(plan, environ))
        return plan
    file = flume_file(conf, flume)
    plan = plan_of_flume(file, agent, flume.strict)
    os.environ.update(file.exported)
    complain(dropped_lines(file, agent))
    return plan


def yaml_of(conf: Path, agent: str | None, flume: FlumeOptions) -> bytes:
    """The configuration as YAML: the file itself, or what a Flume file is converted to.

    Raises ConfigError for `--map` with YAML, which would not travel with the file.
    """
    from rayflume.flume.grammar import is_flume
    from rayflume.flume.yaml_text import yaml_text

    if not is_flume(conf):
        if flume.map:
            raise ConfigError(f"{conf} is YAML: write `--map` into it, as `java_classes:`")
        return conf.read_bytes()
    file = flume_file(conf, flume)
    return yaml_text(file.chosen(agent), (), file.files).encode()


def flume_file(conf: Path, flume: FlumeOptions) -> FlumeFile:
    """The file and those of `--conf-file`, read and judged. Raises ConfigError."""
    from rayflume.flume.read import read_flume

    return read_flume([conf, *flume.conf_file], flume.around())


def refuse_for_yaml(flume: FlumeOptions) -> None:
    """Raises ConfigError when an option was given that means nothing for YAML."""
    if flume.conf_file or flume.define or flume.allow_exec:
        text = "--conf-file, --define and --allow-exec are for Flume's files; this one is YAML"
        raise ConfigError(f"{text} (in YAML ${{NAME}} reads the environment)")


def dropped_lines(file: FlumeFile, agent: str | None) -> list[str]:
    """What is dropped or ignored and why, and where to read the rest."""
    from rayflume.flume.names import Severity
    from rayflume.flume.read import findings_of

    reading = file.chosen(agent)
    found = findings_of(file, reading.name)
    dropped = [one for one in found if one.severity is Severity.ERROR]
    warnings = [one for one in found if one.severity is Severity.WARNING]
    lines = []
    if dropped:
        parts = list(dict.fromkeys(one.dropped for one in dropped if one.dropped))
        lines.append(f"{reading.name} runs without {', '.join(parts)}, as in Flume:")
        lines += [f"{one.place}: {one.key}: {one.text}" for one in dropped]
    if warnings:
        lines.append(f"{reading.name} ignores, or does otherwise than Flume:")
        lines += [f"{one.place}: {one.key}: {one.text}" for one in warnings]
    notes = sum(one.severity is Severity.NOTE for one in found)
    if notes:
        count = f"{notes} note{'s' if notes > 1 else ''}"
        lines.append(f"{count}; `rayflume validate {file.files[0]}` shows them")
    return lines
