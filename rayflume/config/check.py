"""A document -> AgentPlan, with all problems of the file reported at once.

Every sentence is `file:line: where: what is wrong and what to do`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from rayflume.component import Component, lookup, nearest
from rayflume.config.environment import missing, resolve_known
from rayflume.config.groups import grouping, read_groups
from rayflume.config.guarantee import Level
from rayflume.config.java_classes import java_classes, with_python_classes
from rayflume.config.load import Document, KeyPath, documents, read
from rayflume.config.monitoring import Monitoring
from rayflume.config.parts import Given, dotted, explain, resolved_text
from rayflume.config.plan import AgentPlan, PartPlan, Placement
from rayflume.config.wiring import promises, wiring
from rayflume.errors import ConfigError
from rayflume.own_parts import is_dotted, make_importable
from rayflume.units import parse_millis

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


KINDS = {"sources": "source", "channels": "channel", "sinks": "sink"}
_TOP = [
    "agent", *KINDS, "sink_groups", "guarantee", "state_dir", "orphan_after", "monitoring",
    "java_classes",
]  # fmt: skip
_OWN = {
    "source": ("type", "channels", "interceptors", "selector", "placement"),
    "channel": ("type", "placement"),
    "sink": ("type", "channel", "placement"),
    "interceptor": ("type",),
    "selector": ("type",),
    "sink_processor": ("type",),
}
"""Kind -> keys that belong to the plan; all others are options of the part."""
_USUAL = {"selector": "replicating", "sink_processor": "default"}
"""Kind -> the type of one that names none."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_GUARANTEES = [str(Level.EXACTLY_ONCE), str(Level.AT_LEAST_ONCE)]
_PROBLEMS_MAX = 200


def load(
    path: str | Path,
    agent: str | None = None,
    environ: Mapping[str, str] | None = None,
    java_classes: Mapping[str, str] | None = None,
) -> AgentPlan:
    """The checked plan of one agent of the file; `agent` is needed only if the file has several.

    `java_classes`: Java class -> dotted name of the Python class in its place; what the file says
    under that name is added. Raises ConfigError whose `problems` are all that is wrong.
    """
    file = Path(path).expanduser()
    document = _chosen(documents(read(file), str(path)), str(path), agent, environ)
    directory = file.absolute().parent
    return _Checker(document, str(path), directory, environ, java_classes or {}).plan()


def plan_of(
    value: Mapping[str, object],
    directory: str | Path = ".",
    environ: Mapping[str, str] | None = None,
) -> AgentPlan:
    """The checked plan of a configuration given as Python values of the same shape as the file.

    Relative paths start at `directory`. Raises ConfigError whose `problems` are all that is wrong.
    """
    plain = _plain(value)
    document = Document(plain, 1)
    return _Checker(document, "", Path(directory).expanduser().absolute(), environ).plan()


def checked(
    document: Document,
    directory: Path,
    environ: Mapping[str, str] | None = None,
    *,
    partial: bool = False,
) -> tuple[AgentPlan, list[tuple[int, str]]]:
    """The plan of a document from elsewhere, and what is wrong with it: (line, sentence).

    `partial`: sources or sinks may be missing, and channels that nobody fills or empties may be
    there, as Flume has it.
    """
    checker = _Checker(document, "", directory, environ, partial=partial)
    plan = checker.build()
    return plan, list(dict.fromkeys(checker.problems))


