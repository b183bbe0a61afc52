"""The agent under test: its configuration, its driver (`rayflume run`), its processes.

    taildir (host 1) --+--> wal-local (host 1, a small disk) --> 2 sinks --> local lake
    spooldir (host 2) -+
    http (host 2) -----+--> wal-s3 (host 2) -------------------> 2 sinks --> S3, behind a proxy

Every row goes into both lakes. With one store only, the other channel and its sinks are left out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chaos.hosts import host
from rayflume.agent import cluster
from rayflume.agent.cluster import RayAgent
from rayflume.agent.plan_store import Record
from rayflume.clock import SystemClock
from rayflume.config import load
from rayflume.errors import RayflumeError

LEASE_S = 4
ORPHAN_S = 20
DRAIN_S = 240
STOP_S = 150
"""A part that hangs is waited for when an agent stops."""
DISK_BYTES = 160 * 2**20
STORES = ("local", "s3")
Part = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where all of it is. `storage`: options of the S3 lake, empty without one; `port`: of the HTTP
    source. `hosts`: those that the parts are bound to (see above), None where any will do.
    """

    folder: Path
    stores: tuple[str, ...]
    port: int
    bucket: str = ""
    storage: Mapping[str, object] = field(default_factory=dict)
    agent: str = "chaos"
    hosts: tuple[int, int] | None = (1, 2)
    capacity: Mapping[str, object] = field(default_factory=lambda: {"bytes": "96MiB"})

    @property
    def disk(self) -> Path:
        """The small disk of the channel that is filled."""
        return self.folder / "disk"

    def lake(self, store: str) -> str:
        return str(self.folder / "lake") if store == "local" else f"s3://{self.bucket}/lake"

    def journal(self, store: str) -> Path:
        first = store == self.stores[0]
        return (self.disk if first else self.folder) / f"wal-{store}"

    def placement(self, which: int) -> dict[str, object]:
        """Of a part that belongs to the first or the second host."""
        return {} if self.hosts is None else {"node": {"host": host(self.hosts[which])}}


def configuration(place: Place) -> dict[str, Any]:
    """The agent as its file says it."""
    channels = [f"wal-{store}" for store in place.stores]

    def source(kind: str, which: int, **options: object) -> dict[str, object]:
        where = place.placement(which)
        return {"type": kind, "channels": channels, "placement": where, **options}

    tail = {"paths": [str(place.folder / "tail" / "app-*.jsonl*")], "batch_bytes": "256KiB"}
    spool = {"spool_dir": str(place.folder / "spool"), "delete_policy": "immediate"}
    return {
        "agent": place.agent,
        "guarantee": "exactly_once",
        "orphan_after": f"{ORPHAN_S}s",
        "state_dir": str(place.folder / "state"),
        "sources": {
            "tail": source("taildir", 0, **tail),
            "spool": source("spooldir", 1, **spool),
            "web": source("http", 1, port=place.port),
        },
        "channels": {
            f"wal-{store}": _channel(place, store, n) for n, store in enumerate(place.stores)
        },
        "sinks": {f"lake-{store}": _sink(place, store) for store in place.stores},
    }


def _channel(place: Place, store: str, which: int) -> dict[str, object]:
    return {
        "type": "file",
        "directory": str(place.journal(store)),
        "max_file_size": "4MiB",
        "capacity": dict(place.capacity),
        "minimum_required_space": "16MiB",
        "lease_timeout": f"{LEASE_S}s",
        "placement": place.placement(which),
    }


def _sink(place: Place, store: str) -> dict[str, object]:
    return {
        "type": "parquet",
        "channel": f"wal-{store}",
        "path": place.lake(store),
        "storage": dict(place.storage) if store == "s3" else {},
        "format": {"type": "json", "schema": {"id": "int64", "pad": "string"}},
        "delivery_bytes": "8MiB",
        "roll": {"age": "1s"},
        "placement": {"replicas": 2, "spread": True},
    }


