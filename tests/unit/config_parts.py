"""Parts with every kind of option, for the tests of the configuration and the command line.

They stand in the place of real modules, so the look-up, the checks and the sentences are the real
ones while no test depends on what one real part's options happen to be.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

import rayflume.component as component_module
from rayflume.component import FOLDERS, Component, Context, component, nested, option
from rayflume.units import ByteSize, Millis


class Tail(Component):
    """Read files."""

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"
    paths: list[str] = option("Files to read. Globs are fine.", example=["/var/log/*.log"])
    batch_bytes: ByteSize = option("Size of a batch.", default=8 * 2**20)
    linger: Millis = option("Longest wait for a batch.", default=200)

    def check(self, context: Context) -> list[str]:
        missing = [path for path in self.paths if not context.path(path).parent.is_dir()]
        return [f"the directory of {path!r} does not exist; create it" for path in missing]


class Web(Component):
    """Receive requests."""

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "keyed"
    port: int = option("Port.", default=8080, ge=1, le=65535)
    token: SecretStr | None = option("Bearer token.", default=None)
    mode: Literal["list", "lines"] = option("Form of the body.", default="list")


class Socket(Component):
    """Listen on a socket; says nothing of its guarantee."""


class Wal(Component):
    """A durable channel."""

    durable: ClassVar[bool] = True
    directory: str = option("Where the journal lies.", default="state/wal")


class Ram(Component):
    """A channel in memory."""

    durable: ClassVar[bool] = False


class Roll(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: ByteSize = option("Size of a file.", default=128 * 2**20)
    age: Millis = option("Age of a file.", default=300_000)


class Rows(Component):
    """Decode rows."""

    fields: dict[str, Literal["int64", "string"]] = Field(
        default_factory=dict, alias="schema", description="Columns."
    )
    password: SecretStr | None = option("Password.", default=None)


class Lake(Component):
    """Write files."""

    staged: ClassVar[bool] = True
    path: str = option("Where the lake lies. A directory.", example="s3://lake/clicks")
    format: Annotated[Component, nested("format")] = option("How rows are decoded.")
    roll: Roll = option("When a file ends.", factory=Roll)
    event_time: str = option("Header with the time.", default="")
    partition_by: list[str] = option("Directories.", factory=list)

    @model_validator(mode="after")
    def _needs_time(self) -> Lake:
        if any("%" in part for part in self.partition_by) and not self.event_time:
            raise ValueError("`partition_by` has time escapes; name the `event_time`")
        return self


class Log(Component):
    """Write a log; cannot stage."""


_PARTS: dict[str, list[type[Component]]] = {
    "source": [Tail, Web, Socket],
    "channel": [Wal, Ram],
    "sink": [Lake, Log],
    "format": [Rows],
}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `tail`, `web`, `socket`, `wal`, `ram`, `lake`, `log` and the format `rows` known."""
    known = {kind: [cls.__name__.lower() for cls in found] for kind, found in _PARTS.items()}
    real = component_module.types_of
    monkeypatch.setattr(
        component_module, "types_of", lambda kind: sorted({*known.get(kind, []), *real(kind)})
    )
    for kind, classes in _PARTS.items():
        for cls in classes:
            name = f"rayflume.{FOLDERS[kind]}.{cls.__name__.lower()}"
            module = ModuleType(name)
            monkeypatch.setattr(cls, "__module__", name)
            setattr(module, cls.__name__, component(cls))
            monkeypatch.setitem(sys.modules, name, module)


GOOD = """\
agent: clicks
sources:
  files:
    type: tail
    paths: [logs/*.log]
    interceptors: [{type: static, key: site, value: oslo}, host]
    channels: [wal]
  api: {type: web, port: 8081, channels: [wal]}
channels:
  wal: {type: wal}
sinks:
  lake:
    type: lake
    channel: wal
    path: out
    format: {type: rows, schema: {user: int64}}
    roll: {bytes: 1MiB}
    placement: {replicas: 2, spread: true}
"""


def written(directory: Path, text: str = GOOD) -> Path:
    """The text as a file with the directory `logs` beside it."""
    (directory / "logs").mkdir(exist_ok=True)
    path = directory / "agent.yaml"
    path.write_text(text, "utf-8")
    return path
