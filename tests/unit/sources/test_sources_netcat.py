"""netcat and netcatudp over loopback: what Flume answers, limits, back pressure, TLS."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from certificates import Certificate, authority, signed
from listeners import Listening, listening, read_all
from pydantic import SecretStr, ValidationError

from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.errors import ChannelClosed, ChannelFull, OptionError, PutRefused
from rayflume.metrics import Metrics
from rayflume.sources._line_protocol import ConnectionLimits
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._tcp_connection import Phase, overdue
from rayflume.sources.netcat import Netcat
from rayflume.sources.netcatudp import Netcatudp

TOO_LONG = b"FAILED: Event exceeds the maximum length (20 chars, including newline)\n"


def context(directory: Path = Path("/nowhere")) -> Context:
    return Context("agent", "edge", ManualClock(), Metrics(), directory, host_id="h1")


# -- as Flume answers (user guide, NetCat TCP Source) ----------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answer", "rows"),
    [
        (b"one\ntwo\n", b"OK\nOK\n", [b"one", b"two"]),
        (b"\n", b"OK\n", [b""]),
        (b"a\r\n", b"OK\n", [b"a\r"]),
        (b"a\nlast", b"OK\nOK\n", [b"a", b"last"]),
        (b"x" * 19 + b"\n", b"OK\n", [b"x" * 19]),
        (b"a\n" + b"x" * 20 + b"\nb\n", b"OK\n" + TOO_LONG, [b"a"]),
        (b"a\n" + b"x" * 70_000, b"OK\n" + TOO_LONG, [b"a"]),
        (b"\xff\n", b"OK\n", ["\ufffd".encode()]),
        (b"", b"", []),
    ],
)
def test_netcat_answers_as_flume_does(sent: bytes, answer: bytes, rows: list[bytes]) -> None:
    with listening("netcat", max_line_length=20) as server:
        assert server.talk(sent) == answer
        assert server.bodies() == rows


def test_netcat_without_answers_says_only_what_failed() -> None:
    with listening("netcat", max_line_length=20, ack_every_event=False) as server:
        assert server.talk(b"a\nb\n") == b""
        assert server.talk(b"a\n" + b"x" * 20 + b"\n") == TOO_LONG
        assert server.bodies() == [b"a", b"b", b"a"]


def test_netcat_reads_other_encodings() -> None:
    with listening("netcat", encoding="ISO-8859-1") as server:
        assert server.talk("blåbær\n".encode("iso-8859-1")) == b"OK\n"
        assert server.bodies() == ["blåbær".encode()]
    with pytest.raises(ValidationError, match="unknown encoding 'klingon'"):
        Netcat(port=0, encoding="klingon")


def test_answers_come_in_order_over_many_puts() -> None:
    with listening("netcat") as server, server.connect() as connection:
        for i in range(50):
            connection.sendall(b"line %d\n" % i)
            assert connection.recv(10) == b"OK\n"
        assert server.bodies() == [b"line %d" % i for i in range(50)]


def test_netcatudp_one_event_of_each_datagram() -> None:
    with listening("netcatudp", remote_address="sender") as server:
        server.send_datagrams(b"one\ntwo\n", b"no newline", b"", b"\n", b"\xff" * 60_000)
        server.until_stored(5)
        assert server.bodies() == [b"one", b"no newline", b"", b"", b"\xff" * 60_000]
        headers = [batch.header("sender").to_pylist() for batch in server.ingest.calls]
        assert {value for values in headers for value in values} == {"127.0.0.1"}


# -- back pressure, retries ------------------------------------------------------------------------


def test_one_put_in_flight_and_the_rest_in_the_next() -> None:
    with listening("netcat", ack_every_event=False) as server:
        server.ingest.gate.clear()
        with server.connect() as first, server.connect() as second:
            first.sendall(b"1\n")
            assert server.ingest.entered.acquire(timeout=20)
            for _ in range(100):
                second.sendall(b"2\n")
                first.sendall(b"3\n")
            server.until("waiting_bytes", 400)
            server.ingest.gate.set()
            server.until_stored(201)
        assert [batch.num_rows for batch in server.ingest.calls] == [1, 200]


def test_s4_a_full_channel_stops_the_reading_and_memory_stays_bounded() -> None:
    options: dict[str, Any] = {"batch_bytes": "64KiB", "max_line_length": 1000}
    with listening("netcat", ack_every_event=False, **options) as server:
        server.ingest.gate.clear()
        before = psutil.Process().memory_info().rss
        with server.connect() as connection:
            connection.settimeout(0.3)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 2**28:
                    sent += connection.send(b"x" * 99 + b"\n" + b"y" * 99 + b"\n")
            assert sent < 2**28
            assert psutil.Process().memory_info().rss - before < 128 * 2**20
            server.ingest.gate.set()
            connection.settimeout(20)
            connection.sendall(b"x" * (100 - sent % 100 - 1) + b"\nlast\n")
            server.until_true(
                lambda: server.ingest.stored[-1:] == [b"last"], "the last line is not stored"
            )


def test_a_refused_put_is_offered_again_with_the_same_extent() -> None:
    with listening("netcat") as server:
        server.ingest.errors = [ChannelFull("full", credit=0), ChannelClosed("restarting")]
        server.ingest.store_before_error = True
        assert server.talk(b"a\nb\n") == b"OK\nOK\n"
        assert server.bodies() == [b"a", b"b"]
        assert len({(e.stream, e.start, e.end) for e in server.ingest.extents()}) == 1
        assert server.source.describe()["last_error"] is None


def test_a_channel_that_lost_its_place_gets_a_new_life() -> None:
    with listening("netcat") as server:
        assert server.talk(b"a\n") == b"OK\n"
        hidden = ChannelClosed("wants the stream from 0 on")
        hidden.__cause__ = PutRefused("no", stream="s", next=0)
        server.ingest.errors = [hidden]
        assert server.talk(b"b\n") == b"OK\n"
        assert server.bodies() == [b"a", b"b"]
        lives = [extent.stream for extent in server.ingest.extents()]
        assert lives[0] == lives[1] != lives[2]
        assert server.source.retired() == [lives[0]]


def test_s5_rows_at_which_an_interceptor_fails_are_given_up_and_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "rayflume.sources._put_thread")
    with listening("netcat") as server:
        server.ingest.errors = [ValueError("bug")] * 3
        assert server.talk(b"poison\n") == b"FAILED: internal error; see the log of the agent\n"
        assert server.talk(b"good\n") == b"OK\n"
        assert server.bodies() == [b"good"]
        counts = server.metrics.snapshot()
        assert (counts["GenericProcessingFail"], counts["EventReadFail"]) == (3, 1)


# -- S1, S4: who may connect, and for how long -----------------------------------------------------


@pytest.mark.parametrize("options", [Netcat, Netcatudp])
@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "collector.example", ""])
def test_s1_another_address_than_loopback(options: Any, bind: str) -> None:
    with pytest.raises(OptionError, match=r"can be reached from other hosts, and TLS is off"):
        options(port=0, bind=bind).build(context())
    options(port=0, bind=bind, dangerously_allow_anonymous=True).build(context())
    options(port=0, bind="127.0.0.2").build(context())
    with pytest.raises(OptionError):
        options(port=0, bind=bind).check(context())
    assert options(port=0).check(context()) == []


LIMITS = ConnectionLimits(idle_timeout_ms=1_000, handshake_timeout_ms=500)


@pytest.mark.parametrize(
    ("phase", "waited_ms", "unfinished", "expected"),
    [
        (Phase.HANDSHAKE, 499, None, False),
        (Phase.HANDSHAKE, 500, None, True),
        (Phase.NAME, 500, None, True),
        (Phase.OPEN, 999, None, False),
        (Phase.OPEN, 1_000, None, True),
        (Phase.OPEN, 5_000, 0, False),
        (Phase.OPEN, 5_001, 100, True),
        (Phase.OPEN, 6_000, 6 * 1024, False),
        (Phase.OPEN, 600_000, 1, True),
        (Phase.LINGER, 4_999, None, False),
        (Phase.LINGER, 5_000, None, True),
        (Phase.ENDING, 59_999, None, False),
        (Phase.ENDING, 60_000, None, True),
    ],
)
def test_s4_when_a_connection_is_too_slow(
    phase: Phase, waited_ms: int, unfinished: int | None, expected: bool
) -> None:
    assert overdue(phase, waited_ms, unfinished, LIMITS) is expected


def test_s4_silence_alone_is_no_reason_by_default() -> None:
    assert not overdue(Phase.OPEN, 10**9, None, ConnectionLimits())


def test_s4_a_sender_that_is_too_slow_is_cut_off_and_its_rest_is_dropped() -> None:
    with listening("netcat") as server, server.connect() as connection:
        connection.sendall(b"whole\nhal")
        assert connection.recv(10) == b"OK\n"
        server.clock.advance(5_001)
        assert read_all(connection) == b""
        assert server.bodies() == [b"whole"]
        assert server.metrics.snapshot()["EventReadFail"] == 1
        assert server.source.describe()["unfinished_bytes"] == 0


def test_s4_a_line_that_begins_after_a_long_silence_is_not_slow() -> None:
    for encoding in ("utf-8", "iso-8859-1"):
        with listening("netcat", encoding=encoding) as server, server.connect() as connection:
            server.until("connections", 1)
            server.clock.advance(3_600_000)
            connection.sendall("blåbær".encode(encoding))
            server.until("unfinished_bytes", len("blåbær".encode()))
            server.clock.advance(4_000)
            server.talk(b"other\n")
            connection.sendall(b"\n")
            assert connection.recv(10) == b"OK\n"


def test_s4_an_idle_connection_is_closed_if_that_is_asked_for() -> None:
    with listening("netcat", idle_timeout="1s") as server, server.connect() as connection:
        server.until("connections", 1)
        server.clock.advance(1_000)
        assert read_all(connection) == b""


def test_s4_too_many_connections() -> None:
    with listening("netcat", max_connections=2) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(server.connect())
        server.until("connections", 2)
        assert read_all(stack.enter_context(server.connect())) == b""
        server.until("rejected", 1)
        server.clock.advance(60_000)  # both were silent: the one that came first gives way
        assert server.talk(b"x\n") == b"OK\n"


def test_s4_too_many_connections_from_one_address() -> None:
    with listening("netcat", max_connections_per_address=1) as server, server.connect():
        server.until("connections", 1)
        with server.connect() as second:
            assert read_all(second) == b""
        with socket.socket() as other:
            other.bind(("127.0.0.2", 0))
            other.connect(("127.0.0.1", server.port))
            other.sendall(b"x\n")
            assert other.recv(10) == b"OK\n"


def test_s2_unfinished_lines_share_a_budget() -> None:
    with (
        listening("netcat", max_pending_bytes="100KiB") as server,
        server.connect() as greedy,
        server.connect() as modest,
    ):
        modest.sendall(b"begun")
        greedy.sendall(b"x" * 2**17)
        assert read_all(greedy) == b""
        modest.sendall(b" and done\n")
        assert modest.recv(10) == b"OK\n"
        assert server.bodies() == [b"begun and done"]


def test_s4_a_client_that_reads_no_answers_is_not_read_and_costs_nothing() -> None:
    options: dict[str, Any] = {"batch_bytes": "1MiB", "max_line_length": 100}
    with listening("netcat", **options) as server, server.connect() as deaf:
        before = psutil.Process().memory_info().rss
        deaf.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(8_000):
                deaf.sendall(b"\n" * 2**16)
        # Half a gigabyte would have been taken; the machine code of the first lines is some 70 MB.
        assert psutil.Process().memory_info().rss - before < 160 * 2**20
        assert server.talk(b"x\n") == b"OK\n"
        server.clock.advance(60_000)
        server.until("connections", 0)


def test_a_reset_within_a_line_loses_only_that() -> None:
    with listening("netcat", ack_every_event=False) as server:
        connection = server.connect()
        connection.sendall(b"whole\nhal")
        server.until("unfinished_bytes", 3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        server.until("connections", 0)
        assert server.bodies() == [b"whole"]
        assert server.metrics.snapshot()["EventReadFail"] == 1


def test_addresses_are_filtered() -> None:
    for type_name in ("netcat", "netcatudp"):
        rules = ["allow:ip:127.0.0.2", "deny:ip:*"]
        with listening(type_name, ip_filter_rules=rules) as server:
            if type_name == "netcat":
                with server.connect() as connection:
                    assert read_all(connection) == b""
            else:
                server.send_datagrams(b"x")
            server.until("rejected", 1)
            assert server.metrics.snapshot()["RequestRejectedCount"] == 1
            assert server.bodies() == []
    with listening("netcat", ip_filter_rules="allow:name:localhost,deny:name:*") as server:
        assert server.talk(b"x\n") == b"OK\n"
    with pytest.raises(OptionError, match="names are not looked up"):
        Netcatudp(port=0, ip_filter_rules=["deny:name:*.com"]).build(context())
    with pytest.raises(ValidationError, match="'deny' is no rule"):
        Netcat(port=0, ip_filter_rules=["deny"])


def test_names_are_looked_up_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"127.0.0.1": "good.example.com"}

    def host(address: str) -> tuple[str, list[str], list[str]]:
        if address not in names:
            raise socket.herror("unknown")
        return names[address], [], []

    monkeypatch.setattr(socket, "gethostbyaddr", host)
    rules = "allow:name:good.*,deny:name:*"
    with listening("netcat", ip_filter_rules=rules) as server:
        assert server.talk(b"x\n") == b"OK\n"
        with socket.socket() as other:
            other.bind(("127.0.0.2", 0))
            other.connect(("127.0.0.1", server.port))
            assert read_all(other) == b""


# -- S11, S12: TLS ---------------------------------------------------------------------------------


@pytest.fixture
def ca(tmp_path: Path) -> Certificate:
    return authority(tmp_path)


@contextlib.contextmanager
def client(
    server: Listening, ca: Certificate, own: Certificate | None = None, **versions: Any
) -> Iterator[ssl.SSLSocket]:
    trust = ssl.create_default_context(cafile=str(ca.pem))
    for name, version in versions.items():
        setattr(trust, name, version)
    if own is not None:
        trust.load_cert_chain(own.pem, own.key_pem)
    with (
        server.connect() as plain,
        trust.wrap_socket(plain, server_hostname="collector.test") as tls,
    ):
        yield tls


def files(own: Certificate) -> dict[str, Any]:
    return {"tls_certificate": str(own.pem), "tls_key": str(own.key_pem)}


def accepts(server: Listening, ca: Certificate, own: Certificate | None = None) -> bool:
    try:
        with client(server, ca, own) as tls:
            tls.sendall(b"x\n")
            return tls.recv(10) == b"OK\n"
    except (ssl.SSLError, ConnectionError):
        return False


def test_s11_lines_over_tls(ca: Certificate) -> None:
    with listening("netcat", **files(signed(ca, "collector.test"))) as server:
        facts = server.source.describe()
        assert (facts["tls"], facts["tls_expires"]) == (True, "2049-01-01T00:00:00+00:00")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with client(server, ca, maximum_version=version) as tls:
                tls.sendall(b"y" * 300_000 + b"\nz\n")
                assert tls.recv(3) + tls.recv(3) == b"OK\nOK\n"
        assert server.bodies() == [b"y" * 300_000, b"z"] * 2
        assert not server.talk(b"plain\n").startswith(b"OK")
        assert b"plain" not in server.bodies()


def test_s11_an_orderly_end_of_tls_ends_the_last_line(ca: Certificate) -> None:
    own = files(signed(ca, "collector.test"))
    with listening("netcat", ack_every_event=False, **own) as server:
        with client(server, ca) as tls:
            tls.sendall(b"a\nlast")
            tls.unwrap().close()
        server.until_stored(2)
        assert server.bodies() == [b"a", b"last"]


def test_s11_an_end_without_goodbye_is_no_orderly_one(ca: Certificate) -> None:
    with listening("netcat", **files(signed(ca, "collector.test"))) as server:
        with client(server, ca) as tls:
            tls.sendall(b"whole\nhalf")
            assert tls.recv(10) == b"OK\n"
        server.until("connections", 0)
        assert server.bodies() == [b"whole"]
        assert server.metrics.snapshot()["EventReadFail"] == 1


def test_s11_client_certificates(ca: Certificate, tmp_path: Path) -> None:
    own = files(signed(ca, "collector.test"))
    good, other = signed(ca, "good.test"), signed(authority(tmp_path, "other"), "bad.test")
    shown: dict[str, Any] = {**own, "truststore": str(ca.pem)}
    with listening("netcat", **shown, client_certificates="required") as server:
        assert accepts(server, ca, good)
        assert not accepts(server, ca)
        assert not accepts(server, ca, other)
    with listening("netcat", **shown, client_certificates="optional") as server:
        assert accepts(server, ca, good)
        assert accepts(server, ca)
        assert not accepts(server, ca, other)
    named = {**shown, "client_names": ["Good.test"], "client_certificates": "required"}
    with listening("netcat", **named) as server:
        assert accepts(server, ca, good)
        assert not accepts(server, ca, signed(ca, "stranger.test"))


def test_s11_new_certificates_without_a_restart(ca: Certificate, tmp_path: Path) -> None:
    own, successor = signed(ca, "collector.test"), authority(tmp_path, "successor")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(ca.pem.read_bytes())
    shown = {**files(own), "truststore": str(trusted), "client_certificates": "required"}
    with listening("netcat", **shown) as server:
        with client(server, ca, own) as open_before:
            signed(successor, "collector.test")  # over the same files
            trusted.write_bytes(successor.pem.read_bytes())
            server.clock.advance(1_000)
            server.until_true(
                lambda: accepts(server, successor, signed(successor, "good.test")),
                "the new certificate is not shown",
            )
            assert not accepts(server, successor, signed(ca, "old.test"))
            open_before.sendall(b"still here\n")
            assert open_before.recv(10) == b"OK\n"
        own.pem.write_text("broken")
        server.clock.advance(1_000)
        server.until_true(lambda: bool(server.source.describe()["tls_error"]), "no error")
        assert accepts(server, successor, signed(successor, "good.test"))


def test_s11_pkcs12_stores(ca: Certificate, tmp_path: Path) -> None:
    store = signed(ca, "collector.test").pkcs12("canary", ca)
    shown: dict[str, Any] = {"keystore": str(store), "keystore_password": "canary"}
    trusted: dict[str, Any] = {"truststore": str(store), "truststore_password": "canary"}
    with listening("netcat", **shown, **trusted, client_certificates="required") as server:
        assert accepts(server, ca, signed(ca, "good.test"))
        assert not accepts(server, ca)
    options = Netcat(port=0, **shown)
    source = options.build(context())
    assert "canary" not in f"{options!r} {source.__dict__!r} {source.describe()!r}"  # S12
    with pytest.raises(OptionError, match=r"is no PKCS12 file, or its password is another"):
        Netcat(port=0, keystore=str(store), keystore_password=SecretStr("x")).build(context())
    (tmp_path / "old.jks").write_bytes(b"\xfe\xed\xfe\xed\0\0\0\2")
    with pytest.raises(OptionError, match=r"convert it: keytool -importkeystore .*old\.p12"):
        Netcat(port=0, keystore="old.jks").build(context(tmp_path))


def test_s11_protocols_and_ciphers_can_be_limited(ca: Certificate) -> None:
    own = files(signed(ca, "collector.test"))
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    with (
        listening("netcat", **own, include_cipher_suites=[suite]) as server,
        client(server, ca) as tls,
    ):
        assert tls.cipher()[:2] == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2")  # type: ignore[index]
    with listening("netcat", **own, exclude_protocols=["TLSv1.2"]) as server:
        with client(server, ca) as tls:
            assert tls.version() == "TLSv1.3"
        with (
            pytest.raises(ssl.SSLError),
            client(server, ca, maximum_version=ssl.TLSVersion.TLSv1_2),
        ):
            pass


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ssl": True}, "ssl: name tls_certificate and tls_key, or a keystore"),
        ({"tls_key": "k"}, "set both or none"),
        ({"keystore": "s", "tls_key": "k"}, "keystore: leave it out"),
        ({"client_certificates": "required"}, "TLS is off"),
        ({"keystore": "s", "client_certificates": "optional"}, "name the authorities"),
        ({"keystore": "s", "client_names": ["x"]}, "set client_certificates"),
        ({"keystore": "missing.p12"}, "cannot use missing.p12: No such file"),
        ({"keystore": "s", "include_protocols": ["TLSv1"]}, "TLS: no protocol is left"),
    ],
)
def test_wrong_tls_options_are_one_clear_sentence(options: dict[str, Any], why: str) -> None:
    source = Netcat.model_validate({"port": 0, **options})
    for refuse in (source.build, source.check):
        with pytest.raises(OptionError, match=why):
            refuse(context())


def test_s4_a_handshake_that_does_not_end_is_cut_off(ca: Certificate) -> None:
    with listening("netcat", **files(signed(ca, "collector.test"))) as server:
        with server.connect() as stalled:
            stalled.sendall(b"\x16\x03\x01")
            server.until("connections", 1)
            assert accepts(server, ca)
            server.clock.advance(5_000)
            assert read_all(stalled) == b""
        assert accepts(server, ca)


# -- S13: logs -------------------------------------------------------------------------------------


def test_s13_a_sender_can_neither_fill_nor_forge_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    log = LogLimit("edge", clock)
    for _ in range(1_000):
        log.warning("no: %s", "a\nERROR forged \x1b[31m" + "x" * 1_000)
    assert len(caplog.records) == 1
    text = caplog.records[0].getMessage()
    assert text.startswith("source edge: no: a\\nERROR forged \\x1b[31mx")
    assert text.isprintable() and len(text) < 300
    clock.advance(10_000)
    log.warning("no: %s", "b")
    assert caplog.records[1].getMessage() == "source edge: no: b (and 999 more of these)"
