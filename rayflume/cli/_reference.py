"""What a part's class says of itself, for the terminal, JSON, Markdown and sample YAML.

`docs/components.md` and `conf/reference/` are made from this and from nothing else;
docs/flume-parity.md comes from the tables of Flume's names.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from rayflume.cli import _parity as parity
from rayflume.cli._types import default_text, kind_text
from rayflume.component import FOLDERS, Component, NestedPart, lookup, types_of
from rayflume.config.fields import option_name, parts_in
from rayflume.errors import ConfigError

_FACTS: dict[str, dict[object, str]] = {
    "replay": {
        "replayable": "Guarantee: it reads again what no channel has yet (exactly once with a "
        "file channel and a sink that stages).",
        "keyed": "Guarantee: a request repeated under the same Idempotency-Key counts once.",
        "lossy": "Guarantee: what no channel has yet is gone with the source.",
    },
    "durable": {
        True: "Guarantee: what it acknowledged survives any crash.",
        False: "Guarantee: rows are gone with the process; at least once if the source can repeat.",
    },
    "staged": {
        True: "Guarantee: it stages and publishes, exactly once with a durable channel.",
        False: "Guarantee: it cannot stage, so a retry may repeat rows: at least once.",
    },
}
"""Class variable -> value -> what it means for the guarantee."""
_CONTRACT = re.compile(r"\s*\b(Rows|Units|Blocks|Raises): .*")
"""What a docstring says to programmers, at the end of a paragraph."""
_WIRES: dict[str, dict[str, object]] = {
    "source": {"channels": ["CHANNEL"]},
    "channel": {},
    "sink": {"channel": "CHANNEL"},
}
"""Kinds that have a name in the file -> the keys that join them."""
_HEAD = """# Components

Every part of rayflume with its options. This file is made by `rayflume components --write .`;
a change belongs into the part's module.

A size is written `8MiB`, a duration `200ms` or `5min`. `${NAME}` in any text reads the environment.
"""


@dataclass(frozen=True)
class OptionDoc:
    """One option as a reader needs it. `name` of an option within an option is `roll.bytes`."""

    name: str
    kind: str
    required: bool
    default: str
    text: str
    example: object = None

    @property
    def presence(self) -> str:
        return "required" if self.required else f"default: {self.default}"


@dataclass(frozen=True)
class PartDoc:
    """One part as a reader needs it."""

    kind: str
    type: str
    paragraphs: tuple[str, ...]
    facts: tuple[str, ...]
    options: tuple[OptionDoc, ...]
    sample: str
    needed: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence."""
        first = self.paragraphs[0] if self.paragraphs else ""
        return first.split(". ")[0].rstrip(".")

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "summary": self.summary}


def all_parts() -> list[PartDoc]:
    """Every part in the order of the flow; one whose client library is missing says only that."""
    return [_or_missing(kind, name) for kind in FOLDERS for name in types_of(kind)]


def _or_missing(kind: str, type_name: str) -> PartDoc:
    try:
        return describe(kind, type_name)
    except ConfigError as error:
        return PartDoc(kind, type_name, (error.message,), (), (), "")


def describe(kind: str, type_name: str) -> PartDoc:
    """All about one part. Raises ConfigError for an unknown type or a missing client library."""
    cls = lookup(kind, type_name)
    doc = inspect.cleandoc(cls.__doc__ or "")
    blocks = (_CONTRACT.sub("", " ".join(block.split())) for block in doc.split("\n\n"))
    paragraphs = tuple(block for block in blocks if block)
    return PartDoc(
        kind,
        type_name,
        paragraphs,
        tuple(_facts(cls)),
        tuple(_options(cls)),
        sample(kind, cls),
        tuple(_needed(cls)),
    )


def _facts(cls: type[Component]) -> Iterator[str]:
    for name, meanings in _FACTS.items():
        text = meanings.get(getattr(cls, name, None))
        if text:
            yield text


def _options(model: type[BaseModel], prefix: str = "") -> Iterator[OptionDoc]:
    for name, field in model.model_fields.items():
        shown = prefix + option_name(name, field)
        text = " ".join((field.description or "").split())
        example = field.examples[0] if field.examples else None
        yield OptionDoc(
            shown, kind_text(field), field.is_required(), default_text(field), text, example
        )
        inner = _inner(field)
        if inner is not None and not prefix.count("."):
            many = any(getattr(p, "__origin__", p) in (list, tuple) for p in parts_in(field))
            yield from _options(inner, f"{shown}[]." if many else f"{shown}.")


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """The options within an option, unless they are those of a part with a page of its own."""
    parts = list(parts_in(field))
    if any(isinstance(part, NestedPart) for part in parts):
        return None
    for part in parts:
        if not isinstance(part, type) or hasattr(part, "__origin__"):
            continue
        if issubclass(part, BaseModel) and not issubclass(part, Component):
            return part
    return None


# -- sample ----------------------------------------------------------------------------------------


