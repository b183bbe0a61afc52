"""What of Flume rayflume has: the table of `rayflume components --flume` and docs/flume-parity.md.

Made from the tables in `rayflume/flume/parts/` and from nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rayflume.component import nearest
from rayflume.errors import ConfigError
from rayflume.flume import names
from rayflume.flume.names import FlumePart, Prop, Status

_KINDS = (
    "source", "event_deserializer", "http_source_handler", "jms_message_converter", "interceptor",
    "regex_extractor_serializer", "channel_selector", "channel", "file_channel_key_provider",
    "file_channel_cipher_provider", "sink_group", "sink_processor", "sink_selector", "sink",
    "event_serializer", "sequencefile_serializer", "path_manager",
)  # fmt: skip
"""In the order of the flow; all other kinds follow by name."""
_HEAD = """# Flume's parts and rayflume's

What becomes of each part and each property of Apache Flume 1.11. This file is made by
`rayflume components --write .` from the tables that translate a `.properties` file, so it says what
`rayflume run flume.conf` does; a change belongs into `rayflume/flume/parts/`.

**done**: a file that names it runs. **not yet**: it is planned. **never**: the reason says what to
use instead. A Java class of your own: [own-parts.md](own-parts.md).
"""


def parts() -> list[FlumePart]:
    """Every part of Flume in the order of the flow, those of a kind by name."""
    kinds = [*_KINDS, *sorted({part.kind for part in names.all_parts()} - set(_KINDS))]
    return sorted(names.all_parts(), key=lambda part: (kinds.index(part.kind), part.name.lower()))


def named(name: str) -> list[FlumePart]:
    """The parts of that alias or Java class, of any kind. Raises ConfigError: there is none."""
    found = [part for part in parts() if name.lower() in map(str.lower, _names(part))]
    if not found:
        known = sorted({alias for part in names.all_parts() for alias in _names(part)})
        raise ConfigError(f"Flume has no part {name!r}{_near(name, known)}")
    return found


def _near(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return near if "mean" in near else "; `rayflume components --flume` lists all"


def _names(part: FlumePart) -> list[str]:
    return [name for name in (*part.types, part.java_class) if name]


def rows(found: list[FlumePart]) -> list[list[str]]:
    """Kind, Flume's name, status, rayflume's type, reason."""
    return [[p.kind, title(p), p.status, p.type, p.why] for p in found]


def title(part: FlumePart) -> str:
    """Its aliases, else the class without its packages, else its kind."""
    short = part.java_class.rpartition(".")[2].removesuffix("$Builder")
    return ", ".join(part.types) or short or part.kind


def property_rows(part: FlumePart) -> list[list[str]]:
    """Name, Flume's default, the option it becomes, remarks."""
    return [[prop.name, _default(prop), becomes(prop), prop.why] for prop in part.known]


def becomes(prop: Prop) -> str:
    """The option, or what kind of part it names."""
    return prop.option or (f"{prop.nested.replace('_', ' ')}" if prop.nested else "")


def _default(prop: Prop) -> str:
    if prop.required:
        return "required"
    if prop.default is None:
        return ""
    shown = prop.default.encode("unicode_escape").decode()
    return shown if shown == shown.strip() != "" else repr(prop.default)


def as_json(found: list[FlumePart]) -> list[dict[str, object]]:
    """The same as plain data, with every property."""
    return [
        {
            "kind": part.kind,
            "types": list(part.types),
            "java_class": part.java_class,
            "status": str(part.status),
            "type": part.type,
            "why": part.why,
            "properties": [
                {
                    "name": prop.name,
                    "default": prop.default,
                    "required": prop.required,
                    "option": prop.option,
                    "why": prop.why,
                }
                for prop in part.known
            ],
        }
        for part in found
    ]


def markdown() -> str:
    """docs/flume-parity.md."""
    found = parts()
    counts = Counter(part.status for part in found)
    summary = ", ".join(f"{counts[status]} {status}" for status in Status)
    lines = [_HEAD, f"{len(found)} parts: {summary}.", ""]
    lines += ["| kind | Flume | status | rayflume | reason or remark |", "|---|---|---|---|---|"]
    for part in found:
        kind, name, status, type_name, why = map(_cell, rows([part])[0])
        own = f"`{type_name}`" if type_name else ""
        lines.append(f"| {kind} | `{name}` | {status} | {own} | {why} |")
    for part in found:
        if part.status is Status.DONE and part.props:
            lines += ["", *_section(part)]
    return "\n".join(lines) + "\n"


def _section(part: FlumePart) -> Iterator[str]:
    yield f"## {part.kind} {title(part)}"
    yield ""
    yield "| property | default | option | remark |"
    yield "|---|---|---|---|"
    for row in property_rows(part):
        name, default, option, why = map(_cell, row)
        shown = default if default in ("", "required") else f"`{default}`"
        yield f"| `{name}` | {shown} | {f'`{option}`' if option else ''} | {why} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
