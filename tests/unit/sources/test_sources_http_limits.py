from __future__ import annotations

import contextlib
import gzip
import logging
import random
import socket
import ssl
import subprocess
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
from certificates import Certificate, authority, signed
from pydantic import SecretStr, ValidationError
from sources_http_fakes import read_all, serving

from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.errors import OptionError
from rayflume.metrics import Metrics
from rayflume.sources._http_connection import Phase, overdue
from rayflume.sources._http_settings import Settings
from rayflume.sources.http import Http


def context(directory: Path = Path("/nowhere")) -> Context:
    return Context("agent", "web", ManualClock(), Metrics(), directory, host_id="h1")


# -- S1, S11, S12: who may listen ------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_s1_loopback_needs_no_token(bind: str) -> None:
    Http(port=0, bind=bind).build(context())


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "collector.example", ""])
def test_s1_another_address_without_a_token_is_refused(bind: str) -> None:
    with pytest.raises(OptionError, match="no token is set"):
        Http(port=0, bind=bind).build(context())
    Http(port=0, bind=bind, token=SecretStr("s")).build(context())
    Http(port=0, bind=bind, dangerously_allow_anonymous=True).build(context())


def test_bad_options_are_one_clear_sentence() -> None:
    with pytest.raises(OptionError, match="token: it is empty"):
        Http(port=0, token=SecretStr(" ")).build(context())
    with pytest.raises(OptionError, match="set both or none"):
        Http(port=0, tls_key="key.pem").build(context())
    with pytest.raises(OptionError, match="less than max_request_bytes"):
        Http(port=0, max_pending_bytes=10).build(context())
    with pytest.raises(OptionError, match="Cookie carries secrets"):
        Http(port=0, headers_from_request=["Cookie"]).build(context())
    for wrong in (
        {},
        {"port": 65536},
        {"port": 1, "ports": 2},
        {"port": 1, "batch_bytes": "8 apples"},
    ):
        with pytest.raises(ValidationError):
            Http.model_validate(wrong)


def test_s12_the_token_is_never_shown() -> None:
    options = Http(port=0, token=SecretStr("canary"))
    source = options.build(context())
    assert "canary" not in f"{options!r} {source.__dict__!r} {source.describe()!r}"


