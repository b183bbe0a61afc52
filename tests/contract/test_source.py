"""Clauses S1 to S7 of interfaces.PollableSource, over every source that is polled."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayflume.batch import EventBatch, Extent
from rayflume.cli._reference import sample_options
from rayflume.component import lookup, types_of
from rayflume.dead_letters import DeadRows, dead_table
from rayflume.interfaces import PollableSource
from rayflume.testing import Check, Trial, checks

BATCH_BYTES = 200
LINES = [b"row %05d" % i for i in range(120)]


@dataclass(frozen=True)
class Case:
    """One source with input of 120 rows that takes many batches."""

    options: dict[str, object]
    place: Callable[[Path], object]
    rows: list[bytes]
    row_bytes: int
    prefix: str = "host-1/part/"


def place_logs(directory: Path) -> None:
    for i in range(2):
        (directory / f"{i}.log").write_bytes(b"\n".join(LINES[i * 60 : i * 60 + 60]) + b"\n")


def place_spool(directory: Path) -> None:
    spool = directory / "spool"
    spool.mkdir()
    for i in range(3):
        (spool / f"{i}").write_bytes(b"\n".join(LINES[i * 40 : i * 40 + 40]) + b"\n")
        os.utime(spool / f"{i}", (1_000_000 + i, 1_000_000 + i))


DEAD = [f"_rayflume/dead_letters/0123456789abcdef-1-{i}-0.dead" for i in range(3)]


def place_dead_letters(directory: Path) -> None:
    for i, name in enumerate(DEAD):
        batch = EventBatch.from_events(LINES[i * 40 : i * 40 + 40], (), (Extent("s", 0, 40, 40),))
        table = dead_table(batch, DeadRows.all_of(batch, "no reason"), 0, 0)
        path = directory / "lake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_batches([table]), path, row_group_size=15)


CASES = {
    "taildir": Case(
        {"paths": ["*.log"], "batch_bytes": BATCH_BYTES, "linger": 0}, place_logs, LINES, 10
    ),
    "spooldir": Case({"spool_dir": "spool", "batch_bytes": BATCH_BYTES}, place_spool, LINES, 10),
    "seq": Case(
        {"total_events": 120, "batch_size": 20},
        lambda directory: None,
        [b"%d" % i for i in range(120)],
        3,
    ),
    "stress": Case(
        {"max_total_events": 120, "batch_size": 20, "size": 4},
        lambda directory: None,
        [b"\x7f" * 4] * 120,
        4,
    ),
    "exec": Case(
        {"command": "cat lines", "dangerously_allow_command": True, "batch_bytes": BATCH_BYTES},
        lambda directory: (directory / "lines").write_bytes(b"\n".join(LINES)),
        LINES,
        10,
    ),
    "dead_letters": Case(
        {"path": "lake", "files": DEAD, "batch_bytes": BATCH_BYTES},
        place_dead_letters,
        LINES,
        10,
        "dead_letters/",
    ),
}
SERVERS = {
    name for name in types_of("source") if getattr(lookup("source", name), "server", False)
}  # in test_server.py


def test_every_source_is_here() -> None:
    assert set(types_of("source")) == set(CASES) | SERVERS


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def trial(case: Case, request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
    case.place(tmp_path)
    part = lookup("source", request.node.callspec.params["case"])
    return Trial(part, case.options, tmp_path, case.rows, BATCH_BYTES, started=command_ended)


def command_ended(source: PollableSource) -> None:
    """All that a command writes is in the pipe when it has ended."""
    pid = source.describe().get("pid")
    if isinstance(pid, int):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("check", checks("source"), ids=str)
def test_contract(check: Check, trial: Trial) -> None:
    check(trial)


def test_s1_the_prefix(trial: Trial, case: Case) -> None:
    assert trial.build().prefix == case.prefix


@pytest.mark.parametrize("check", checks("server"), ids=str)
@pytest.mark.parametrize("name", sorted(SERVERS))
def test_options_of_servers(name: str, check: Check, tmp_path: Path) -> None:
    part = lookup("source", name)
    check(Trial(part, sample_options(part), tmp_path))
