"""How the commands get a plan: from YAML, or from Flume's file with the options for it."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rayflume.cli import _flume_ng as flume_ng
from rayflume.cli._output import complain
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.config import AgentPlan
    from rayflume.flume.read import FlumeFile
    from rayflume.flume.values import Surroundings


LogLevel = Literal["debug", "info", "warning", "error", "critical"]
_LOG4J: Mapping[str, LogLevel] = {
    "all": "debug", "trace": "debug", "debug": "debug", "info": "info", "warn": "warning",
    "error": "error", "fatal": "critical", "off": "critical",
}  # fmt: skip


@dataclass(frozen=True)
class FlumeOptions:
    """The options for Flume's files, as given."""

    conf_file: tuple[Path, ...] = ()
    define: tuple[str, ...] = ()
    allow_exec: tuple[str, ...] = ()
    map: tuple[str, ...] = ()
    strict: bool = False

    def log_level(self) -> LogLevel | None:
        """Of `-D flume.root.logger=LEVEL,console`; None without it, or when it names a log file."""
        for given in self.define:
            name, _, value = given.partition("=")
            level, *appenders = (word.strip().lower() for word in value.split(","))
            if name.strip() == "flume.root.logger" and "console" in appenders:
                return _LOG4J.get(level)
        return None

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


@dataclass(frozen=True)
class Where:
    """Where the processes of parts are already, and have their environment. `cluster`: on hosts
    that have no answers of config filters; else on this one, with these `variables`.
    """

    cluster: bool = False
    variables: Set[str] = frozenset()


CLUSTER = Where(cluster=True)
_DECLARED: Mapping[str, Any] = {
    "conf_file": Annotated[
        list[Path] | None,
        typer.Option(
            "--conf-file", "-f", metavar="FILE",
            help="A further Flume file, merged into the first: its keys win. May be repeated, and "
            "stand without CONF.",
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


_UsageError = typer.BadParameter.__mro__[1]  # typer brings its own click and does not export it


def for_flume(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for Flume's files; it gets them as its parameter `flume`.

    Its `conf` may then be left out when `-f` names a file, as `flume-ng` has it.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [
        one.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            default=None if one.name == "conf" else one.default,
        )
        for one in signature.parameters.values()
        if one.name != "flume"
    ]
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "strict" else None,
            annotation=declared,
        )
        for name, declared in {"ctx": typer.Context, **_DECLARED, **flume_ng.DECLARED}.items()
    ]  # fmt: skip

    @functools.wraps(command)
    def called(ctx: typer.Context, conf: Path | None = None, **values: Any) -> None:  # noqa: ANN401 - whatever the command takes
        given = {name: values.pop(name) for name in _DECLARED}
        strict = bool(given.pop("strict"))
        lists = {name: tuple(value or ()) for name, value in given.items()}
        files = _files(conf, {name: values.pop(name) for name in flume_ng.DECLARED}, lists, values)
        if not files:
            raise _UsageError("Missing argument 'CONF'", ctx)
        lists["conf_file"] = tuple(files[1:])
        command(**values, conf=files[0], flume=FlumeOptions(**lists, strict=strict))

    del called.__wrapped__  # or typer looks at the command itself
    called.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
    return called


def _files(
    conf: Path | None,
    typed: Mapping[str, Any],
    lists: Mapping[str, tuple[Any, ...]],
    values: Mapping[str, Any],
) -> list[Path]:
    """All files of the configuration, the later wins. Says what of flume-ng's options does nothing.

    Raises ConfigError for those that cannot be taken.
    """
    from rayflume.flume.grammar import is_flume

    watch = bool(values.get("watch"))
    flume_ng.refuse(typed, values.get("agent"), watch)
    files = [] if conf is None else [conf]
    files += [*flume_ng.files_of(typed["conf_uri"] or ()), *lists["conf_file"]]
    complain(list(flume_ng.notes(typed, watch)))
    if files and is_flume(files[0]):
        complain(list(flume_ng.java_opts(os.environ)))
    return files


def plan_of(
    conf: Path,
    agent: str | None,
    flume: FlumeOptions,
    environ: Mapping[str, str] | None = None,
    where: Where | None = None,
) -> AgentPlan:
    """The plan of an agent to be run. What Flume would drop is told on stderr, in one list, and of
    YAML what is hardly meant.

    `where`: None for parts whose processes are yet to begin on this host. Raises ConfigError.
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
    if where is not None and where.cluster:
        _refuse_secrets(file, flume)
    plan = plan_of_flume(file, agent, flume.strict)
    if where is not None and not where.cluster:
        _refuse_unknown(file, agent, where.variables)
    complain(dropped_lines(file, agent))
    if where is not None and where.cluster and (names := ", ".join(file.variables(agent))):
        text = "answers of config filters are not given to a cluster, where Ray would show them"
        complain([f"{text}: set {names} on every node before `ray start`"])
    return plan


def _refuse_unknown(file: FlumeFile, agent: str | None, known: Set[str]) -> None:
    """Raises ConfigError for variables that the processes of parts cannot have."""
    new = [name for name in file.variables(agent) if name not in known]
    if new:
        raise ConfigError(
            f"{file.files[0]}: Ray's processes have no {', '.join(new)}, which a config filter "
            "answers: start the agent anew"
        )


def _refuse_secrets(file: FlumeFile, flume: FlumeOptions) -> None:
    """Ray keeps the command line of whoever connects, and shows it. Raises ConfigError."""
    from rayflume.config.fields import names_secret

    names = [given.partition("=")[0].strip() for given in flume.define]
    secrets = [name for name in names if name in file.secrets or names_secret(name)]
    if secrets:
        raise ConfigError(
            f"-D {', '.join(secrets)}: Ray keeps the command line, and whoever may use the cluster "
            "reads it; set a variable on every node instead (FLUME_SSL_KEYSTORE_PASSWORD, or "
            "${env:NAME} in the file)"
        )


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
    """The file and those of `--conf-file`, read and judged. Variables that config filters have
    answered are set in this process. Raises ConfigError.
    """
    from rayflume.flume.read import read_flume

    file = read_flume([conf, *flume.conf_file], flume.around())
    os.environ.update(file.exported)
    return file


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
