"""F7: a delivery that could not be staged while the store failed goes on, or is given up.

What must never be: a delivery that is asked to stage for ever, though it never can, while its lease
is kept alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy, in_front_of
from lakes import LakeWorld, S3Place, to_stage
from servers import S3Server

from rayflume import flow
from rayflume.delivery import State
from rayflume.errors import PublishUnknown, Retry, StagingFailed

pytestmark = pytest.mark.s3
ROWS = 28_000
"""Rows of 1 kB. Row groups of 16 MB are sent while they come, and 12 MB, which are two whole parts
and a rest, when the delivery is finished: the first of them fails before the footer comes.
"""


@pytest.fixture
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(weed_s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def world(tmp_path: Path, weed_s3: S3Server, proxy: FaultProxy) -> Iterator[LakeWorld]:
    with contextlib.closing(weed_s3.client()) as client:
        options = {**weed_s3.options, "endpoint": proxy.endpoint, "part_bytes": "5MiB"}
        place = S3Place(
            client,
            weed_s3.bucket(),
            {**options, "read_timeout": "20s", "call_timeout": "60s", "concurrency": 1},
        )
        found = LakeWorld(tmp_path, place, codec="none", row_group_bytes="64MiB")
        yield found
        found.close()


def filled(world: LakeWorld, sink: Any) -> tuple[flow.Lane, Any]:
    sink.open()
    lane = world.lane(sink)
    return lane, world.fill(lane)


def test_f7_a_part_that_fails_before_the_footer_gives_the_rows_back(
    world: LakeWorld, proxy: FaultProxy
) -> None:
    for start in range(0, ROWS, 4_000):
        world.put(start, start + 4_000, field="wide", size=1_000)
    lane, delivery = filled(world, world.sink())
    proxy.inject(Fault.ERROR_500, call="part", times=None)
    # One part at a time: when a second one has room, the writer knows that the first has failed.
    with pytest.raises(StagingFailed):
        flow.finish(lane, delivery)
    proxy.heal()
    for _ in range(3):
        with contextlib.suppress(Retry):
            flow.finish(lane, delivery)
    assert delivery.ended, "it is asked for ever"
    world.run(world.sinks[0])
    world.collect(world.sinks[0])
    world.judge(range(ROWS))


def test_f7_an_upload_that_expired_before_it_was_staged_gives_the_rows_back(
    world: LakeWorld, proxy: FaultProxy
) -> None:
    world.put(0, 40)
    sink = world.sink()
    lane, delivery = filled(world, sink)
    assert delivery.writer is not None
    proxy.inject(Fault.ERROR_500, call="part")
    with pytest.raises(Retry):
        flow.finish(lane, delivery)
    assert not delivery.ended
    for _, handle in sink.storage.staged(world.channel.info().journal):
        sink.storage.discard(handle)  # as a lifecycle rule of the bucket does
    with pytest.raises(StagingFailed, match="must be staged anew"):
        flow.finish(lane, delivery)
    assert delivery.state is State.RELEASED
    world.run(sink)
    world.collect(sink)
    world.judge(range(40))


def test_f7_an_upload_that_expired_after_prepare_is_built_anew(
    world: LakeWorld, proxy: FaultProxy
) -> None:
    world.put(0, 40)
    sink = world.sink()
    lane, delivery = filled(world, sink)
    to_stage(lane, delivery)
    lane.channel.prepare(delivery.manifest, lane.holder)
    for _, handle in sink.storage.staged(world.channel.info().journal):
        sink.storage.discard(handle)
    world.reopen()
    proxy.inject(Fault.TIMEOUT_AFTER, call="complete", times=2, hang_s=0.1)
    world.run(sink)
    world.collect(sink)
    world.judge(range(40))


def test_f7_a_store_that_loses_all_is_not_filled_with_uploads(
    world: LakeWorld, proxy: FaultProxy
) -> None:
    world.put(0, 40)
    sink = world.sink()
    lane, delivery = filled(world, sink)
    proxy.inject(Fault.WRONG_ETAG, call="part", times=None)
    for tries in range(1, 4):
        begun = proxy.requests["create-upload"]
        with pytest.raises(PublishUnknown, match="lost again at once"):
            flow.finish(lane, delivery)
        uploads = 2 if tries == 1 else 1  # the first try stages it, and each builds it anew once
        assert proxy.requests["create-upload"] - begun == uploads
        assert world.place.leftovers() == []
    proxy.heal()
    flow.finish(lane, delivery)
    assert delivery.state is State.COMMITTED
    world.judge(range(40))