class Plant:
    """The running agent. Questions go to its supervisor; None means it does not answer now."""

    def __init__(self, place: Place, address: str) -> None:
        self.place = place
        self.conf = place.folder / "agent.yaml"
        self.conf.write_text(yaml.safe_dump(configuration(place)))
        self.log = place.folder / "driver.log"
        self._address = address
        self._driver: subprocess.Popen[bytes] | None = None
        self._here: RayAgent | None = None

    # -- its driver -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start `rayflume run`; returns at once."""
        command = [sys.executable, "-m", "rayflume", "run", str(self.conf)]
        command += ["--address", self._address, "--log-level", "warning"]
        with self.log.open("ab") as out:
            self._driver = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def start_here(self) -> None:
        """Start the agent with this process as its driver. Blocks until its supervisor answers."""
        # Ray ends an actor of this process whose last handle is gone.
        self._here = cluster.start_agent(Record(load(self.conf)), detached=False)

    def drain_here(self) -> None:
        """Drain an agent that was started here, and end it."""
        agent = self.agent()
        assert agent is not None
        agent.drain()
        assert agent.join(DRAIN_S), self.parts()
        state = agent.status()["state"]
        agent.close()
        assert state == "drained"

    def keep_driver(self) -> bool:
        """Start the driver again if it has ended (the agent before may still be ending)."""
        assert self._driver is not None
        if self._driver.poll() is None:
            return True
        self.start()
        return False

    def kill_driver(self, number: int = signal.SIGKILL) -> None:
        """A signal to the driver; waits for its end."""
        assert self._driver is not None
        self._driver.send_signal(number)
        if number != signal.SIGKILL:
            threading.Event().wait(1.0)
            self._driver.send_signal(number)
        self._driver.wait(STOP_S)

    def drain(self) -> tuple[int, str]:
        """Read to the end, empty the channels, end: exit code of the driver, its last words."""
        clock, asked = SystemClock(), False
        deadline_ms = clock.monotonic_ms() + DRAIN_S * 1000
        assert self._driver is not None
        while self._driver.poll() is None and clock.monotonic_ms() < deadline_ms:
            with contextlib.suppress(RayflumeError):
                agent = cluster.find_agent(self.place.agent) if not asked else None
                if agent is not None:
                    agent.drain()
                    asked = True
            threading.Event().wait(0.2)
        code = self._driver.poll()
        return (-1 if code is None else code), "\n".join(self.log_tail(12))

    def log_tail(self, lines: int) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-lines:]

    def end(self) -> None:
        """Leave no process behind."""
        parts, agent = self.parts(), self.agent()
        if agent is not None and self._driver is None:
            with contextlib.suppress(RayflumeError):
                agent.close()
        for part in parts:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(part["pid"]) or os.getpid(), signal.SIGKILL if part["pid"] else 0)
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()

    # -- its processes --------------------------------------------------------------------------

    def agent(self) -> RayAgent | None:
        with contextlib.suppress(RayflumeError):
            return cluster.find_agent(self.place.agent)
        return None

    def parts(self) -> list[Part]:
        """All parts as the supervisor shows them; empty when it does not answer."""
        agent = self.agent()
        if agent is None:
            return []
        try:
            components = agent.status()["components"]
        except (RayflumeError, RuntimeError):
            return []
        assert isinstance(components, list)
        return [part for part in components if isinstance(part, dict)]

    def part_error(self, name: str) -> str:
        """The last error of a part's first replica, "" if there is none."""
        errors = [str(p["last_error"] or "") for p in self.parts() if p["name"] == name]
        return errors[0] if errors else ""

    def supervisor(self) -> int:
        """Process id of the supervisor, 0 when it does not answer."""
        agent = self.agent()
        with contextlib.suppress(RayflumeError):
            return agent.pid() if agent is not None else 0
        return 0


def ready(parts: list[Part]) -> bool:
    """Whether every part runs."""
    return bool(parts) and all(part["state"] == "running" and part["pid"] for part in parts)


def name_of(part: Part) -> str:
    return f"{part['name']}/{part['replica']}"
