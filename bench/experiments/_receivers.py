"""Programs that listen, as the experiment `servers` sees them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeAlias

ON_RAY, INLINE = "rayflume on Ray", "rayflume --inline"
"""Names of programs."""
MEMORY, FILE = "memory", "file"
"""Kinds of channel: a memory channel into a null sink, a file channel into files."""
INLETS = (
    ("netcat", MEMORY), ("syslogtcp", MEMORY), ("syslogudp", MEMORY),
    ("netcat", FILE), ("syslogtcp", FILE), ("http", FILE),
)  # fmt: skip
"""All that are measured."""


Inlet: TypeAlias = tuple[str, str]
"""A source by its type and the kind of channel behind it."""


class Receiver(Protocol):
    """One program, from `start` to `stop`. All methods block.

    `inlets`: where it can be measured; `note`: what differs from rayflume, for the report.
    """

    name: str
    inlets: tuple[Inlet, ...]
    note: str

    def missing(self) -> str:
        """What this machine lacks to run it; "" when nothing. May fetch what it can."""

    def start(self, folder: Path) -> None:
        """Listen at all inlets on loopback, with all that is kept below `folder`. Raises on
        failure.
        """

    def port(self, inlet: Inlet) -> int: ...

    def arrived(self, channel: str) -> int:
        """Events that have come through this kind of channel since `start`. Raises when the program
        has ended.
        """

    def settled(self) -> bool:
        """Whether nothing of what has come through waits in it any more."""

    def pids(self) -> Iterable[int]:
        """Its processes, while no sender runs."""

    def stop(self) -> None:
        """End all its processes. Does nothing a second time."""


def part_name(inlet: Inlet) -> str:
    """Of the source of an inlet, where sources have names."""
    return "_".join(inlet)


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A port of loopback for each name that is free for TCP and UDP, for programs that are told
    theirs.
    """
    found: dict[str, int] = {}
    held: list[socket.socket] = []
    try:
        for name in names:
            while name not in found:
                probe = socket.create_server(("127.0.0.1", 0))
                datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                held += [probe, datagrams]
                port = int(probe.getsockname()[1])
                try:
                    datagrams.bind(("127.0.0.1", port))
                except OSError:
                    continue
                found[name] = port
    finally:
        for one in held:
            one.close()
    return found


def can_connect(port: int) -> bool:
    """Whether somebody listens there by TCP."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class GrowingFile:
    """Counts the lines of a file that is written meanwhile; reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._lines = 0

    def lines(self) -> int:
        """Whole lines so far; 0 while it does not exist."""
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(self._at)
                while data := file.read(2**20):
                    self._lines += data.count(b"\n")
                    self._at += len(data)
        except FileNotFoundError:
            pass
        return self._lines
