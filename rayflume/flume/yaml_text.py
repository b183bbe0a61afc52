"""An agent of a Flume file as the text of a YAML configuration, with what could not be carried.

Loading the text gives the plan that the Flume file gives, but for the file and its lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rayflume.flume.build import AgentReading
from rayflume.flume.findings import Finding

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_PARTS = {
    "sources": "sources",
    "channels": "channels",
    "sinks": "sinks",
    "sink_groups": "sinkgroups",
}
"""Section of the YAML -> Flume's word for it."""
_WIDTH = 4_096
"""Wide enough that no value is folded."""


def yaml_text(reading: AgentReading, findings: Sequence[Finding], files: Sequence[str]) -> str:
    """The text. `findings`: those of the agent and of the file, which become comments."""
    left = list(findings)
    body: list[str] = []
    for key, value in reading.value.items():
        if key not in _PARTS or not isinstance(value, dict):
            body += _dumped({key: value}, 0)
            continue
        if not value and key in ("sources", "sinks"):
            body += ["", f"{key}: {{}}"]  # said, for YAML takes a folder left out for a mistake
        if not value:
            continue
        body += ["", f"{key}:"]
        for name, part in value.items():
            mine = _about(reading, _PARTS[key], name, left)
            left = [one for one in left if one not in mine]
            body += _comments(mine, 2)
            body += _dumped({name: part}, 2)
    named = ", ".join(Path(file).name for file in files)
    head = [
        f"# The agent {reading.name} of {named}, converted from Flume.",
        "# Relative paths start at the directory of this file; Flume's start where it was started.",
        *_comments(left, 0),
        "",
    ]
    return "\n".join([*map(_one_line, head), *body, ""])


def _about(
    reading: AgentReading, folder: str, name: str, findings: Iterable[Finding]
) -> list[Finding]:
    names = {new: old for (where, old), new in reading.renamed.items() if where == folder}
    key = f"{reading.name}.{folder}.{names.get(name, name)}"
    return [one for one in findings if one.key == key or one.key.startswith(f"{key}.")]


def _comments(findings: Iterable[Finding], indent: int) -> Iterator[str]:
    for one in findings:
        key = f" {one.key}:" if one.key else ""
        line = f"line {one.place.line}:" if one.place.line else ""
        yield _one_line(f"{' ' * indent}# {line}{key} {one.severity}: {one.text}")


def _one_line(text: str) -> str:
    """No text of a file may end a comment."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _dumped(value: dict[str, Json], indent: int) -> list[str]:
    text = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False
    )
    return [" " * indent + line for line in text.rstrip("\n").split("\n")]
