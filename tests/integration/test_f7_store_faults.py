"""F7: an object store that fails in every way at every call. A real S3 server behind a proxy.

Each case begins with what a dead collector left: rows in the lake, a Prepared delivery that is not
published, and staged bytes that nobody prepared. Then the fault holds while the next collector
recovers, agrees on a new column and delivers. Each fault meets every other call, the next fault
those between; RAYFLUME_FAULT_VOLUME=2 lets each meet all. RAYFLUME_F7_HOLDS="1s 10s 60s inf" holds
it longer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy, in_front_of
from fault_volume import scaled
from lakes import LakeWorld, Patience, S3Place, to_prepare, to_stage
from servers import S3Server

from rayflume.sinks.parquet import ParquetSink

pytestmark = pytest.mark.s3
CALLS = ("create-upload", "part", "complete", "put", "head", "get", "list", "abort")
HOLDS = os.environ.get("RAYFLUME_F7_HOLDS", "once").split()
ROWS = 40


@pytest.fixture(scope="module")
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(weed_s3.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(weed_s3: S3Server) -> Iterator[Any]:
    with contextlib.closing(weed_s3.client()) as client:
        yield client


@pytest.fixture(scope="module")
def bucket(weed_s3: S3Server) -> str:
    return weed_s3.bucket()


@pytest.fixture
def world(
    tmp_path: Path, weed_s3: S3Server, proxy: FaultProxy, client: Any, bucket: str
) -> Iterator[LakeWorld]:
    proxy.heal()
    proxy.injected.clear()
    proxy.requests.clear()
    place = S3Place(client, bucket, {**weed_s3.options, "endpoint": proxy.endpoint})
    found = LakeWorld(tmp_path, place)
    yield found
    proxy.heal()
    found.close()


def leave_work(world: LakeWorld, sink: ParquetSink | None, first: int) -> ParquetSink:
    """What a collector leaves that died three times."""
    world.put(first, first + 10)
    sink = world.run(sink)
    patience = Patience(30, world)
    for start, step in ((first + 10, to_prepare), (first + 20, to_stage)):
        world.put(start, start + 10)
        lane = world.lane(sink)
        delivery = patience.call(partial(world.fill, lane))
        patience.call(partial(step, lane, delivery))
    world.reopen()
    world.put(first + 30, first + ROWS, field=f"later{first}")
    return sink


def hold(proxy: FaultProxy, fault: Fault, call: str, how: str) -> threading.Timer | None:
    """Start the fault; "once", for so many seconds, or "inf": until healed after 5 s."""
    # Longer than the time-outs of the storage, but for a slow body: one byte each 0.2 s.
    hang_s = 0.2 if fault is Fault.SLOW_BODY else 2.0
    if how == "once":
        proxy.inject(fault, call=call, hang_s=hang_s)
        return None
    seconds = 5.0 if how == "inf" else float(how.removesuffix("s"))
    proxy.inject(fault, call=call, times=None, hang_s=hang_s)
    timer = threading.Timer(seconds, proxy.heal)
    timer.start()
    return timer


def calls_for(fault: Fault) -> tuple[str, ...]:
    first = list(Fault).index(fault) % 2
    return CALLS if scaled(2) > 2 else CALLS[first::2]


@pytest.mark.parametrize("how", HOLDS)
@pytest.mark.parametrize("fault", list(Fault))
def test_f7_every_row_once_whatever_the_store_does(
    world: LakeWorld, proxy: FaultProxy, fault: Fault, how: str
) -> None:
    sink = None
    for number, call in enumerate(calls_for(fault)):
        sink = leave_work(world, sink, number * ROWS)
        timer = hold(proxy, fault, call, how)
        try:
            world.run(sink, seconds=150)
        finally:
            if timer is not None:
                timer.cancel()
        assert proxy.injected[call, fault] >= 1, f"{fault} never hit {call}"
        proxy.heal()
        world.collect(sink)
        world.judge(range((number + 1) * ROWS))
