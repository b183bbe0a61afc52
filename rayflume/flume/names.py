"""The table of Flume's names: each part, its properties and defaults, and what becomes of each.

The tables are data, one module per family in `parts/`. A part of Flume that rayflume has not is
there as well, with the reason, so that no property of a file is ever passed over in silence.

    PARTS = (
        FlumePart(
            kind="source", types=("netcat",), java_class="org.apache.flume.source.NetcatSource",
            type="netcat",
            props=(
                Prop("bind", option="bind", required=True),
                Prop("port", option="port", read=whole, required=True),
                Prop("max-line-length", "512", "max_line_bytes", size),
                Prop("ack-every-event", "true", "ack_every_event", flag),
                Prop("threads", "5", why="connections share one loop; remove it"),
            ),
        ),
    )

What every part of a kind has (`type`, `channels`, `selector.*`, ...) is in COMMON, not in tables.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING

from rayflume.flume.readers import Reader, text

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_PLACEHOLDER = re.compile(r"<([^<>]+)>|(?<![^.])\*$")


class Status(StrEnum):
    """Whether rayflume has a part of Flume. NOT_YET and NEVER carry a `why`."""

    DONE = "done"
    NOT_YET = "not yet"
    NEVER = "never"


class Severity(StrEnum):
    """ERROR: the part cannot run and is dropped. WARNING: ignored, or other than in Flume."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Remark:
    """What is to be said about a part. `name`: the property, "" for the part as a whole.

    ERROR: Flume drops the part, and so does rayflume. With `fatal` Flume would run it and rayflume
    cannot, so the agent is refused: its rows would go missing.
    """

    text: str
    severity: Severity = Severity.WARNING
    name: str = ""
    fatal: bool = False


Finish = Callable[[dict[str, "Json"], Mapping[str, str]], Iterable[Remark]]
"""(options so far, which it may change; properties as given, without defaults) -> what to say."""


@dataclass(frozen=True)
class Prop:
    """One property of a part of Flume.

    `name`: Flume's, relative to the part, with its prefix (`hdfs.path`). It may hold placeholders
    (`filegroups.<group>`; one holds no dot, but the last may) and may end in `.*`, which is the
    placeholder `<*>`.
    `default`: Flume's, as text; None when it has none.
    `option`: dotted path of rayflume's option; placeholders of the name may stand in it, each for
    one key. Without an option the property is not honoured; `why` says why and what to use
    instead, with `severity`, when a file gives it (ERROR: Flume would honour it and the part cannot
    run without, so the agent is refused). With an option `why` is a note on a difference.
    Of two properties with one option (an old name and a new one) the earlier in the table wins.
    `read`: from its text to the option's value. `lenient`: a value that cannot be read falls back
    to the default, as a few channels of Flume do; otherwise it drops the part.
    `nested`: a kind of part that the value names; its own properties begin with `prefix` (default:
    the name and a dot). With an option it becomes `{type: ..., its options}` there, without one
    its options join those of the part. `many`: the value is a list of names split at blanks, each
    the properties `<prefix><name>.type` and so on; the option becomes a list.
    """

    name: str
    default: str | None = None
    option: str = ""
    read: Reader = text
    required: bool = False
    why: str = ""
    severity: Severity = Severity.WARNING
    nested: str = ""
    prefix: str = ""
    many: bool = False
    lenient: bool = False

    def __post_init__(self) -> None:
        if not (self.option or self.nested or self.why):
            raise ValueError(f"{self.name}: give an option, or say why there is none")

    @property
    def inner(self) -> str:
        """What the names of a nested part's own properties begin with."""
        return self.prefix or f"{self.name}."

    def match(self, name: str) -> dict[str, str] | None:
        """Placeholder -> what stands for it in `name`; None when this is another property."""
        found = _pattern(self.name).fullmatch(name)
        if found is None:
            return None
        return dict(zip(_placeholders(self.name), found.groups(), strict=True))

    def path(self, filled: Mapping[str, str]) -> tuple[str, ...]:
        """The keys that lead to its option."""
        keys = self.option.split(".")
        return tuple(filled.get(key[1:-1], key) if key[:1] == "<" else key for key in keys)


