"""A long backlog of small puts: opened quickly, served at once, put to and taken from at speed.

10,000,000 rows in 100,000 puts must be open in 10 s on 2 cores; here it is 30,000 puts in 2.5 s of
CPU.
"""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import pytest
from fakes import context

from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.channels.file import File
from rayflume.interfaces import PutOutcome, PutRequest
from rayflume.journal.segment import Kind, extents_to_json
from rayflume.journal.survey import survey

pytestmark = pytest.mark.slow
PUTS, ROWS = 30_000, 100
OPEN_S = 2.5
TAKE_S = 3.0
PUT_S = 0.5


def backlog(directory: Path) -> JournaledChannel:
    """An open channel whose journal holds the puts; they are synced by the thousand."""
    options = {"directory": "wal", "minimum_required_space": 0, "max_file_size": "32MiB"}
    channel: JournaledChannel = File.model_validate(options).build(context(directory))
    channel.open()
    payload = EventBatch.from_events([b"%019d" % i for i in range(ROWS)]).encode()
    crc, journal = zlib.crc32(payload), channel._journal
    with channel._condition:
        for number in range(PUTS):
            journal.make_room()
            start = number * ROWS
            extent = Extent("host/web/8-15/0", start, start + ROWS, ROWS, bytes(60))
            meta = {
                "rows": [start, start + ROWS],
                "extents": extents_to_json((extent,)),
                "source": "web",
                "now": 1,
            }
            seq = journal.append(Kind.PUT, meta, payload, crc)
            if number % 1_000 == 999:
                journal.sync(seq)
    channel.close()
    return channel


def test_a_long_backlog_of_small_puts_is_open_and_serving_in_time(tmp_path: Path) -> None:
    channel = backlog(tmp_path)
    began = time.process_time()
    channel.open()
    state = channel.state()
    taken = channel.take("lake/0/a", "", 2**20, 0)
    opened = time.process_time() - began
    assert state.waiting == PUTS * ROWS
    assert taken.rows > 10_000

    began = time.process_time()
    for number in range(100):
        payload = EventBatch.from_events([b"new"]).encode()
        extent = Extent("other", number, number + 1, 1)
        put = PutRequest("web", (extent,), payload, zlib.crc32(payload), 1)
        assert channel.put(put).outcome is PutOutcome.STORED
    hundred_puts = time.process_time() - began

    began, rows = time.process_time(), taken.rows
    while (more := channel.take("lake/0/a", taken.delivery, 2**20, 0)).refs:
        rows += more.rows
    took = time.process_time() - began
    assert rows == PUTS * ROWS + 100
    channel.close()
    print(f"\nopen {opened:.2f} s, 100 puts {hundred_puts:.3f} s, all taken in {took:.2f} s")
    assert opened < OPEN_S and hundred_puts < PUT_S and took < TAKE_S


def test_a_journal_is_checked_at_100_megabytes_a_second(tmp_path: Path) -> None:
    backlog(tmp_path).close()
    began = time.process_time()
    found = survey(tmp_path / "wal", bodies=True)
    seconds = time.process_time() - began
    size = sum(found.sizes.values())
    print(f"\n{size / 1e6:.0f} MB in {seconds:.2f} s of CPU, {size / 1e6 / seconds:.0f} MB/s")
    assert found.state == "whole"
    assert size > 50_000_000
    # Of puts of 3 kB most of the time goes into their heads.
    assert size / seconds > 50_000_000
