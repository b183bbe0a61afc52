"""Crashes of sources whose places are new: at every step, before and after a put, and with a put
that arrives late.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fastavro
import pytest
from channel_model import Flow

from rayflume.batch import EventBatch
from rayflume.component import lookup

LINES = [b"line %02d" % i for i in range(24)]


def container() -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, "bytes", LINES, sync_interval=24)
    return out.getvalue()


def spool(directory: Path, data: list[bytes]) -> list[Path]:
    (directory / "spool" / ".flumespool").mkdir(parents=True)
    paths = [directory / "spool" / f"{i}" for i in range(len(data))]
    for i, path in enumerate(paths):
        path.write_bytes(data[i])
        os.utime(path, (1_000_000 + i, 1_000_000 + i))
    return paths


def note_spool(directory: Path, path: Path, offset: int) -> None:
    out = io.BytesIO()
    schema = {"type": "record", "name": "M", "fields": [{"name": "offset", "type": "long"}]}
    fastavro.writer(out, schema, [{"offset": offset}], metadata={"file": str(path)})
    (directory / "spool" / ".flumespool" / ".flumespool-main.meta").write_bytes(out.getvalue())


def place_lines(directory: Path) -> None:
    spool(directory, [b"\n".join(LINES[:12]), b"", b"\n".join(LINES[12:])])


def place_long_lines(directory: Path) -> None:
    spool(directory, [b"".join(LINES[:12]) + b"\n", b"".join(LINES[12:])])


def place_wide_lines(directory: Path) -> None:
    spool(directory, [b"\n".join(LINES).decode().encode("utf-16")])


def place_avro(directory: Path) -> None:
    spool(directory, [container(), container()])


def place_blobs(directory: Path) -> None:
    spool(directory, [b"".join(LINES[:12]), b"".join(LINES[12:])])


def place_half_read(directory: Path) -> None:
    paths = spool(directory, [b"\n".join(LINES[:12]), b"\n".join(LINES[12:])])
    note_spool(directory, paths[1], 40)


def place_half_tailed(directory: Path) -> None:
    (directory / "logs").mkdir()
    entries = []
    for i in range(2):
        path = directory / "logs" / f"{i}.log"
        path.write_bytes(b"\n".join(LINES[i * 12 : i * 12 + 12]) + b"\n")
        entries.append({"inode": path.stat().st_ino, "pos": 40, "file": str(path)})
    (directory / "positions").write_text(json.dumps(entries))


@dataclass(frozen=True)
class Case:
    """A source, its input, and the rows that must arrive, each once."""

    type: str
    options: dict[str, object]
    place: Callable[[Path], None]
    rows: list[bytes]


SPOOL: dict[str, object] = {"spool_dir": "spool", "batch_bytes": 50}
CASES = {
    "empty rows": Case("spooldir", {**SPOOL, "empty_file_row": True}, place_lines, [*LINES, b""]),
    "characters": Case(
        "spooldir",
        {**SPOOL, "batch_size": 5, "deserializer": {"type": "line", "max_line_length": 7}},
        place_long_lines,
        LINES,
    ),
    "utf-16": Case("spooldir", {**SPOOL, "input_charset": "UTF-16"}, place_wide_lines, LINES),
    "avro": Case(
        "spooldir",
        {**SPOOL, "deserializer": "avro"},
        place_avro,
        [b"\x0e" + line for line in LINES] * 2,
    ),
    "blob": Case(
        "spooldir",
        {**SPOOL, "deserializer": {"type": "blob", "max_blob_length": 7}},
        place_blobs,
        LINES,
    ),
    "half read": Case("spooldir", SPOOL, place_half_read, LINES[:12] + LINES[17:]),
    "half tailed": Case(
        "taildir",
        {"paths": ["logs/*"], "position_file": "positions", "linger": 0, "batch_bytes": 50},
        place_half_tailed,
        LINES[5:12] + LINES[17:],
    ),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def started(case: Case, directory: Path) -> Flow:
    case.place(directory)
    return Flow(lookup("source", case.type).model_validate(case.options).build, directory)


def next_batch(flow: Flow) -> EventBatch | None:
    for _ in range(4):
        flow.clock.advance(500)
        batch = flow.poll()
        if batch is not None:
            return batch
    return None


def test_a_crash_at_every_step(case: Case, tmp_path: Path) -> None:
    """Each batch is read, lost with its source, read again and stored, and then the source dies
    before it hears of that.
    """
    flow = started(case, tmp_path)
    for _ in range(200):
        if next_batch(flow) is None:
            break
        flow.restart()
        batch = next_batch(flow)
        assert batch is not None
        assert flow.channel.put(batch) is None
        flow.restart()
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted(case.rows)


def test_puts_that_arrive_late(case: Case, tmp_path: Path) -> None:
    """A batch that a dead source had sent arrives after its successor's, or before it."""
    flow = started(case, tmp_path)
    for turn in range(200):
        late = next_batch(flow)
        if late is None:
            break
        flow.restart()
        if turn % 2:
            flow.channel.put(late)
        batch = next_batch(flow)
        if batch is not None:
            flow.give(batch)
        flow.channel.put(late)
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted(case.rows)
