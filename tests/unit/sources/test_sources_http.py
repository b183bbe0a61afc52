from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from sources_http_fakes import Server, serving

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.errors import ChannelClosed, ChannelFull, JournalFailed, OptionError
from rayflume.interfaces import StreamPosition
from rayflume.metrics import Metrics
from rayflume.sources._http_group import Key, Waiting, assemble
from rayflume.sources._life import Life
from rayflume.sources.http import Http


def full() -> ChannelFull:
    return ChannelFull("the channel wal has no room", credit=0)


def test_the_part_is_found_by_its_name() -> None:
    assert lookup("source", "HTTP") is Http


# -- the four ways in ------------------------------------------------------------------------------


def test_raw_is_one_event() -> None:
    with serving() as server:
        answer = server.post("/raw", b"line one\nline two\n")
        assert (answer.status, answer.body) == (200, b"")
        assert server.post("/raw", b"").status == 200
        assert server.ingest.stored == [b"line one\nline two\n", b""]


def test_ndjson_is_one_event_a_line() -> None:
    with serving() as server:
        assert server.post("/ndjson", b'{"a":1}\r\n\nnot json\n{"a":2}').status == 200
        assert server.ingest.stored == [b'{"a":1}', b"not json", b'{"a":2}']


def test_flume_json_keeps_headers() -> None:
    with serving() as server:
        body = json.dumps([{"headers": {"host": "n1"}, "body": "x"}, {"body": "y"}]).encode()
        assert server.post("/", body, Content_Type="application/json; charset=UTF-8").status == 200
        assert server.ingest.stored == [b"x", b"y"]
        assert server.ingest.calls[0].header("host").to_pylist() == ["n1", None]


def test_gzip_bodies_are_unpacked() -> None:
    with serving() as server:
        body = gzip.compress(b"a\nb\n")
        assert server.post("/ndjson", body, Content_Encoding="gzip").status == 200
        assert server.ingest.stored == [b"a", b"b"]
        refused = server.post("/ndjson", body, Content_Encoding="br")
        assert refused.status == 415


def test_a_large_body_arrives_whole() -> None:
    lines = b"".join(b"%09d" % i + b"x" * 190 + b"\n" for i in range(70_000))
    with serving() as server:
        assert server.post("/ndjson", lines).status == 200
        assert server.ingest.stored == lines.splitlines()
        assert server.metrics.snapshot()["BytesReceivedCount"] == len(lines)


def test_a_request_without_events_is_taken_without_a_put() -> None:
    with serving() as server:
        assert server.post("/", b"[]").status == 200
        assert server.post("/ndjson", b"\n", Idempotency_Key="k").status == 200
        assert server.ingest.calls == []


def test_headers_of_the_request_become_headers_of_its_events() -> None:
    with serving(headers_from_request=["X-Site", "X-None"]) as server:
        body = b'[{"headers":{"X-Site":"spoofed","b":"c"},"body":"x"},{"body":"y"}]'
        assert server.post("/", body, X_Site="oslo").status == 200
        batch = server.ingest.calls[0]
        assert batch.headers["X-Site"] == "oslo"
        assert batch.header_names() == ["X-Site", "b"]


# -- every other status ----------------------------------------------------------------------------


