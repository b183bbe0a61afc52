"""One declaration per part: options, types, defaults, units and documentation.

A part `type: parquet` of kind `sink` is the module `rayflume/sinks/parquet.py`; looking it up
imports that module and no other, so a client library is needed only by who uses it. There is no
list to register in. A type with a dot, `my_module.MySink`, is a class of a user's own module.

A part module holds one class, marked with `@component`, whose fields are its options.
`build(context)` turns the frozen options into the working part; parts without state return
themselves.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from rayflume.errors import ConfigError
from rayflume.own_parts import how_to_map, is_dotted, is_java, named
from rayflume.threads import SystemThreads, Threads

if TYPE_CHECKING:
    from rayflume.clock import Clock
    from rayflume.metrics import Metrics

FOLDERS = {
    "source": "sources",
    "channel": "channels",
    "sink": "sinks",
    "interceptor": "interceptors",
    "selector": "selectors",
    "sink_processor": "sink_processors",
    "sink_selector": "sink_selectors",
    "format": "formats",
    "storage": "storage",
    "table": "tables",
    "deserializer": "deserializers",
    "serializer": "serializers",
}
"""Kind of part -> folder of the package that holds its types."""
LOCAL_PATH = {"local_path": True}
"""Marks an option, `option(..., json_schema_extra=LOCAL_PATH)`, that names files or directories on
the host of the part: a text, a list or a mapping of texts. A URL in it is no local path.
"""


@dataclass(frozen=True)
class Context:
    """What a part is told about its surroundings; everything else is in its options."""

    agent: str
    part: str
    clock: Clock
    metrics: Metrics
    directory: Path = field(default_factory=Path.cwd)
    """Relative paths of the configuration start here."""
    replica: int = 0
    host_id: str = "host"
    """Stays the same for this host across restarts; part of the name of its streams."""
    node: str = ""
    state_dir: Path = Path("state")
    """Where parts without a directory of their own keep their small state."""
    threads: Threads = field(default_factory=SystemThreads)
    replay: str = "replayable"
    """Of a source, its interceptors and selector: whether its rows may come again, see
    `config/guarantee.py`."""

    def path(self, text: str) -> Path:
        """The local path an option names, absolute."""
        return (self.directory / Path(text).expanduser()).absolute()


class Component(BaseModel):
    """Base of every part's options. Frozen; an unknown option is an error.

    A class of a user's own module needs no decorator and says its `kind`: `kind = "sink"`.

    P1  The class has a docstring and each option a description: they are its documentation.
    P2  No option has the name of a key of the plan (`type`, `channel`, `placement`, ...).
    P3  An unknown option is refused.
    P4  What `build` makes has all methods and attributes of the protocol of its kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    kind: ClassVar[str]
    type_name: ClassVar[str]
    timeless: ClassVar[bool] = False
    """Of a source or interceptor: it surely makes no header `timestamp`, unless an option says so.
    """

    def build(self, context: Context) -> Any:  # noqa: ANN401 - each kind's protocol is in interfaces
        """The working part. Raises OptionError where an option proves wrong on this host."""
        return self

    def check(self, context: Context) -> list[str]:
        """What is wrong on this host and can be known before anything starts, a sentence each.

        For example a directory that cannot be read or a port that is taken. Called by `validate`
        and `run` for the parts of this host; changes nothing. The default finds nothing.
        """
        return []


_Class = TypeVar("_Class", bound=type[Component])


def component(cls: _Class) -> _Class:
    """Mark the one class of a part's module; kind and type are the module's folder and name."""
    folder, _, name = cls.__module__.removeprefix("rayflume.").partition(".")
    cls.kind = next(kind for kind, known in FOLDERS.items() if known == folder)
    cls.type_name = name.removesuffix(
        "_"
    )  # null.py is fine, but a keyword would need the underscore
    return cls


