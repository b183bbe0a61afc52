"""What is said about a Flume file: where, how grave, and what it means for the agent."""

from __future__ import annotations

from dataclasses import dataclass

from rayflume.flume.names import Severity


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, as the user named the file. Line 0: the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a file.

    `key`: the property in full, "" for the file. `agent`: "" when it concerns no one agent.
    `dropped`: the part that does not run because of it, `sources.r1`; Flume drops it as well and
    goes on. `fatal`: the agent cannot run with it.
    """

    place: Place
    severity: Severity
    key: str
    text: str
    agent: str = ""
    dropped: str = ""
    fatal: bool = False

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.place}: {self.severity}: {key}{self.text}"
