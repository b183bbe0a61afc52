"""Credentials that expire in the middle of a delivery, on a real store: the sink gets new ones from
AWS's files and goes on, in the same life.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, in_front_of
from lakes import LakeWorld, Patience, S3Place, to_prepare, to_stage
from servers import S3Server

pytestmark = pytest.mark.s3
ROWS = 10


class Token:
    """The credentials on this host, and when they expire at the store."""

    def __init__(self, server: S3Server, proxy: FaultProxy, file: Path) -> None:
        self._server, self._proxy, self._file = server, proxy, file
        self.give(server.access_key)

    def give(self, key: str) -> None:
        secret = self._server.secret_key
        text = f"[lake]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        self._file.write_text(text)

    def expire(self, key: str) -> None:
        self._proxy.expired.add(key)


@pytest.fixture
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(weed_s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def token(
    weed_s3: S3Server, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Token:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return Token(weed_s3, proxy, file)


@pytest.fixture
def world(
    tmp_path: Path, weed_s3: S3Server, proxy: FaultProxy, token: Token
) -> Iterator[LakeWorld]:
    with contextlib.closing(weed_s3.client()) as client:
        options = {
            "endpoint": proxy.endpoint, "region": weed_s3.region, "profile": "lake",
            "read_timeout": "20s", "call_timeout": "60s",
        }  # fmt: skip
        made = LakeWorld(tmp_path, S3Place(client, weed_s3.bucket(), options))
        yield made
        made.close()


STEPS: list[Callable[..., None]] = [to_stage, to_prepare, lambda lane, delivery: None]


@pytest.mark.parametrize("step", STEPS, ids=["staged", "prepared", "open"])
def test_a_delivery_goes_on_with_new_credentials(
    world: LakeWorld, proxy: FaultProxy, weed_s3: S3Server, token: Token, step: Callable[..., None]
) -> None:
    sink = world.run()
    world.put(0, ROWS)
    lane = world.lane(sink)
    step(lane, world.fill(lane))
    token.give(weed_s3.spare_key)
    token.expire(weed_s3.access_key)
    world.deliver(lane, Patience(0, world))  # no patience: nobody but the storage may try again
    assert proxy.refused == 1
    assert world.errors == []
    world.collect(sink)
    world.judge(range(ROWS))


def test_a_sink_waits_for_credentials_that_come_late(
    world: LakeWorld, proxy: FaultProxy, weed_s3: S3Server, token: Token
) -> None:
    sink = world.run()
    world.put(0, ROWS)
    token.expire(weed_s3.access_key)
    come = threading.Timer(1.0, token.give, [weed_s3.spare_key])
    come.start()
    try:
        world.run(sink, seconds=60)
    finally:
        come.join()
    assert "have expired and AWS's own chain has no newer ones" in world.errors[0]
    assert proxy.refused > 1
    world.collect(sink)
    world.judge(range(ROWS))