def option(
    doc: str,
    *,
    default: Any = ...,  # noqa: ANN401
    factory: Callable[[], Any] | None = None,
    example: object = None,
    **limits: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Declare one option: what it means, its default (none: it is required), an example, limits as
    in pydantic.
    """
    examples = None if example is None else [example]
    if factory is not None:
        return Field(default_factory=factory, description=doc, examples=examples, **limits)
    return Field(default, description=doc, examples=examples, **limits)


def options_of(cls: type[Component]) -> dict[str, FieldInfo]:
    """Name -> declaration of every option, in the order they are written."""
    return dict(cls.model_fields)


def types_of(kind: str) -> list[str]:
    """All types of a kind, sorted: the plain module names of its folder. Imports none of them."""
    folder = Path(__file__).with_name(FOLDERS[kind])
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_"))


_TO_S3 = "it is `type: parquet` (or `hdfs`, for files as Flume's) with `path: s3://BUCKET/PREFIX`"
_NOT_YET = "not yet in rayflume: docs/from-flume.md says what to use until then"
_ELSEWHERE = {
    **dict.fromkeys([("sink", "s3"), ("sink", "aws_s3")], _TO_S3),
    **dict.fromkeys([("source", "file"), ("source", "tail")], "it is `type: taildir`"),
    ("source", "syslog"): "it is `type: syslogtcp` or `type: syslogudp`",
    **dict.fromkeys([("sink", "stdout"), ("sink", "console")], "it is `type: logger`"),
    **{
        (kind, name): _NOT_YET
        for kind in ("source", "sink")
        for name in ("kafka", "avro", "thrift")
    },
    ("channel", "kafka"): _NOT_YET,
    ("source", "jms"): _NOT_YET,
}
"""(kind, what Flume, Vector or Fluent Bit call it) -> what to write here."""


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for the known name nearest to `name`, else the list of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def lookup(kind: str, type_name: str) -> type[Component]:
    """The options class of a part. Type names are matched without regard to case, as in Flume, but
    for the dotted name of a user's own class.

    Raises ConfigError for an unknown type (with the nearest right one) or a missing client library.
    """
    if is_dotted(str(type_name)):
        return own_part(str(type_name), kind)
    known = types_of(kind)
    name = str(type_name).lower()
    if name not in known and is_java(str(type_name)):
        raise ConfigError(f"unknown {kind} type {type_name!r}; {how_to_map(str(type_name))}")
    if name not in known:
        hint = _ELSEWHERE.get((kind, name)) or nearest(name, known).removeprefix("; ")
        raise ConfigError(f"unknown {kind} type {type_name!r}; {hint}")
    try:
        module = importlib.import_module(f"rayflume.{FOLDERS[kind]}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rayflume"):
            raise
        hint = f"pip install 'rayflume[{name}]'"
        raise ConfigError(f"{kind} {name!r} needs the package {error.name!r}: {hint}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Component)
        and value.__module__ == module.__name__
        and "type_name" in vars(value)
    ]
    if len(found) != 1:
        raise TypeError(
            f"{module.__name__} must hold exactly one @component class, has {len(found)}"
        )
    return found[0]


def own_part(name: str, kind: str = "") -> type[Component]:
    """The options class with this dotted name, which must be of `kind` if that is given.

    Imports its module. Raises ConfigError when the module or class is missing or is no part.
    """
    found = named(name)
    if not (isinstance(found, type) and issubclass(found, Component)):
        raise ConfigError(f"{name} is no part: derive the class from rayflume.component.Component")
    declared = getattr(found, "kind", None)
    if declared not in FOLDERS:
        known = ", ".join(FOLDERS)
        raise ConfigError(f"{name} must say what it is: write `kind = ...`, one of {known}")
    if kind and declared != kind:
        raise ConfigError(f"{name} is of kind {declared!r}, and here stands one of kind {kind!r}")
    if "type_name" not in vars(found):
        found.type_name = f"{found.__module__}.{found.__qualname__}"
    return found


@dataclass(frozen=True)
class NestedPart:
    """The validator of an option that is itself a part, such as a sink's `format: {type: json}`.

    A mapping with `type` (or, with `default`, without) becomes the options of that type; a bare
    name stands for a mapping with only `type`. Errors carry the path inside, `format.schema.ts`.
    """

    kind: str
    default: str | None = None

    def __call__(self, value: object) -> object:
        if isinstance(value, Component) and getattr(value, "kind", None) == self.kind:
            return value
        if isinstance(value, str):
            value = {"type": value}
        known = ", ".join(types_of(self.kind))
        if not isinstance(value, dict):
            raise ValueError(f"write a mapping with `type`, one of {known}")
        options = {str(name): option for name, option in value.items()}
        type_name = options.pop("type", self.default)
        if type_name is None:
            raise _nested_error(None, f"`type` is missing; known: {known}")
        try:
            found = lookup(self.kind, str(type_name))
        except ConfigError as error:
            raise _nested_error(type_name, error.message) from None
        return found.model_validate(options)


def _nested_error(value: object, message: str) -> ValidationError:
    what = PydanticCustomError("part", "{reason}", {"reason": message})
    detail = InitErrorDetails(type=what, loc=("type",), input=value)
    return ValidationError.from_exception_data("part", [detail])


def parse_nested(kind: str, default: str | None = None) -> Callable[[object], object]:
    """The validator alone, for `BeforeValidator(parse_nested("format"))`."""
    return NestedPart(kind, default)


def nested(kind: str, default: str | None = None) -> BeforeValidator:
    """Mark the type of such an option.

    `Format = Annotated[Component, nested("format")]`, then `format: Format = option("...")`.
    """
    return BeforeValidator(NestedPart(kind, default))
