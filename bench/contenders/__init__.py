"""The contenders of the bench: one module each, one class that is a Contender.

The bench calls, in each round: `start`, `run` for every task and variant, `stop`; `stop` also
after an error or Ctrl-C. What comes out is counted by the bench after each run (bench.check).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.inputs import Input
from bench.tasks import Task
from bench.usage import Used


@dataclass(frozen=True)
class Stage:
    """Where a contender works: the bench's data folder, one of its own for logs, the tasks to come
    and a small input of the kind of each, to warm up with.
    """

    data: Path
    logs: Path
    warm: Mapping[str, tuple[Task, Input]]


@dataclass(frozen=True)
class Turn:
    """One run: a task by one variant of the contender, from `data` into `folder` (does not exist
    yet; the bench removes it). Parquet goes below `folder/lake`, text below `folder/text`.
    """

    task: Task
    variant: str
    data: Input
    folder: Path

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    @property
    def text(self) -> Path:
        return self.folder / "text"


@dataclass(frozen=True)
class Measured:
    """Seconds from the moment the input was there to the last row out; what all processes of the
    contender used meanwhile; `apart`: processes that are counted in `used.cpu_seconds` but whose
    memory is not its own (Ray's).
    """

    seconds: float
    used: Used
    apart: Mapping[str, Used] = field(default_factory=dict)


class Contender(Protocol):
    """One tool. All methods block.

    `version`: "" when a package of rayflume's environment tells it; `variants`: key -> title;
    `tasks`: names of those it can do; `cannot`: task -> why not, shown in the report; `share`: how
    much of the others' input it gets, if it is slow; `notes`: what could not be set as for the
    others; `facts`: what else it has measured.
    """

    name: str
    version: str
    variants: Mapping[str, str]
    tasks: tuple[str, ...]
    cannot: Mapping[str, str]
    share: float
    notes: str
    facts: Mapping[str, float]

    def missing(self) -> str:
        """What this machine lacks to run it; "" when nothing. May install what it can."""

    def start(self, stage: Stage) -> None:
        """Start and warm up. Raises on failure."""

    def run(self, turn: Turn) -> Measured:
        """One run. Raises on failure."""

    def stop(self) -> None:
        """End all processes it has started. Does nothing a second time."""
