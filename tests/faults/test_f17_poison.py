"""F17: rows that cannot be decoded. All of them are in the dead letters with a reason, all others
in the lake, and they do not slow the others down.

RAYFLUME_FAULT_VOLUME=50 makes 10^6 rows.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import context
from fault_volume import scaled

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock
from rayflume.component import lookup
from rayflume.flow import Lane, Status
from rayflume.interfaces import RowRef
from rayflume.journal.reader import decode_rows
from rayflume.metrics import Metrics

SCHEMA = {
    "id": "int64", "url": "string", "ts": "timestamp_ms", "ok": "bool", "price": "float64",
    "country": "string", "ref": "string",
}  # fmt: skip


def good(n: int) -> bytes:
    row = {
        "id": n,
        "url": f"https://example.org/articles/{n % 5_000}?session={n * 7919:032x}",
        "ts": 1_700_000_000_000 + n,
        "ok": n % 2 == 0,
        "price": n * 1.25,
        "country": "NO",
        "ref": f"r{n}" if n % 3 else None,
    }
    return json.dumps(row).encode()


POISON: dict[str, Callable[[bytes], bytes]] = {
    "bad JSON": lambda row: row.replace(b'"ok": ', b'"ok": ,'),
    "cut off": lambda row: row[: len(row) // 2],
    "another type": lambda row: row.replace(b'"id": ', b'"id": "x').replace(
        b', "url"', b'", "url"'
    ),
    "no integer": lambda row: row.replace(b'"id": ', b'"id": 0.5'),
    "a field twice": lambda row: row[:-1] + b', "ts": 5}',
    "invalid UTF-8": lambda row: row.replace(b'"NO"', b'"\xff\xfe"'),
    "empty": lambda _: b"",
    "a NUL": lambda row: row.replace(b'"NO"', b'"\x00"'),
    "two objects": lambda row: row + row,
    "a list": lambda row: b"[" + row + b"]",
}


def poisoned(rows: list[bytes], kinds: list[str], seed: int) -> tuple[list[bytes], Counter[bytes]]:
    """The rows with one in a hundred spoilt, and those."""
    chance, spoilt = random.Random(seed), list(rows)
    places = chance.sample(range(len(rows)), max(len(kinds), len(rows) // 100))
    for i, place in enumerate(places):
        spoilt[place] = POISON[kinds[i % len(kinds)]](rows[place])
    return spoilt, Counter(spoilt[place] for place in places)


class Pipe:
    """Put, journal, take, decode, Parquet on a local disk, in one thread."""

    def __init__(self, directory: Path, contract: str = "evolve") -> None:
        directory.mkdir()
        self.directory, self.clock = directory, ManualClock()
        channel = lookup("channel", "file").model_validate(
            {"directory": "wal", "minimum_required_space": 0}
        )
        built = channel.build(context(directory, "wal", self.clock))
        assert isinstance(built, JournaledChannel)
        self.channel = built
        self.channel.open()
        form = {"type": "json", "schema": SCHEMA}
        options = {"path": "lake", "format": form, "contract": contract}
        part = lookup("sink", "parquet").model_validate(options)
        sink = part.build(context(directory, "lake", self.clock))
        sink.open()

        def read(ref: RowRef) -> EventBatch:
            [record] = self.channel.fetch([ref])
            return decode_rows(record, ref)

        self.lane = Lane("lake", "lake/0/a", built, sink, read, self.clock, Metrics())
        selector = lookup("selector", "replicating")().build(context(directory))
        self.route = flow.Route("web", [], selector, {"wal": built}, Metrics())

    def run(self, rows: list[bytes]) -> float:
        """Seconds of this thread's own work, so that neighbours on the machine do not count."""
        began = time.thread_time()
        for start in range(0, len(rows), 20_000):
            part = rows[start : start + 20_000]
            extent = Extent("s", start, start + len(part), len(part))
            flow.ingest(EventBatch(pa.array(part, pa.binary()), {}, (extent,)), self.route)
        self.channel.drain(True)
        while flow.drain(self.lane, 0) is not Status.DRAINED:
            while self.lane.closing:
                flow.finish(self.lane, self.lane.closing.pop(0))
        took = time.thread_time() - began
        self.channel.close()
        return took

    def lake(self) -> list[dict[str, Any]]:
        return self._read("part-*.parquet")

    def dead(self) -> list[dict[str, Any]]:
        return self._read("_rayflume/dead_letters/*.dead")

    def _read(self, pattern: str) -> list[dict[str, Any]]:
        paths = sorted((self.directory / "lake").glob(pattern))
        return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