@cache
def _placeholders(name: str) -> tuple[str, ...]:
    return tuple(found[1] or "*" for found in _PLACEHOLDER.finditer(name))


@cache
def _pattern(name: str) -> re.Pattern[str]:
    pieces, start = [], 0
    found = list(_PLACEHOLDER.finditer(name))
    for index, one in enumerate(found):
        last = index == len(found) - 1 and one.end() == len(name)
        pieces += [re.escape(name[start : one.start()]), "(.+)" if last else r"([^.]+)"]
        start = one.end()
    return re.compile("".join(pieces) + re.escape(name[start:]), re.DOTALL)


@dataclass(frozen=True)
class FlumePart:
    """One part of Flume.

    `kind`: as in Flume (`source`, `channel_selector`, `event_serializer`, ...). `types`: aliases.
    `java_class`: "" if it has only an alias. `type`: rayflume's, "" when it has none or needs none.
    `why`: for NOT_YET and NEVER the reason and what to use instead.
    `batch`, `capacity`: the property that holds its batch size, its transaction capacity: Flume
    drops a source or sink whose batch is larger than what its channel takes in one transaction.
    `finish`: what cannot be said property by property; only called for a part that is DONE.
    """

    kind: str
    types: tuple[str, ...]
    java_class: str
    type: str = ""
    props: tuple[Prop, ...] = ()
    status: Status = Status.DONE
    why: str = ""
    batch: str = ""
    capacity: str = ""
    finish: Finish | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.status is not Status.DONE and not self.why:
            raise ValueError(f"{self.name}: say why it is {self.status}")

    @property
    def name(self) -> str:
        """What to call it: its first alias, else the class."""
        return self.types[0] if self.types else self.java_class

    @cached_property
    def known(self) -> tuple[Prop, ...]:
        """All its properties, those of its kind first."""
        return COMMON.get(self.kind, ()) + self.props

    def find(self, name: str) -> Prop | None:
        """The property of that name: in full, else by placeholders, else one of a nested part's."""
        for prop in self.known:
            if prop.name == name:
                return prop
        found = [prop for prop in self.known if prop.match(name) is not None]
        found += [prop for prop in self.known if prop.nested and name.startswith(prop.inner)]
        return found[0] if found else None


_TYPE = Prop("type", why="names the part", required=True)
_STUB = Prop(
    "config", why="a Java class that checks the settings of unknown types; rayflume checks itself"
)
COMMON: Mapping[str, tuple[Prop, ...]] = {
    "source": (
        _TYPE,
        Prop("channels", why="is part of the plan", required=True),
        Prop(
            "selector.type", "replicating", "selector", nested="channel_selector",
            prefix="selector.",
        ),
        Prop("interceptors", option="interceptors", nested="interceptor", many=True),
        _STUB,
    ),
    "channel": (_TYPE, _STUB),
    "sink": (_TYPE, Prop("channel", why="is part of the plan", required=True), _STUB),
    "interceptor": (_TYPE,),
    "channel_selector": (_TYPE,),
    "sink_processor": (_TYPE,),
    "config_filter": (_TYPE,),
    "regex_extractor_serializer": (
        Prop("type", "DEFAULT", why="names the part"),
        Prop("name", option="name", required=True),
    ),
}  # fmt: skip
"""Kind -> the properties every part of the kind has, handled where the plan is made."""


def lookup(kind: str, type_name: str) -> FlumePart | None:
    """The part of that alias or Java class, both without regard to case; None if there is none."""
    return _by_name().get((kind, type_name.lower()))


@cache
def all_parts() -> tuple[FlumePart, ...]:
    """Every part of every table, by module and then as written. Raises ValueError: named twice."""
    package = importlib.import_module("rayflume.flume.parts")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return tuple(part for module in modules for part in getattr(module, "PARTS", ()))


@cache
def _by_name() -> dict[tuple[str, str], FlumePart]:
    found: dict[tuple[str, str], FlumePart] = {}
    for part in all_parts():
        for name in (*part.types, part.java_class):
            key = part.kind, name.lower()
            if name and found.setdefault(key, part) is not part:
                raise ValueError(f"{part.kind} {name} is in two tables")
    return found