def sample(kind: str, cls: type[Component]) -> str:
    """A part as it stands in a file: YAML with its type and `sample_options`."""
    body = _yaml({"type": cls.type_name, **_WIRES.get(kind, {}), **sample_options(cls)})
    if kind not in _WIRES:
        return body
    lines = (f"    {line}\n" for line in body.rstrip().split("\n"))
    return f"{kind}s:\n  NAME:\n{''.join(lines)}"


def sample_options(cls: type[Component]) -> dict[str, object]:
    """Examples of the options that must be written; if none must, of all that have one."""
    examples = _examples(cls)
    needed = _needed(cls)
    return {name: value for name, value in examples.items() if name in needed} or examples


def _examples(cls: type[Component]) -> dict[str, object]:
    fields = cls.model_fields.items()
    return {option_name(name, f): f.examples[0] for name, f in fields if f.examples}


def _needed(cls: type[Component]) -> list[str]:
    """Options that must be written: the required ones, and the first that a part insists on."""
    names = [option_name(name, f) for name, f in cls.model_fields.items() if f.is_required()]
    examples = _examples(cls)
    for more in ("", *examples):
        tried = [*names, more] if more else names
        try:
            cls.model_validate({name: examples[name] for name in tried if name in examples})
            return tried
        except ValidationError:
            continue
    return names


def _yaml(values: dict[str, object]) -> str:
    """One line per option, as long as it fits."""
    lines = []
    for name, value in values.items():
        plain = _plain(value)
        flow = isinstance(plain, list | dict)
        text = yaml.safe_dump(
            plain if flow else {name: plain},
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=flow,
            width=84,
        ).rstrip()
        lines.append(f"{name}: {text}".replace("\n", "\n  ") if flow else text)
    return "\n".join(lines) + "\n"


def _plain(value: object) -> object:
    """The value in types that YAML has."""
    if isinstance(value, SecretStr | SecretBytes):
        return "${NAME}"
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | None) else str(value)


def reference_yaml(part: PartDoc) -> str:
    """All options of a part as YAML: those that must be written, and the others as comments."""
    lines = [f"# {part.kind} {part.type}"]
    for text in (*part.paragraphs, *part.facts):
        lines += ["#", *(f"# {line}" for line in _wrap(text))]
    lines += ["", _yaml({"type": part.type}).rstrip()]
    for option in part.options:
        if "." in option.name:
            continue
        lines += ["", *(f"# {line}" for line in _wrap(option.text))]
        lines.append(f"# {option.kind}, {option.presence}")
        shown = f"{option.name}: {option.default}"
        if option.required or option.example is not None:
            shown = _yaml({option.name: option.example}).rstrip()
        written = option.name in part.needed
        lines += [line if written else f"# {line}" for line in shown.split("\n")]
    return "\n".join(lines) + "\n"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 96, break_long_words=False, break_on_hyphens=False)


# -- Markdown --------------------------------------------------------------------------------------


def markdown(parts: list[PartDoc]) -> str:
    """One document: a table of all parts, then a section for each."""
    lines = [_HEAD]
    lines += ["| kind | type | what it does |", "|---|---|---|"]
    for part in parts:
        link = f"[`{part.type}`](#{part.kind}-{part.type})"
        lines.append(f"| {part.kind} | {link} | {_cell(part.summary)} |")
    for part in parts:
        lines += ["", *_section(part)]
    return "\n".join(lines) + "\n"


def _section(part: PartDoc) -> Iterator[str]:
    yield f"## {part.kind} {part.type}"
    for text in (*part.paragraphs, *part.facts):
        yield ""
        yield text
    if part.options:
        yield ""
        yield "| option | type | default | meaning |"
        yield "|---|---|---|---|"
    for option in part.options:
        default = "required" if option.required else f"`{option.default}`"
        text = option.text
        if option.example is not None:
            text += f" Example: `{json.dumps(_plain(option.example), ensure_ascii=False)}`"
        yield f"| `{option.name}` | {_cell(option.kind)} | {_cell(default)} | {_cell(text)} |"
    yield ""
    yield "```yaml"
    yield part.sample.rstrip()
    yield "```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# -- files -----------------------------------------------------------------------------------------


def files() -> dict[str, str]:
    """Path below the project -> text of every file that is made from the parts."""
    parts = all_parts()
    found = {"docs/components.md": markdown(parts), "docs/flume-parity.md": parity.markdown()}
    for part in parts:
        found[f"conf/reference/{FOLDERS[part.kind]}/{part.type}.yaml"] = reference_yaml(part)
    return found


def write(root: Path) -> list[str]:
    """Write those that changed and remove those whose part is gone. Returns their paths."""
    wanted, changed = files(), []
    for path, text in wanted.items():
        target = root / path
        if not target.is_file() or target.read_text("utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
            changed.append(path)
    for old in sorted((root / "conf/reference").rglob("*.yaml")):
        if old.relative_to(root).as_posix() not in wanted:
            old.unlink()
            changed.append(old.relative_to(root).as_posix())
    return changed
