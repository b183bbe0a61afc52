"""timestamp, host, static."""

from __future__ import annotations

import socket
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interceptors.host import Host
from rayflume.interceptors.static import Static
from rayflume.interceptors.timestamp import Timestamp
from rayflume.metrics import Metrics


def context(clock: ManualClock | None = None) -> Context:
    return Context("a", "web", clock or ManualClock(), Metrics(), Path.cwd())


def three_rows() -> EventBatch:
    headers = [{"h": "old"}, {}, {"other": "x"}]
    return EventBatch.from_events([b"a", None, b"c"], headers, (Extent("s", 0, 9, 3),))


def test_timestamp_is_one_reading_for_the_whole_batch_and_a_new_one_for_the_next() -> None:
    clock = ManualClock(1_700_000_000_123)
    part = Timestamp().build(context(clock))
    first = part.intercept(three_rows())
    assert first.headers["timestamp"] == "1700000000123"
    assert first.header("timestamp").to_pylist() == ["1700000000123"] * 3
    assert first.extents == three_rows().extents
    clock.advance(5)
    assert part.intercept(three_rows()).headers["timestamp"] == "1700000000128"


@pytest.mark.parametrize(("preserve", "first"), [(False, "1700000000000"), (True, "old")])
def test_timestamp_preserve_existing(preserve: bool, first: str) -> None:
    options = Timestamp(header_name="h", preserve_existing=preserve)
    got = options.build(context()).intercept(three_rows()).header("h").to_pylist()
    assert got == [first, "1700000000000", "1700000000000"]


def test_static_keeps_what_is_there_by_default_as_in_flume() -> None:
    assert Static(key="h", value="v").intercept(three_rows()).header("h").to_pylist() == [
        "old",
        "v",
        "v",
    ]
    got = Static(key="h", value="v", preserve_existing=False).intercept(three_rows())
    assert got.header("h").to_pylist() == ["v", "v", "v"]
    assert Static().intercept(three_rows()).header("key").to_pylist() == ["value"] * 3


def test_host_writes_an_address_or_a_name() -> None:
    address = Host().build(context()).intercept(three_rows()).headers["host"]
    assert isinstance(address, str)
    assert len(socket.inet_aton(address)) == 4
    name = Host(use_ip=False, host_header="h2").build(context()).intercept(three_rows())
    assert name.headers["h2"] == socket.getfqdn()


def test_host_preserve_existing() -> None:
    part = Host(use_ip=False, host_header="h", preserve_existing=True).build(context())
    assert part.intercept(three_rows()).header("h").to_pylist()[0] == "old"


def test_host_that_has_no_address_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolvable(*_: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(socket, "socket", unresolvable)
    monkeypatch.setattr(socket, "gethostbyname", unresolvable)
    batch = three_rows()
    assert Host().build(context()).intercept(batch) is batch


@pytest.mark.parametrize("cls", [Timestamp, Host, Static])
def test_an_empty_batch_stays_one(cls: type[Timestamp] | type[Host] | type[Static]) -> None:
    empty = EventBatch(pa.array([], pa.binary()), {}, (Extent("s", 0, 9, 0),))
    got = cls().build(context()).intercept(empty)
    assert got.num_rows == 0
    assert got.extents == empty.extents


def test_a_header_without_a_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 character"):
        Static(key="")
