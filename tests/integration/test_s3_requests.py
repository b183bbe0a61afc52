"""What a delivery costs in requests, counted between the agent and two servers.

A store is paid by the request, and each takes its time: create, part, complete, and nothing else.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, in_front_of
from lakes import LakeWorld, Patience, S3Place, to_prepare
from servers import S3Server

pytestmark = pytest.mark.s3
REQUESTS_MAX = 5
"""Per published file, besides its parts."""
FILES = (1, 10)


@pytest.fixture(params=["moto", "weed"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(f"{request.param}_s3")
    return found


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def world(tmp_path: Path, server: S3Server, proxy: FaultProxy) -> Iterator[LakeWorld]:
    patient = {"read_timeout": "20s", "call_timeout": "60s"}
    with contextlib.closing(server.client()) as client:
        options = {**server.options, "endpoint": proxy.endpoint, **patient}
        place = S3Place(client, server.bucket(), options)
        made = LakeWorld(tmp_path, place, partition_by=["p=%{n}"])
        yield made
        made.close()


def counted(proxy: FaultProxy, count: dict[str, int]) -> None:
    """These, and no others, were the requests since the last look."""
    seen, proxy.requests = proxy.requests, collections.Counter()
    assert seen == collections.Counter(count)


def test_a_start_costs_a_handful_of_requests(world: LakeWorld, proxy: FaultProxy) -> None:
    sink = world.run()
    # A listing, an upload begun and given up, a listing of uploads; the schema's versions listed,
    # one looked for and made; the uploads of the dead.
    started = {"list": 4, "create-upload": 1, "abort": 1}
    counted(proxy, {**started, "head": 1, "put": 1})
    world.run(sink)
    counted(proxy, {**started, "get": 1})


@pytest.mark.parametrize("files", FILES)
def test_a_file_costs_two_requests_besides_its_parts(
    world: LakeWorld, proxy: FaultProxy, files: int
) -> None:
    sink = world.run()
    proxy.requests.clear()
    world.put(0, files)
    world.deliver(world.lane(sink), Patience(60, world))
    counted(proxy, {"create-upload": files, "part": files, "complete": files})
    world.collect(sink)
    world.judge(range(files))
    assert len(world.rows()) == files


@pytest.mark.parametrize("files", FILES)
def test_a_delivery_that_is_given_up_costs_three(
    world: LakeWorld, proxy: FaultProxy, files: int
) -> None:
    sink = world.run()
    world.put(0, files)
    proxy.requests.clear()
    lane = world.lane(sink)
    delivery = world.fill(lane)
    assert delivery.writer is not None
    delivery.writer.stage()
    delivery.writer.abandon()
    counted(proxy, {"create-upload": files, "part": files, "abort": files})
    world.collect(sink)
    world.judge(range(files))


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("published", [False, True])
def test_no_death_makes_a_file_cost_more_than_it_may(
    world: LakeWorld, proxy: FaultProxy, files: int, published: bool
) -> None:
    """Prepared by one life, published by the next; or by both, when the first died before the
    journal knew.
    """
    sink = world.run()
    proxy.requests.clear()
    world.run(sink)
    start, proxy.requests = proxy.requests, collections.Counter()
    world.put(0, files)
    lane = world.lane(sink)
    delivery = world.fill(lane)
    to_prepare(lane, delivery)
    if published:
        assert delivery.manifest is not None
        assert sink.publish(delivery.manifest) == []
    world.collect(sink)
    world.judge(range(files))
    spent = proxy.requests - start
    print(spent)
    assert spent["part"] == files
    assert spent.total() - spent["part"] <= REQUESTS_MAX * files
    if not published:
        assert spent == {"create-upload": files, "part": files, "complete": files}