@pytest.mark.parametrize("contract", ["evolve", "freeze", "ignore"])
def test_f17_what_goes_in_is_in_the_lake_or_in_the_dead_letters(
    tmp_path: Path, contract: str
) -> None:
    clean = [good(n) for n in range(scaled(20_000))]
    rows, spoilt = poisoned(clean, list(POISON), 17)
    pipe = Pipe(tmp_path / "pipe", contract)
    pipe.run(rows)
    dead = pipe.dead()
    found = np.array([row["id"] for row in pipe.lake()])
    print(f"in {len(rows)}, lake {len(found)}, dead letters {len(dead)}")
    assert Counter(row["body"] for row in dead) == spoilt
    assert all(row["reason"] and rows[row["position"]] == row["body"] for row in dead)
    whole = [n for n, row in enumerate(rows) if row == clean[n]]
    assert np.array_equal(np.sort(found), whole)
    assert len(found) + len(dead) == len(rows)


def test_f17_monsters_and_storms_of_nulls(tmp_path: Path) -> None:
    """A field of 10 MB is a row like another; 10,000 new columns are refused; rows of nothing but
    nulls are rows.
    """
    rows = [good(n) for n in range(2_000)]
    rows[100] = rows[100].replace(b'"NO"', b'"' + b"N" * 10_000_000 + b'"')
    wide = {f"column_{n}": n for n in range(10_000)}
    rows[200] = json.dumps(wide).encode()
    nothing = json.dumps(dict.fromkeys(SCHEMA)).encode()
    rows[500:1_500] = [nothing] * 1_000
    rows[1_600] = b'{"id": 1, "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    rows[1_700] = b"{" * 2_000_000
    pipe = Pipe(tmp_path / "pipe")
    pipe.run(rows)
    lake, dead = pipe.lake(), pipe.dead()
    assert {row["position"]: bool(row["reason"]) for row in dead} == dict.fromkeys(
        (200, 1_600, 1_700), True
    )
    assert len(lake) == 1_997 and sum(row["id"] is None for row in lake) == 1_000
    assert max(len(row["country"] or "") for row in lake) == 10_000_000


@pytest.mark.alone
@pytest.mark.parametrize(
    ("kinds", "least"),
    [
        (["cut off", "invalid UTF-8", "empty", "a NUL", "a list"], 0.65),
        (["bad JSON"], 0.5),
        (["another type"], 0.5),
        (["a field twice"], 0.5),
        (list(POISON), 0.5),
    ],
    ids=["seen at once", "bad JSON", "another type", "twice", "all kinds"],
)
def test_f17_one_bad_row_in_a_hundred_does_not_halve_the_speed(
    tmp_path: Path, kinds: list[str], least: float
) -> None:
    """Clean and poisoned rows in turns, the best of each, in time of this thread. The goal is 80 %;
    the bounds leave room for a busy machine, where shares of 70 to 85 % are printed. What only the
    parser can see cost a half and more when it was looked for by reading again and again.
    """
    clean = [good(n) for n in range(scaled(40_000))]
    bad, _ = poisoned(clean, kinds, 18)
    best = {"clean": 1e9, "poisoned": 1e9}
    for turn in range(4):
        for name, rows in (("clean", clean), ("poisoned", bad)):
            best[name] = min(best[name], Pipe(tmp_path / f"{name}-{turn}").run(rows))
    share = best["clean"] / best["poisoned"]
    size = sum(map(len, clean)) / 1e6
    print(f"clean {size / best['clean']:.0f} MB/s, 1 % of {', '.join(kinds)}: "
          f"{size / best['poisoned']:.0f} MB/s, {share:.0%}")  # fmt: skip
    assert share >= least