def _plain(value: object) -> Json:
    """Python values as YAML has them. Raises ConfigError for any other."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    text = f"a configuration holds text, numbers, lists and mappings, not a {type(value).__name__}"
    raise ConfigError(text, problems=(text,))


def _chosen(
    found: list[Document], file: str, agent: str | None, environ: Mapping[str, str] | None
) -> Document:
    found = [one for one in found if one.value is not None]
    if not found:
        raise _failed([f"{file}: is empty; write `agent:`, `sources:`, `channels:`, `sinks:`"])
    for one in found:
        if not isinstance(one.value, dict):
            text = (
                "must be a mapping with `agent:`, `sources:`, `channels:` and `sinks:` "
                "(or a Flume file, in which `NAME.sources = ...` lists the sources of an agent)"
            )
            raise _failed([f"{file}:{one.line}: {text}"])
    names = [
        str(resolved_text(one.value.get("agent"), environ) or "")
        for one in found
        if isinstance(one.value, dict)
    ]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise _failed([f"{file}: the agent {twice[0]!r} is there {names.count(twice[0])} times"])
    if agent is None and len(found) == 1:
        return found[0]
    known = [name for name in names if name]
    if agent is None:
        raise _failed([f"{file}: has several agents; choose one with --agent: {', '.join(known)}"])
    if agent not in names:
        raise _failed([f"{file}: has no agent {agent!r}{nearest(agent, known)}"])
    return found[names.index(agent)]


def _failed(problems: Sequence[str]) -> ConfigError:
    shown = list(problems[:_PROBLEMS_MAX])
    if len(problems) > _PROBLEMS_MAX:
        shown.append(f"... and {len(problems) - _PROBLEMS_MAX} more problems")
    return ConfigError("\n".join(shown), problems=tuple(shown))


@dataclass
class _Checker:
    """Collects problems while it builds the plan of one document."""

    document: Document
    file: str
    directory: Path
    environ: Mapping[str, str] | None
    java_classes: Mapping[str, str] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    unresolved: set[KeyPath] = field(default_factory=set)
    """Paths whose value holds a variable that is not set, and the paths right above."""
    partial: bool = False

    def plan(self) -> AgentPlan:
        """The plan. Raises ConfigError with all that is wrong."""
        plan = self.build()
        if self.problems:
            places = sorted(dict.fromkeys(self.problems), key=lambda problem: problem[0])
            raise _failed([f"{self.place(line)}{text}" for line, text in places])
        return plan

    def build(self) -> AgentPlan:
        """The plan as far as it can be made, and `problems`."""
        value = self.document.value if isinstance(self.document.value, dict) else {}
        value = self.mapped(value)
        self.problems += self.document.problems
        make_importable(value, self.directory)
        for path, text in missing(value, self.environ):
            self.report(path, text)
            self.unresolved |= {path, path[:-1]}
        for name in value:
            if name not in _TOP:
                self.report((name,), f"unknown key{nearest(name, _TOP)}")
        parts = {folder: self.folder(folder, value.get(folder)) for folder in KINDS}
        plan = AgentPlan(
            agent=self.agent(value.get("agent")),
            sources=parts["sources"],
            channels=parts["channels"],
            sinks=parts["sinks"],
            guarantee=self.guarantee(value.get("guarantee")),
            directory=self.directory,
            state_dir=self.text("state_dir", value.get("state_dir", "state")),
            orphan_after_ms=self.millis("orphan_after", value.get("orphan_after", 60_000)),
            monitoring=self.monitoring(value.get("monitoring")),
            file=self.file,
            line=self.document.line,
            groups=read_groups(self, value.get("sink_groups")),
        )
        between = (*wiring(plan, self.environ, self.partial), *grouping(plan, self.environ))
        for path, text in between:
            self.report(path, text)
        for path, text in () if self.problems else promises(plan, self.environ):
            self.report(path, text)
        return plan

    def mapped(self, value: dict[str, Json]) -> dict[str, Json]:
        """The document with the Python class in the place of each Java class that is mapped."""
        try:
            given = java_classes(value.get("java_classes"))
        except ConfigError as error:
            self.report(("java_classes",), error.message)
            return value
        replaced = with_python_classes(value, {**given, **self.java_classes})
        return replaced if isinstance(replaced, dict) else value

    def report(self, path: KeyPath, text: str) -> None:
        if path in self.unresolved:
            return  # the variable is reported; what its name is good for nobody knows
        where = dotted(path).removeprefix(".")
        line = self.document.line_of(path)
        self.problems.append((line, f"{where}: {text}" if where else text))

    def line(self, path: KeyPath) -> int:
        return self.document.line_of(path)

    def place(self, line: int) -> str:
        return f"{self.file}:{line}: " if self.file else ""

    # -- top-level values --------------------------------------------------------------------------

    def agent(self, value: Json) -> str:
        if value is None:
            self.report(
                ("agent",), "is missing; give the agent a name, for example `agent: clicks`"
            )
            return ""
        name = str(resolved_text(value, self.environ))
        self.name_is_good(("agent",), name)
        return name

    def name_is_good(self, path: KeyPath, name: str) -> None:
        if not _NAME.fullmatch(name):
            self.report(
                path,
                f"{name[:80]!r} is no name; use up to 100 letters, digits, `_`, `-` and `.`, "
                "not `-` or `.` first",
            )

    def guarantee(self, value: Json) -> str:
        wanted = resolved_text(value, self.environ)
        if wanted is None or wanted in _GUARANTEES:
            return str(wanted or "")
        self.report(("guarantee",), f"{wanted!r} is not known{nearest(str(wanted), _GUARANTEES)}")
        return ""

    def text(self, name: str, value: Json) -> str:
        if not isinstance(value, str) or not value:
            self.report((name,), f"{value!r} is not text")
        return str(value)

    def millis(self, name: str, value: Json) -> int:
        try:
            return parse_millis(resolved_text(value, self.environ))
        except ValueError as error:
            self.report((name,), str(error))
            return 0

    def monitoring(self, value: Json) -> Monitoring | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            self.report(("monitoring",), "must be a mapping, for example `{port: 41414}`")
            return None
        found = self.valid(Monitoring, value, ("monitoring",), ())
        return found if isinstance(found, Monitoring) else None

    # -- parts -------------------------------------------------------------------------------------

    def folder(self, folder: str, value: Json) -> dict[str, PartPlan]:
        if (value is None or value == {}) and self.partial:
            return {}
        if value == {} and folder != "channels":
            return {}  # an agent of sinks alone, or of sources alone, and it says so
        if value is None or value == {}:
            self.report((folder,), f"is missing or empty; name at least one {KINDS[folder]}")
            return {}
        if not isinstance(value, dict):
            self.report((folder,), "must be a mapping from names to parts")
            return {}
        return {name: self.part(folder, name, item) for name, item in value.items()}

    def part(self, folder: str, name: str, value: Json) -> PartPlan:
        kind, path = KINDS[folder], (folder, name)
        self.name_is_good(path, name)
        if not isinstance(value, dict):
            self.report(path, f"must be a mapping with `type`, for example `{name}: {{type: ...}}`")
            return PartPlan(kind, name, "", line=self.document.line_of(path))
        interceptors: tuple[PartPlan, ...] = ()
        selector = None
        if kind == "source":
            interceptors = self.interceptors(name, value.get("interceptors"))
            selector = self.selector(name, value.get("selector"))
        return PartPlan(
            kind,
            name,
            self.type_of(kind, value, path),
            self.options(kind, value, path),
            channels=self.channels(kind, value, path),
            interceptors=interceptors,
            selector=selector,
            placement=self.placement(value.get("placement"), path),
            line=self.document.line_of(path),
        )

    def type_of(self, kind: str, value: Mapping[str, Json], path: KeyPath) -> str:
        name = resolved_text(value.get("type"), self.environ)
        return "" if name is None else str(name) if is_dotted(str(name)) else str(name).lower()

    def options(self, kind: str, value: Mapping[str, Json], path: KeyPath) -> dict[str, Json]:
        """The part's options as written, after reporting what is wrong with them."""
        own = _OWN[kind]
        options = {name: item for name, item in value.items() if name not in own}
        cls = self.class_of(kind, value, path)
        if cls is not None:
            self.valid(cls, options, path, own)
        return options

    def class_of(
        self, kind: str, value: Mapping[str, Json], path: KeyPath
    ) -> type[Component] | None:
        name = resolved_text(value.get("type"), self.environ)
        if name is None:
            self.report(path, f"has no `type`; `rayflume components` lists every {kind} type")
            return None
        try:
            return lookup(kind, str(name))
        except ConfigError as error:
            self.report((*path, "type"), error.message)
            return None

    def valid(
        self, cls: type[BaseModel], options: Mapping[str, Json], path: KeyPath, own: Sequence[str]
    ) -> BaseModel | None:
        resolved = resolve_known(options, self.environ)
        try:
            return cls.model_validate(resolved)
        except ValidationError as error:
            for inner, text in explain(error, Given(cls, options, resolved, tuple(own))):
                self.report((*path, *inner), text)
        except ConfigError as error:
            self.report(path, error.message)
        return None

    def channels(self, kind: str, value: Mapping[str, Json], path: KeyPath) -> tuple[str, ...]:
        if kind == "channel":
            return ()
        key = "channel" if kind == "sink" else "channels"
        given = resolved_text(value.get(key), self.environ)
        if isinstance(given, str):
            given = list(given.split())
        if given is not None and not isinstance(given, list):
            self.report((*path, key), f"must be {_NEEDS[kind]}")
            return ()
        names = [resolved_text(name, self.environ) for name in given or []]
        if not names:
            self.report(path, f"has no `{key}`; every {kind} needs {_NEEDS[kind]}")
        if not all(isinstance(name, str) for name in names) or (kind == "sink" and len(names) > 1):
            self.report((*path, key), f"must be {_NEEDS[kind]}")
            return ()
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            self.report((*path, key), f"{name!r} is there twice; remove one")
        return tuple(dict.fromkeys(str(name) for name in names))

    def interceptors(self, source: str, value: Json) -> tuple[PartPlan, ...]:
        path = ("sources", source, "interceptors")
        if value is None:
            return ()
        if not isinstance(value, list):
            self.report(path, "must be a list, for example `[{type: host}, {type: timestamp}]`")
            return ()
        found = []
        for index, item in enumerate(value):
            name = f"{source}.interceptors[{index}]"
            found.append(self.stage("interceptor", name, item, (*path, index)))
        return tuple(found)

    def selector(self, source: str, value: Json) -> PartPlan | None:
        path = ("sources", source, "selector")
        return None if value is None else self.stage("selector", f"{source}.selector", value, path)

    def stage(self, kind: str, name: str, value: Json, path: KeyPath) -> PartPlan:
        item: Json = {"type": value} if isinstance(value, str) else value
        line = self.document.line_of(path)
        if not isinstance(item, dict):
            self.report(path, "must be a mapping with `type`, or only the name of a type")
            return PartPlan(kind, name, "", line=line)
        if kind in _USUAL:
            item = {"type": _USUAL[kind], **item}
        options = self.options(kind, item, path)
        return PartPlan(kind, name, self.type_of(kind, item, path), options, line=line)

    def placement(self, value: Json, path: KeyPath) -> Placement:
        if value is None:
            return Placement()
        where = (*path, "placement")
        if not isinstance(value, dict):
            self.report(where, "must be a mapping, for example `{replicas: 2}`")
            return Placement()
        found = self.valid(Placement, value, where, ())
        return found if isinstance(found, Placement) else Placement()


_NEEDS = {"source": "a list of channel names", "sink": "the name of one channel"}
