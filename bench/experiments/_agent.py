"""An agent on the local Ray, for as long as a `with` block lasts: its configuration, its parts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.agent import Running
from bench.settings import CODEC, ROW_GROUP_BYTES, SCHEMA
from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.config import load

STAMPED = {"sent_us": "int64", "seq": "int64", **SCHEMA}
"""The clickstream with the two columns that the feed adds."""


@dataclass(frozen=True)
class Setup:
    """What an experiment varies. `sources`: how many taildir sources share the files, source n
    those in `input/<n>`; 0: one HTTP source. `roll_age`: after which a delivery ends.
    """

    sources: int = 1
    sinks: int = 2
    channel: str = "file"
    roll_age: str = "1s"
    scan_interval: str = "50ms"
    schema: Mapping[str, str] = field(default_factory=lambda: dict(STAMPED))


def configuration(folder: Path, setup: Setup) -> dict[str, object]:
    """The agent of an experiment, with all its directories below `folder`."""
    wal: dict[str, object] = {"type": "memory", "capacity": {"events": 10**8, "bytes": "1GiB"}}
    if setup.channel == "file":
        capacity = {"events": 10**9, "bytes": "64GiB"}
        wal = {"type": "file", "directory": str(folder / "wal"), "capacity": capacity}
    lake = {
        "type": "parquet",
        "channel": "wal",
        "path": str(folder / "lake"),
        "codec": CODEC,
        "row_group_bytes": ROW_GROUP_BYTES,
        "format": {"type": "json", "schema": dict(setup.schema)},
        "event_time": "ts",
        "partition_by": ["dt=%Y-%m-%d", "hour=%H"],
        "roll": {"bytes": "128MiB", "age": setup.roll_age},
        "placement": {"replicas": setup.sinks},
    }
    sources: dict[str, object] = {"web": {"type": "http", "port": 0, "channels": ["wal"]}}
    if setup.sources:
        sources = {f"clicks{n}": _taildir(folder, n, setup) for n in range(setup.sources)}
    return {
        "agent": f"bench-{folder.name}",
        "sources": sources,
        "channels": {"wal": wal},
        "sinks": {"lake": lake},
        "state_dir": str(folder / "state"),
    }


def _taildir(folder: Path, number: int, setup: Setup) -> dict[str, object]:
    return {
        "type": "taildir",
        "paths": [str(folder / "input" / str(number) / "*.jsonl")],
        "scan_interval": setup.scan_interval,
        "channels": ["wal"],
    }


def input_folder(folder: Path, source: int = 0) -> Path:
    """Where a source finds its files."""
    return folder / "input" / str(source)


@contextmanager
def local_ray() -> Iterator[None]:
    """A Ray on this machine; one that this process has started already is used and left alone."""
    mine = cluster.connect(None)
    try:
        yield
    finally:
        if mine:
            cluster.disconnect()


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """An empty folder, removed in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(folder: Path, setup: Setup) -> Iterator[Running]:
    """The agent, once all its parts run; ended when the block is left."""
    with starting(folder, setup) as agent:
        agent.wait_running()
        yield agent


@contextmanager
def starting(folder: Path, setup: Setup) -> Iterator[Running]:
    """The agent as soon as it was asked for; ended when the block is left."""
    for number in range(setup.sources):
        input_folder(folder, number).mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(configuration(folder, setup)))
    begun = time.perf_counter()
    agent = Running(cluster.start_agent(Record(load(path)), detached=False), begun)
    try:
        yield agent
    finally:
        agent.end()