def test_malformed_requests_are_400_and_nothing_of_them_is_taken() -> None:
    with serving() as server:
        answer = server.post("/", b'[{"body":"fine"},{"body":SECRET}]')
        assert answer.status == 400
        assert b"SECRET" not in answer.body
        assert "column" in answer.error
        text = server.post("/", b"[]", Content_Type="application/json; charset=latin-1")
        assert text.status == 400
        assert server.ingest.calls == []
        counts = server.metrics.snapshot()
        assert (counts["RequestRejectedCount"], counts["EventReadFail"]) == (2, 1)


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic s3cret", "s3cret", "Bearer "])
def test_s10_a_missing_or_wrong_token_is_401(given: str | None) -> None:
    with serving(token="s3cret") as server:
        headers = {} if given is None else {"Authorization": given}
        answer = server.post("/raw", b"x", **headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert b"s3cret" not in answer.body
        assert server.ingest.calls == []
        assert server.ask("GET", "/healthz").status == 200
        assert server.post("/raw", b"x", Authorization="Bearer s3cret").status == 200


def test_unknown_paths_and_methods() -> None:
    with serving() as server:
        assert server.post("/events", b"x").status == 404
        assert server.post("//raw", b"x").status == 404
        for method in ("GET", "PUT", "DELETE", "TRACE", "OPTIONS"):
            answer = server.ask(method, "/raw")
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert server.post("/healthz", b"x").status == 405
        assert server.ingest.calls == []


def test_a_full_or_closed_channel_is_503_with_retry_after() -> None:
    with serving() as server:
        for error in (full(), ChannelClosed("restarting"), JournalFailed("fsync failed")):
            server.ingest.errors.append(error)
            answer = server.post("/raw", b"x")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            server.clock.advance(1_000)
        assert server.source.describe()["last_error"] == "fsync failed"
        assert server.post("/raw", b"x").status == 200
        assert server.ingest.stored == [b"x"]


def test_after_a_refused_put_requests_are_refused_unread_for_a_moment() -> None:
    with serving() as server:
        server.ingest.errors.append(full())
        assert server.post("/raw", b"x").status == 503
        assert server.post("/raw", b"y").status == 503
        assert len(server.ingest.calls) == 1
        server.clock.advance(100)
        assert server.post("/raw", b"z").status == 200


def test_a_bug_behind_ingest_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        server.ingest.errors.append(ZeroDivisionError("SECRET"))
        answer = server.post("/raw", b"x")
        assert answer.status == 500
        assert b"SECRET" not in answer.body
        assert "ZeroDivisionError" in caplog.text


def test_s2_too_many_pending_bytes_are_503() -> None:
    with serving(max_request_bytes="1kB", max_pending_bytes="2kB") as server:
        server.ingest.gate.clear()
        first = server.post_later("/raw", b"a" * 900)
        server.ingest.entered.acquire()
        second = server.post_later("/raw", b"b" * 900)
        server.until("requests_waiting", 1)
        third = server.post("/raw", b"c" * 900)
        assert (third.status, third.headers["Retry-After"]) == (503, "1")
        server.ingest.gate.set()
        server.join()
        assert (first[0].status, second[0].status) == (200, 200)
        assert server.source.describe()["pending_bytes"] == 0


# -- V1 to V4 --------------------------------------------------------------------------------------


def context(directory: Path = Path("/nowhere")) -> Context:
    return Context("agent", "web", ManualClock(), Metrics(), directory, host_id="h1")


def test_v1_a_taken_port_is_an_option_error() -> None:
    with serving() as server:
        second = Http(port=server.port).build(context())
        with pytest.raises(OptionError, match=rf"port {server.port} on 127.0.0.1 is in use; .*"):
            second.start({}, server.ingest)
        second.stop()


def test_v1_a_foreign_address_is_an_option_error() -> None:
    source = Http(port=0, bind="192.0.2.1", dangerously_allow_anonymous=True).build(context())
    with pytest.raises(OptionError, match=r"'192\.0\.2\.1' is not an address of this host"):
        source.start({}, lambda batch: pytest.fail("no rows were sent"))


def test_v2_a_client_gets_its_200_only_after_ingest_returned() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        answers = server.post_later("/raw", b"x")
        server.ingest.entered.acquire()
        server.threads[0].join(0.1)
        assert answers == []
        server.ingest.gate.set()
        server.join()
        assert answers[0].status == 200


def test_v3_drain_answers_what_is_in_hand_and_refuses_the_rest() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        answers = server.post_later("/raw", b"in hand")
        server.ingest.entered.acquire()
        thread = _start(server.source.drain)
        server.until("state", "draining")
        refused = server.post("/raw", b"late")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert server.ask("GET", "/readyz").status == 503
        assert server.ask("GET", "/healthz").status == 200
        assert thread.is_alive()
        server.ingest.gate.set()
        thread.join(20)
        assert not thread.is_alive()
        assert server.source.describe()["state"] == "drained"
        server.join()
        assert answers[0].status == 200
        assert server.post("/raw", b"later still").status == 503
        assert server.ingest.stored == [b"in hand"]


def test_v3_drain_does_not_wait_for_bodies_that_are_still_on_their_way() -> None:
    with serving() as server:
        with server.connect() as connection:
            connection.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
            server.until("requests_in_hand", 1)
            server.source.drain()
            assert connection.recv(4096).startswith(b"HTTP/1.1 503")
        assert server.ingest.calls == []


def test_v3_every_row_answered_with_200_under_drain_is_stored() -> None:
    with serving() as server:
        sent: list[bytes] = []

        async def client(number: int) -> None:
            async with aiohttp.ClientSession() as session:
                for i in range(1_000):
                    body = b"%d-%d" % (number, i)
                    url = f"http://127.0.0.1:{server.port}/raw"
                    async with session.post(url, data=body) as response:
                        if response.status != 200:
                            assert response.status == 503
                            return
                        sent.append(body)

        async def all_clients() -> None:
            clients = asyncio.gather(*(client(number) for number in range(8)))
            await asyncio.to_thread(server.ingest.entered.acquire)
            await asyncio.to_thread(server.source.drain)
            await clients

        asyncio.run(all_clients())
        assert sorted(sent) == sorted(body for body in server.ingest.stored if body is not None)
        assert server.source.describe()["requests_in_hand"] == 0


def test_v4_stop_closes_the_socket_and_unanswered_requests_get_none() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        with server.connect() as connection:
            connection.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            server.ingest.entered.acquire()
            thread = _start(server.source.stop)
            assert connection.recv(4096) == b""
            server.ingest.gate.set()
            thread.join(20)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        server.source.stop()
        server.source.drain()


def test_stop_before_start_and_of_an_idle_server() -> None:
    Http(port=0).build(context()).stop()
    with serving() as server, server.connect():
        server.until("connections", 1)
        server.source.stop()
        assert server.source.describe()["state"] == "stopped"


# -- grouping, lives, keys -------------------------------------------------------------------------


def test_requests_that_come_during_a_put_share_the_next_one() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        first = server.post_later("/raw", b"first")
        server.ingest.entered.acquire()
        others = [server.post_later("/ndjson", b"%d\n%d\n" % (i, i)) for i in range(20)]
        server.until("requests_waiting", 20)
        server.ingest.gate.set()
        server.join()
        assert [answer[0].status for answer in [first, *others]] == [200] * 21
        assert [batch.num_rows for batch in server.ingest.calls] == [1, 40]
        life = str(server.source.describe()["stream"])
        assert life.startswith("h1/web/life/")
        assert len(life) == len("h1/web/life/") + 16
        assert server.ingest.extents() == [Extent(life, 0, 1, 1), Extent(life, 1, 41, 40)]


def test_a_put_holds_at_most_batch_bytes_but_never_parts_a_request() -> None:
    with serving(batch_bytes=10) as server:
        server.ingest.gate.clear()
        server.post_later("/raw", b"first")
        server.ingest.entered.acquire()
        for i in range(3):
            server.post_later("/raw", b"%d" % i * 4)
            server.until("requests_waiting", i + 1)
        server.post_later("/ndjson", b"123456\n123456\n")
        server.until("requests_waiting", 4)
        server.ingest.gate.set()
        server.join()
        assert [batch.num_rows for batch in server.ingest.calls] == [1, 2, 1, 2]


def test_after_a_failed_put_a_new_life_begins_and_the_old_one_is_retired() -> None:
    with serving() as server:
        assert server.post("/raw", b"a").status == 200
        before = str(server.source.describe()["stream"])
        server.ingest.errors.append(full())
        server.ingest.store_before_error = True
        assert server.post("/raw", b"b").status == 503
        server.clock.advance(1_000)
        assert server.post("/raw", b"b").status == 200
        after = str(server.source.describe()["stream"])
        assert before != after
        assert server.source.retired() == [before]
        assert server.source.retired() == []
        # No gap in any stream (the fake asserts it); at least once without a key.
        assert server.ingest.next == {before: 2, after: 1}
        server.source.stop()
        assert server.source.retired() == [after]


def test_former_lives_are_retired_at_start() -> None:
    positions = {
        "h1/web/life/00": StreamPosition(7),
        "h1/web/life/01": StreamPosition(7, retired=True),
        "h1/web2/life/02": StreamPosition(7),
        "h2/web/life/03": StreamPosition(7),
    }
    with serving(positions) as server:
        assert server.source.retired() == ["h1/web/life/00"]


def test_a_group_that_the_channel_refuses_comes_back_smaller() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        server.post_later("/raw", b"first")
        server.ingest.entered.acquire()
        refused = [server.post_later("/raw", b"%d" % i) for i in range(8)]
        server.until("requests_waiting", 8)
        server.ingest.errors = []
        gate = server.ingest.gate
        server.ingest.errors.append(full())
        server.ingest.errors.append(full())
        gate.set()
        server.join()
        assert [answer[0].status for answer in refused] == [503] * 8
        server.clock.advance(2_000)
        server.ingest.errors.clear()
        sizes = len(server.ingest.calls)
        gate.clear()
        server.post_later("/raw", b"again")
        server.ingest.entered.acquire()
        for i in range(8):
            server.post_later("/raw", b"%d" % i)
        server.until("requests_waiting", 8)
        gate.set()
        server.join()
        assert max(batch.num_rows for batch in server.ingest.calls[sizes:]) < 8
        assert sorted(x for x in server.ingest.stored if x) == sorted(
            [b"again", *(b"%d" % i for i in range(8))]
        )


def test_a_repeated_key_counts_once() -> None:
    with serving() as server:
        for _ in range(3):
            assert server.post("/ndjson", b"a\nb\n", Idempotency_Key="order 1").status == 200
        assert server.post("/ndjson", b"a\nb\n", Idempotency_Key="order 2").status == 200
        assert server.ingest.stored == [b"a", b"b", b"a", b"b"]
        extent = server.ingest.extents()[0]
        assert extent.keyed
        assert (extent.start, extent.end, extent.rows) == (0, 2, 2)
        assert len(bytes.fromhex(extent.stream)) == len(extent.token) == 16


def test_a_key_with_another_body_or_path_is_422_and_its_neighbours_are_stored() -> None:
    with serving() as server:
        assert server.post("/raw", b"a", Idempotency_Key="k").status == 200
        server.ingest.gate.clear()
        server.post_later("/raw", b"first")
        server.ingest.entered.acquire()
        server.ingest.entered.acquire()
        other = server.post_later("/raw", b"b", Idempotency_Key="k")
        plain = server.post_later("/raw", b"plain")
        server.until("requests_waiting", 2)
        server.ingest.gate.set()
        server.join()
        assert (other[0].status, plain[0].status) == (422, 200)
        assert server.post("/ndjson", b"a", Idempotency_Key="k").status == 422
        assert server.ingest.stored == [b"a", b"first", b"plain"]


def test_twins_of_a_key_wait_for_each_other() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        first = server.post_later("/raw", b"a", Idempotency_Key="k")
        server.ingest.entered.acquire()
        twin = server.post_later("/raw", b"a", Idempotency_Key="k")
        other = server.post_later("/raw", b"b", Idempotency_Key="k")
        server.until("requests_in_hand", 3)
        assert server.source.describe()["requests_waiting"] == 0
        server.ingest.gate.set()
        server.join()
        assert [answer[0].status for answer in (first, twin, other)] == [200, 200, 422]
        assert server.ingest.stored == [b"a"]


def test_twins_of_a_refused_key_are_refused_too_and_may_come_again() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        server.ingest.errors.append(full())
        server.ingest.store_before_error = True
        first = server.post_later("/raw", b"a", Idempotency_Key="k")
        server.ingest.entered.acquire()
        twin = server.post_later("/raw", b"a", Idempotency_Key="k")
        server.until("twins_waiting", 1)
        server.ingest.gate.set()
        server.join()
        assert [first[0].status, twin[0].status] == [503, 503]
        server.clock.advance(1_000)
        assert server.post("/raw", b"a", Idempotency_Key="k").status == 200
        assert server.ingest.stored == [b"a"]
        assert server.source.retired() == []


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7fb", "é"])
def test_an_unusable_key_is_400(key: str) -> None:
    with serving() as server:
        assert server.post("/raw", b"a", Idempotency_Key=key).status == 400
        assert server.post("/raw", b"a", Idempotency_Key="x" * 255).status == 200
        assert server.ingest.stored == [b"a"]


def test_keys_of_two_sources_are_not_the_same() -> None:
    streams = set()
    for name in ("one", "two"):
        with serving(id=name) as server:
            server.post("/raw", b"a", Idempotency_Key="k")
            streams.add(server.ingest.extents()[0].stream)
    assert len(streams) == 2


def test_neighbours_without_a_key_share_an_extent() -> None:
    loop = asyncio.new_event_loop()

    def waiting(bodies: list[bytes | None], key: Key | None = None) -> Waiting:
        return Waiting(EventBatch.from_events(bodies), key, loop.create_future())

    key = Key("0f", b"digest")
    group = [waiting([b"a"]), waiting([b"b", b"c"]), waiting([b"d"], key), waiting([b"e"])]
    batch, life = assemble(group, Life("life", 5))
    loop.close()
    assert batch.body.to_pylist() == [b"a", b"b", b"c", b"d", b"e"]
    assert batch.extents == (
        Extent("life", 5, 8, 3),
        Extent("0f", 0, 1, 1, b"digest", keyed=True),
        Extent("life", 8, 9, 1),
    )
    assert life == Life("life", 9)


# -- health ----------------------------------------------------------------------------------------


def test_readyz_tells_of_a_channel_that_refuses_or_hangs() -> None:
    with serving() as server:
        assert server.ask("GET", "/readyz").status == 200
        assert server.ask("HEAD", "/readyz").status == 200
        server.ingest.errors.append(full())
        server.post("/raw", b"x")
        assert "refused" in server.ask("GET", "/readyz").error
        server.clock.advance(2_000)
        assert server.ask("GET", "/readyz").status == 200
        server.ingest.gate.clear()
        server.post_later("/raw", b"x")
        _wait_for_put(server)
        server.clock.advance(11_000)
        assert "11 s" in server.ask("GET", "/readyz").error
        server.ingest.gate.set()
        server.join()
        assert server.ask("GET", "/readyz").status == 200


def _wait_for_put(server: Server) -> None:
    while len(server.ingest.calls) < 2:
        assert server.ingest.entered.acquire(timeout=20)


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread
