"""A sink keeps a long line busy: parts travel together, in bounded memory, and no faster than the
store bears. A real store behind a proxy that answers late.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from fault_proxy import Fault, FaultProxy, in_front_of
from servers import S3Server

from rayflume.component import Context
from rayflume.interfaces import Published
from rayflume.lake import storage_for
from rayflume.naming import data_name
from rayflume.storage.s3 import S3Storage

pytestmark = [pytest.mark.s3, pytest.mark.alone]
DELIVERY = "00000000000000aa-1-7"
PART = 5 << 20
PIECE = b"x" * (1 << 20)
PARTS = 12
Open = Callable[..., S3Storage]


@pytest.fixture
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(weed_s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def open_s3(weed_s3: S3Server, proxy: FaultProxy, context: Context) -> Iterator[Open]:
    bucket = weed_s3.bucket()
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> S3Storage:
            merged = {**weed_s3.options, "endpoint": proxy.endpoint, "part_bytes": PART, **options}
            storage = cast("S3Storage", storage_for(f"s3://{bucket}", merged, context))
            stack.callback(storage.close)
            return storage

        yield start


def upload(storage: S3Storage, number: int) -> tuple[float, int]:
    """A file of PARTS parts. MB/s, and the most bytes that the upload held in memory."""
    writer = storage.stage(data_name(DELIVERY, number), DELIVERY)
    most, begun = 0, time.monotonic()  # noqa: TID251 - a real line, a real time
    for _ in range(PARTS * PART // len(PIECE)):
        writer.write(PIECE)
        most = max(most, writer.held_bytes)
    handle = writer.finish()
    rate = PARTS * PART / 1e6 / (time.monotonic() - begun)  # noqa: TID251
    assert storage.publish([handle]) == [Published.LANDED]
    return rate, most


def test_parts_travel_together_in_bounded_memory(open_s3: Open, proxy: FaultProxy) -> None:
    upload(open_s3(), 0)  # the first bytes in a bucket can take seconds
    rates = {}
    proxy.latency_s = 0.3
    for concurrency in (1, 6):
        proxy.most.clear()
        rates[concurrency], most = upload(open_s3(concurrency=concurrency), concurrency)
        print(f"{concurrency} parts at once: {rates[concurrency]:.0f} MB/s, {most / PART:.1f} held")
        assert proxy.most["part"] == concurrency
        assert most <= (1 + concurrency) * PART
    # A part alone takes 0.3 s at least. What six reach depends on this machine.
    assert rates[1] < PART / 1e6 / 0.3
    assert rates[1] < rates[6]


def test_a_store_that_bears_little_is_asked_less(open_s3: Open, proxy: FaultProxy) -> None:
    storage = open_s3(concurrency=8)
    before = storage._client._connection.throttle.room
    upload(storage, 0)
    assert storage._client._connection.throttle.room == before
    proxy.latency_s, proxy.bears = 0.05, 2
    upload(storage, 1)
    after = storage._client._connection.throttle.room
    print(f"{proxy.refused} refused for {PARTS} parts; {after} may be under way, {before} before")
    assert proxy.refused
    assert after < before


def test_a_store_that_throttles_for_a_while_costs_no_delivery(
    open_s3: Open, proxy: FaultProxy
) -> None:
    storage = open_s3()
    upload(storage, 0)
    for number, fault in enumerate((Fault.SLOW_DOWN, Fault.TOO_MANY), 1):
        proxy.inject(fault, times=None, for_s=2.0)
        upload(storage, number)
        assert sum(count for (_, hit), count in proxy.injected.items() if hit is fault) >= 2
