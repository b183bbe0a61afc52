"""F2 for a lake on S3: death before and after each request, also while another collector goes on.

The requests of a collector's life are counted once; each is then the last that its process sends.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lakes import LakeWorld, S3Place
from servers import S3Server

from rayflume.errors import Refused
from rayflume.storage._s3_client import S3Client

pytestmark = pytest.mark.s3
ROWS = 2
METHODS = {
    "list_objects_v2", "create_multipart_upload", "abort_multipart_upload",
    "list_multipart_uploads", "head_object", "put_object", "upload_part",
    "complete_multipart_upload",
}  # fmt: skip
"""All requests of the first life of a lake; `get_object` is of the next one."""


class Killed(BaseException):
    """The process is dead from here on. Nothing in rayflume catches it."""


class Requests:
    """Stands before S3Client.ask. At the chosen request the process dies, and stays dead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ask = S3Client.ask
        self._lock = threading.Lock()
        self.choose(None)
        requests = self

        def ask(client: S3Client, method: str, **arguments: object) -> Any:
            return requests.around(client, method, arguments)

        monkeypatch.setattr(S3Client, "ask", ask)

    def choose(
        self, number: int | None, how: str = "", others: Callable[[], object] = lambda: None
    ) -> None:
        """Another process from here on; None: it lives. `how`: it dies "before" or "after" that
        request, or is "delayed" there while `others` work.
        """
        self._chosen, self._how, self._others, self._seen = number, how, others, 0
        self.dead, self.hit = False, ""

    def around(self, client: S3Client, method: str, arguments: dict[str, object]) -> Any:
        with self._lock:
            mine = self._seen == self._chosen
            self._seen += 1
        if mine:
            self.hit = method
            self.dead = self._how == "before"
            self._others()
        if self.dead:
            raise Killed
        answer = self._ask(client, method, **arguments)
        if mine:
            self.dead = self._how == "after"
        if self.dead:
            raise Killed
        return answer


def _nobody() -> None:
    """No other collector is there."""


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


@pytest.fixture
def client(weed_s3: S3Server) -> Iterator[Any]:
    with contextlib.closing(weed_s3.client()) as client:
        yield client


def others_first(world: LakeWorld) -> None:
    """The channel believes the delayed one dead, and another delivers all."""
    for holder in list(world.holders):
        world.channel.holder_gone(holder)
    world.run()
    world.channel.drain(True)  # the one that was delayed waits to be told that nothing is left


@pytest.mark.parametrize("how", ("before", "after"))
def test_f2_death_or_delay_at_each_request(
    tmp_path: Path, weed_s3: S3Server, client: Any, requests: Requests, how: str
) -> None:
    bucket, hit, number = weed_s3.bucket(), set(), 0
    patient = {"read_timeout": "20s", "call_timeout": "60s"}
    while True:
        directory = tmp_path / str(number)
        directory.mkdir()
        place = S3Place(client, bucket, {**weed_s3.options, **patient})
        world = LakeWorld(directory, place, partition_by=["p=%{n}"])
        world.put(0, ROWS)
        sink = world.sink()
        others = partial(others_first, world) if how == "delayed" else _nobody
        requests.choose(number, how, others)
        with contextlib.suppress(Killed, Refused):
            world.run(sink)
        method = requests.hit
        requests.choose(None)
        world.collect()
        world.judge(range(ROWS))
        world.close()
        if not method:
            break
        hit.add(method)
        number += 1
    assert hit == METHODS