def certificate(directory: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip


def test_s11_tls_from_1_2_on(tmp_path: Path) -> None:
    certificate(tmp_path)
    files: dict[str, Any] = {
        "tls_certificate": str(tmp_path / "cert.pem"),
        "tls_key": str(tmp_path / "key.pem"),
    }
    with serving({}, **files) as server:
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with (
            server.connect() as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            assert tls.version() in ("TLSv1.2", "TLSv1.3")
            tls.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
        with server.connect() as plain:
            plain.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            assert b"200 OK" not in read_all(plain)
        assert server.ingest.stored == [b"x"]
    built = Http(port=0, **files).build(context())
    tls_context = built._settings.tls
    assert tls_context is not None
    assert tls_context.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_s11_unusable_certificates_are_option_errors(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("missing.pem", "bad.pem"):
        with pytest.raises(OptionError, match=f"cannot use {name} and {name}: "):
            Http(port=0, tls_certificate=name, tls_key=name).build(context(tmp_path))


def test_s11_client_certificates_and_new_ones_without_a_restart(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    own, good = signed(ca, "localhost"), signed(ca, "good.test")
    files: dict[str, Any] = {
        "tls_certificate": str(own.pem), "tls_key": str(own.key_pem), "truststore": str(ca.pem),
        "client_certificates": "required", "client_names": ["good.test"],
    }  # fmt: skip
    Http(port=0, bind="192.0.2.1", **files).build(context())  # S1: it knows its clients
    with serving({}, **files) as server:
        assert posts(server.port, ca, good) == 200
        assert posts(server.port, ca, None) == 0
        assert posts(server.port, ca, signed(ca, "stranger.test")) != 200
        successor = authority(tmp_path, "successor")
        signed(successor, "localhost")  # over the same files
        for _ in range(100):
            if posts(server.port, successor, good) == 200:
                break
            threading.Event().wait(0.1)
        else:
            raise AssertionError("the new certificate is not shown")


def posts(port: int, ca: Certificate, own: Certificate | None) -> int:
    """The status of a request, 0 when there was none."""
    trust = ssl.create_default_context(cafile=str(ca.pem))
    if own is not None:
        trust.load_cert_chain(own.pem, own.key_pem)
    connection = HTTPSConnection("localhost", port, timeout=20, context=trust)
    with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
        connection.request("POST", "/raw", b"x")
        return connection.getresponse().status
    return 0


def test_s4_addresses_are_filtered() -> None:
    with serving(ip_filter_rules="deny:ip:127.0.0.1") as server:
        assert server.ask("GET", "/healthz").status == 503
    with serving(ip_filter_rules="allow:name:localhost,deny:ip:*") as server:
        assert server.ask("GET", "/healthz").status == 200
    with pytest.raises(OptionError, match="names are not looked up"):
        Http(port=0, ip_filter_rules=["deny:name:*.com"]).build(context())


# -- S2, S3: sizes ---------------------------------------------------------------------------------


def test_s2_a_declared_length_over_the_limit_is_413_before_the_body_is_sent() -> None:
    with serving(max_request_bytes=1000) as server, server.connect() as connection:
        head = b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
        assert server.ingest.calls == []


def test_s2_a_declared_length_allocates_nothing() -> None:
    with serving(max_request_bytes="1GiB", max_pending_bytes="1GiB") as server:
        before = psutil.Process().memory_info().rss
        connections = [server.connect() for _ in range(5)]
        for connection in connections:
            connection.sendall(
                b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nab"
            )
        server.until("requests_in_hand", 5)
        assert psutil.Process().memory_info().rss - before < 128 * 2**20, "of 5 GB"
        for connection in connections:
            connection.close()
        server.until("requests_in_hand", 0)


def test_s2_a_chunked_body_over_the_limit_is_413() -> None:
    with serving(max_request_bytes=1000) as server, server.connect() as connection:
        connection.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall((b"64\r\n" + b"x" * 100 + b"\r\n") * 11)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
        assert server.ingest.calls == []


def test_s2_an_event_over_the_limit_is_413() -> None:
    with serving(max_record_bytes=10) as server:
        assert server.post("/ndjson", b"short\n" + b"x" * 11).status == 413
        assert server.post("/raw", b"x" * 11).status == 413
        assert server.post("/raw", b"x" * 10).status == 200
        assert server.ingest.stored == [b"x" * 10]


def test_s3_a_gzip_bomb_is_413() -> None:
    with serving() as server:
        bomb = gzip.compress(b"\0" * (200 * 2**20), compresslevel=1)
        before = psutil.Process().memory_info().rss
        assert server.post("/raw", bomb, Content_Encoding="gzip").status == 413
        assert psutil.Process().memory_info().rss - before < 120 * 2**20
        noise = gzip.compress(random.Random(7).randbytes(2**20) + b"x")
        refused = server.post("/raw", noise, Content_Encoding="gzip")
        assert (refused.status, server.ingest.calls) == (413, [])


# -- S4: slow and many -----------------------------------------------------------------------------

SETTINGS = Settings(
    bind="127.0.0.1", port=0, source="web", life_prefix="h1/web/life/", request_bytes_max=1,
    record_bytes_max=1, pending_bytes_max=1, batch_bytes=1, connections_max=1,
    connections_per_address_max=1, header_timeout_ms=10_000, idle_timeout_ms=60_000,
    body_rate_min=1024,
)  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "waited_ms", "received", "late"),
    [
        (Phase.IDLE, 59_999, 0, False),
        (Phase.IDLE, 60_000, 0, True),
        (Phase.HEAD, 9_999, 0, False),
        (Phase.HEAD, 10_000, 0, True),
        (Phase.BODY, 5_000, 0, False),
        (Phase.BODY, 5_001, 5_122, False),
        (Phase.BODY, 5_001, 5_121, True),
        (Phase.BODY, 600_000, 614_400, False),
        (Phase.BODY, 600_000, 614_399, True),
        (Phase.ANSWER, 3_600_000, 0, False),
    ],
)
def test_s4_when_a_connection_is_too_slow(
    phase: Phase, waited_ms: int, received: int, late: bool
) -> None:
    assert overdue(phase, waited_ms, received, SETTINGS) is late


def test_s4_a_slow_head_is_cut_off() -> None:
    with serving() as server, server.connect() as connection:
        connection.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nX-Slow:")
        server.until_phase(Phase.HEAD)
        server.clock.advance(10_000)
        assert read_all(connection) == b""


def test_s4_a_slow_body_is_cut_off_and_nothing_of_it_is_taken() -> None:
    with serving() as server, server.connect() as connection:
        connection.sendall(b"POST /ndjson HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\na\nb\n")
        server.until("requests_in_hand", 1)
        server.clock.advance(6_000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        server.until("requests_in_hand", 0)
        assert server.ingest.calls == []


def test_s4_an_idle_connection_is_closed_but_not_one_that_waits_for_its_answer() -> None:
    with serving() as server, server.connect() as idle, server.connect() as waiting:
        server.until("connections", 2)
        server.ingest.gate.clear()
        waiting.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        server.ingest.entered.acquire()
        server.clock.advance(60_000)
        assert read_all(idle) == b""
        server.ingest.gate.set()
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200")


def test_s4_connections_are_limited_in_all_and_per_address() -> None:
    for limit in ("max_connections", "max_connections_per_address"):
        options: dict[str, Any] = {limit: 3}
        with serving(**options) as server:
            kept = [server.connect() for _ in range(3)]
            server.until("connections", 3)
            with server.connect() as refused:
                answer = read_all(refused)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 1\r\n" in answer
            assert server.metrics.snapshot()["OpenConnectionCount"] == 3
            kept.pop().close()
            server.until("connections", 2)
            assert server.post("/raw", b"x").status == 200
            for connection in kept:
                connection.close()


def test_s4_a_good_client_is_served_beside_stalled_ones() -> None:
    with serving(max_connections_per_address=400) as server:
        stalled = [server.connect() for _ in range(300)]
        for i, connection in enumerate(stalled):
            head = b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx"
            connection.sendall(head if i % 2 else head[:30])
        server.until("requests_in_hand", 150)
        good = HTTPConnection("127.0.0.1", server.port, timeout=5)
        for _ in range(100):
            good.request("POST", "/raw", b"x")
            response = good.getresponse()
            assert (response.status, response.read()) == (200, b"")
        good.close()
        assert server.ingest.stored == [b"x"] * 100
        for each in stalled:
            each.close()


# -- S5, S19: hygiene ------------------------------------------------------------------------------

HEAD = b"POST /raw HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"SECRET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03SECRET",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: -3\r\n\r\nabc",
        HEAD + b"Content-Length: +3\r\n\r\nabc",
        HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nSECRET\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
        HEAD + b"Host: y\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Bad Header: SECRET\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"X : SECRET\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"X: a\r\n folded\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"X: a\nY: b\nContent-Length: 1\r\n\r\nx",
        HEAD + b"X: \x00\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"X: " + b"S" * 20_000 + b"\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"X: y\r\n" * 2_000 + b"Content-Length: 1\r\n\r\nx",
        b"POST /" + b"S" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /raw HTTP/9.9\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_s19_what_is_not_clean_http_is_400_and_closed(sent: bytes) -> None:
    with serving() as server, server.connect() as connection:
        connection.sendall(sent)
        got = read_all(connection)
        assert got.split(b" ", 2)[1] == b"400"
        assert b"SECRET" not in got
        assert got.count(b"HTTP/1.") == 1
        assert server.ingest.calls == []
        assert server.metrics.snapshot()["RequestRejectedCount"] >= 1


@pytest.mark.parametrize("name", ["Idempotency-Key", "Authorization", "Content-Encoding"])
def test_s19_a_header_that_counts_is_refused_twice(name: str) -> None:
    with serving() as server, server.connect() as connection:
        twice = f"{name}: gzip\r\n".encode() * 2
        connection.sendall(HEAD + twice + b"Connection: close\r\nContent-Length: 1\r\n\r\nx")
        assert read_all(connection).startswith(b"HTTP/1.1 400")
        assert server.ingest.calls == []


def test_s19_a_smuggled_second_request_is_not_seen() -> None:
    with serving() as server, server.connect() as connection:
        inner = b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\ninner"
        connection.sendall(
            HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
        )
        assert b" 200 " not in read_all(connection)
        assert server.ingest.calls == []


def test_s19_a_body_broken_in_a_later_chunk_is_400_and_nothing_is_taken() -> None:
    with serving() as server, server.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
        server.until("requests_in_hand", 1)
        connection.sendall(b"SECRET\r\n")
        got = read_all(connection)
        assert b" 400 " in got.split(b"\r\n")[0]
        assert b"SECRET" not in got
        assert server.ingest.calls == []


def test_s19_100_continue_is_said_only_to_who_may_send() -> None:
    with serving(token="t", max_request_bytes=10) as server:
        expect = HEAD + b"Expect: 100-continue\r\n"
        token = b"Authorization: Bearer t\r\n"
        for head, first in [
            (expect + b"Content-Length: 3\r\n\r\n", b"HTTP/1.1 401"),
            (expect + token + b"Content-Length: 11\r\n\r\n", b"HTTP/1.1 413"),
            (
                expect.replace(b"100", b"200") + token + b"Content-Length: 3\r\n\r\n",
                b"HTTP/1.1 417",
            ),
        ]:
            with server.connect() as connection:
                connection.sendall(head)
                assert connection.recv(4096).startswith(first)
        with server.connect() as connection:
            connection.sendall(expect + token + b"Content-Length: 3\r\n\r\n")
            assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.ingest.stored == [b"abc"]


def test_s5_mutated_requests_never_hang_the_server() -> None:
    chance = random.Random(8)
    good = HEAD + b"Transfer-Encoding: chunked\r\nIdempotency-Key: k\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with serving(max_connections_per_address=400) as server:
        for _ in range(300):
            bad = bytearray(good)
            for _ in range(chance.randrange(1, 4)):
                bad[chance.randrange(len(bad))] = chance.randrange(256)
            with server.connect() as connection:
                connection.sendall(bad)
                connection.shutdown(socket.SHUT_WR)
        server.until("connections", 0)
        server.until("requests_in_hand", 0)
        assert server.post("/raw", b"fine").status == 200
        assert b"fine" in server.ingest.stored


def test_a_connection_that_dies_in_its_body_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server, caplog.at_level(logging.WARNING):
        for ending in (
            b"Content-Length: 900\r\n\r\na\nb\n",
            b"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n",
        ):
            connection = server.connect()
            connection.sendall(b"POST /ndjson HTTP/1.1\r\nHost: x\r\n" + ending)
            server.until("requests_in_hand", 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.close()
            server.until("requests_in_hand", 0)
        assert server.ingest.calls == []
        assert server.metrics.snapshot()["EventReadFail"] == 2
        assert caplog.records == []


def test_a_client_that_leaves_before_its_answer_stops_nobody() -> None:
    with serving() as server:
        server.ingest.gate.clear()
        with server.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: 4\r\n\r\ngone")
            server.ingest.entered.acquire()
        server.until("connections", 0)
        server.ingest.gate.set()
        assert server.post("/raw", b"next").status == 200
        assert server.ingest.stored == [b"gone", b"next"]


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving() as server, server.connect() as connection:
        one = HEAD + b"Content-Length: 1\r\n\r\n"
        last = HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nz"
        connection.sendall(one + b"a" + one + b"b" + last)
        assert read_all(connection).count(b"HTTP/1.1 200") == 3
        assert server.ingest.stored == [b"a", b"b", b"z"]


def test_s4_who_never_goes_on_with_the_handshake_counts_as_a_connection(tmp_path: Path) -> None:
    certificate(tmp_path)
    files = {"tls_certificate": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with (
        serving({}, max_connections=3, **files) as server,
        contextlib.ExitStack() as silent,
    ):
        held = [silent.enter_context(server.connect()) for _ in range(3)]
        with server.connect() as refused:
            assert read_all(refused) == b""
        assert server.metrics.snapshot()["RequestRejectedCount"] == 1
        held[0].sendall(b"this is no TLS\r\n\r\n")
        read_all(held[0])  # it is thrown out, and its place is free
        with (
            server.connect() as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("version", "coding", "status"),
    [("1.1", "gzip, chunked", 501), ("1.1", "deflate, chunked", 501), ("1.0", "chunked", 400)],
)
def test_s19_a_body_in_another_coding_is_refused(version: str, coding: str, status: int) -> None:
    with serving({}) as server, server.connect() as connection:
        head = f"POST /raw HTTP/{version}\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n"
        connection.sendall(head.encode() + b"1\r\na\r\n0\r\n\r\n")
        assert f" {status} ".encode() in read_all(connection).splitlines()[0]
        assert server.ingest.stored == []
