"""Real programs in front of the syslog sources: logger, rsyslog, the real log, many senders."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from certificates import authority, signed
from listeners import Listening, listening
from real_logs import DATA

from rayflume.batch import EventBatch
from rayflume.clock import SystemClock
from rayflume.component import Context, lookup
from rayflume.interfaces import Ingested
from rayflume.metrics import Metrics

STATUS = "flume.syslog.status"
WAIT_S = 30
TEXTS = [
    b"plain text",
    b"  blanks before and behind  ",
    "grüße, 日本".encode(),
    b"not UTF-8: \xff\xfe\x80",
    b'quotes " and \\ backslashes %s %1 {}',
    b"<13>1 2003-10-11T22:14:15Z h m",
    b"a tab\tand a bell\x07",
    b"x" * 1500,
]


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def events(server: Listening) -> list[tuple[bytes, dict[str, str]]]:
    """All events in the order in which they were put."""
    found: list[tuple[bytes, dict[str, str]]] = []
    for batch in server.ingest.calls:
        columns = {name: batch.header(name).to_pylist() for name in batch.header_names()}
        found += [
            (
                body,
                {name: values[row] for name, values in columns.items() if values[row] is not None},
            )
            for row, body in enumerate(batch.body.to_pylist())
        ]
    return found


# -- logger of util-linux --------------------------------------------------------------------------


def log(port: int, text: bytes, *options: str) -> None:
    command = [program("logger"), "--server", "127.0.0.1", "--port", str(port), *options]
    subprocess.run(
        [*command, "-t", "app", "-p", "local0.warning"], input=text, check=True, timeout=20
    )


@pytest.mark.parametrize("form", ["--rfc3164", "--rfc5424"])
@pytest.mark.parametrize(
    ("source", "transport"),
    [("syslogtcp", "--tcp"), ("syslogudp", "--udp"), ("multiport_syslogtcp", "--tcp")],
)
def test_logger(source: str, transport: str, form: str) -> None:
    with listening(source, time_zone="local") as server:
        now_ms = SystemClock().now_ms()
        server.clock.jump(now_ms - server.clock.now_ms())
        log(server.port, b"what happened: \xc3\xa9", transport, form)
        server.until_stored(1)
        [(body, headers)] = events(server)
    assert body.startswith(b"app: " if form == "--rfc3164" else b"app - - ")
    assert body.endswith(b" what happened: \xc3\xa9")
    assert headers.pop("host") == socket.gethostname().split(".")[0]
    assert abs(int(headers.pop("timestamp")) - now_ms) < 60_000
    by_hand = source == "multiport_syslogtcp"
    version = {"Version" if by_hand else "version": "1"} if form == "--rfc5424" else {}
    rank = {"Facility": "16", "Severity": "4", "Priority" if by_hand else "priority": "132"}
    assert headers == rank | version


def test_logger_counts_octets() -> None:
    with listening("syslogtcp") as server:
        log(server.port, b"counted", "--tcp", "--rfc5424", "--octet-count")
        server.until_stored(1)
        [(body, headers)] = events(server)
    count, _, message = body.partition(b" ")
    assert len(message) == int(count)
    assert message.startswith(b"<132>1 ")
    assert message.endswith(b"counted")
    assert headers == {"Facility": "0", "Severity": "0", STATUS: "Invalid"}


# -- rsyslog ---------------------------------------------------------------------------------------

FORWARDER = """
global(workDirectory="{work}" maxMessageSize="64k" localHostname="origin"
       parser.escapeControlCharactersOnReceive="off" defaultNetstreamDriverCAFile="{work}/ca.pem")
module(load="imfile" mode="polling" pollingInterval="1")
input(type="imfile" file="{work}/input" tag="app:" facility="local0" severity="warning")
action(type="omfwd" target="127.0.0.1" port="{port}" template="{template}" {transport})
"""
TLS = """protocol="tcp" streamDriver="gtls" streamDriverMode="1"
streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost" """


@contextlib.contextmanager
def rsyslog(conf: Path, directory: Path) -> Iterator[None]:
    command = [program("rsyslogd"), "-n", "-f", str(conf), "-i", str(directory / "rsyslog.pid")]
    with (directory / "rsyslog.log").open("wb") as said:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            yield
        finally:
            running.terminate()
            running.wait(WAIT_S)


@pytest.mark.parametrize(
    ("source", "transport", "template", "tag", "headers"),
    [
        (
            "syslogtcp",
            'protocol="tcp"',
            "RSYSLOG_TraditionalForwardFormat",
            b"app:",
            {"priority": "132"},
        ),
        (
            "syslogudp",
            'protocol="udp"',
            "RSYSLOG_SyslogProtocol23Format",
            b"app - - - ",
            {"priority": "132", "version": "1"},
        ),
        ("multiport_syslogtcp", TLS, "RSYSLOG_ForwardFormat", b"app:", {"Priority": "132"}),
    ],
    ids=["tcp", "udp", "tls"],
)
def test_rsyslog(
    source: str,
    transport: str,
    template: str,
    tag: bytes,
    headers: dict[str, str],
    tmp_path: Path,
) -> None:
    program("rsyslogd")
    if transport == TLS and not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        pytest.skip("rsyslog-gnutls is not installed")
    ca = authority(tmp_path).write("ca")
    own = signed(ca, "localhost").write()
    files: dict[str, object] = {"tls_certificate": str(own.pem), "tls_key": str(own.key_pem)}
    (tmp_path / "input").write_bytes(b"".join(text + b"\n" for text in TEXTS))
    conf = tmp_path / "rsyslog.conf"
    with listening(source, None, tmp_path, **(files if transport == TLS else {})) as server:
        conf.write_text(
            FORWARDER.format(
                work=tmp_path, port=server.port, template=template, transport=transport
            )
        )
        with rsyslog(conf, tmp_path):
            server.until_stored(len(TEXTS))
        assert_forwarded(events(server), tag, headers)


def assert_forwarded(
    found: Sequence[tuple[bytes, dict[str, str]]], tag: bytes, headers: dict[str, str]
) -> None:
    bad_utf8 = "Priority" in headers
    for text, (body, got) in zip(TEXTS, found, strict=True):
        if bad_utf8 and b"\xff" in text:
            assert got == {STATUS: "Invalid"}
            assert body.endswith(b" app: " + text)
            continue
        blank = b"" if tag.endswith(b" ") or text.startswith(b" ") else b" "
        assert body == tag + blank + text
        assert int(got.pop("timestamp")) > 0
        assert got == {"Facility": "16", "Severity": "4", "host": "origin"} | headers


# -- the real log ----------------------------------------------------------------------------------


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real logs are not here: there is no {DATA}")
@pytest.mark.parametrize("source", ["syslogtcp", "multiport_syslogtcp"])
def test_the_real_log(source: str) -> None:
    lines = (DATA / "linux_syslog.log").read_bytes().splitlines()
    with listening(source, time_zone="UTC") as server:
        server.talk(b"".join(b"<38>" + line + b"\n" for line in lines))
        server.until_stored(len(lines))
        found = events(server)
    for line, (body, headers) in zip(lines, found, strict=True):
        # `Jun 14 15:16:01 combo sshd(pam_unix)[19939]: ...`
        stamp, host, text = line[:15].decode(), *line[16:].split(b" ", 1)
        assert (body, headers["host"]) == (text, host.decode())
        at = datetime.fromtimestamp(int(headers["timestamp"]) / 1000, UTC)
        assert at.strftime("%b ") + f"{at.day:2}" + at.strftime(" %H:%M:%S") == stamp
        assert (headers["Facility"], headers["Severity"]) == ("4", "6")


# -- senders of all kinds --------------------------------------------------------------------------

HEAD = b"<13>Nov 11 22:14:15 h "


def test_fifty_connections() -> None:
    def send(sender: int) -> None:
        messages = b"".join(HEAD + b"%d %d\n" % (sender, i) for i in range(200))
        with server.connect() as connection:
            for at in range(0, len(messages), 997):  # parts of messages
                connection.sendall(messages[at : at + 997])

    with listening("syslogtcp") as server:
        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        server.until_stored(50 * 200)
        found = [tuple(map(int, body.split())) for body, _ in events(server)]
    for sender in range(50):
        assert [number for one, number in found if one == sender] == list(range(200))


def test_a_message_that_breaks_off() -> None:
    with listening("syslogtcp") as server:
        server.talk(HEAD + b"whole\n" + HEAD + b"without its newline")
        with server.connect() as broken:
            broken.sendall(HEAD + b"whole too\n" + HEAD + b"half a mess")
            server.until_stored(3)
            # Closing now resets the connection.
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.until("connections", 0)
        server.talk(HEAD + b"others go on\n")
        server.until_stored(4)
        assert server.bodies() == [b"whole", b"without its newline", b"whole too", b"others go on"]
        assert server.metrics.snapshot()["EventReadFail"] == 1


def test_a_huge_message_is_cut() -> None:
    size = 1000
    text = HEAD + bytes(range(32, 127)) * 100_000
    with listening("multiport_syslogtcp", event_size=size) as server:
        server.talk(text + b"\n" + HEAD + b"next\n")
        server.until_stored(-(-len(text) // size) + 1)
        found = events(server)
    assert HEAD + b"".join(body for body, _ in found[:-1]) == text
    assert found[0][1][STATUS] == "Incomplete"
    assert found[0][1]["host"] == "h"
    assert {headers[STATUS] for _, headers in found[1:-1]} == {"Invalid"}
    assert found[-1][0] == b"next"
    assert STATUS not in found[-1][1]


def test_the_largest_datagram() -> None:
    # 65,507 bytes is what IPv4 leaves of 64 KiB.
    text = HEAD + b"x" * (65_507 - len(HEAD))
    with listening("syslogudp") as server:
        server.send_datagrams(text, HEAD + b"up to here\nand no further", b"", HEAD + b"last")
        server.until_stored(3)
        assert server.bodies() == [text[len(HEAD) :], b"up to here", b"last"]


def test_no_datagram_is_dropped() -> None:
    """20,000 of 200 bytes within a second."""
    count, hundredths = 20_000, 100
    text = HEAD.ljust(200, b"x")
    with listening("syslogudp") as server:
        granted = server.source.describe()["receive_buffer_bytes"]
        if not isinstance(granted, int) or granted < 8 * 2**20:
            pytest.skip(f"the kernel grants a buffer of {granted} bytes; see net.core.rmem_max")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", server.port))
            clock = SystemClock()
            begin = clock.monotonic_ms()
            for at in range(hundredths):
                for _ in range(count // hundredths):
                    sender.send(text)
                early_ms = begin + (at + 1) * 1000 / hundredths - clock.monotonic_ms()
                threading.Event().wait(max(0.0, early_ms / 1000))
        server.until_stored(count)
        assert server.source.describe()["datagrams_dropped"] == 0
        assert len(server.ingest.stored) == count


# -- speed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["syslogtcp", "multiport_syslogtcp"])
def test_events_per_cpu_second(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the source alone, the channel being nothing: 200 bytes a message, over loopback."""
    messages = b"".join((HEAD + b"app[%05d]: " % i).ljust(199, b"x") + b"\n" for i in range(5_000))
    rounds, stored = 60, threading.Semaphore(0)

    def ingest(batch: EventBatch) -> Ingested:
        stored.release(batch.num_rows)
        return Ingested(batch.num_rows)

    ports = {"ports": [0]} if source == "multiport_syslogtcp" else {"port": 0}
    context = Context("agent", "edge", SystemClock(), Metrics())
    server = lookup("source", source).model_validate(ports).build(context)
    server.start({}, ingest)
    try:
        with socket.create_connection(("127.0.0.1", server.describe()["port"])) as connection:
            before = time.process_time()
            for _ in range(rounds):
                connection.sendall(messages)
            for _ in range(rounds * 5_000):
                assert stored.acquire(timeout=WAIT_S)
        seconds = time.process_time() - before
    finally:
        server.stop()
    rate = rounds * 5_000 / seconds
    with capsys.disabled():
        print(f"\n{source}: {rate:,.0f} events per CPU second, the sender's share included")
    assert rate > 100_000  # a tenth of what an idle machine does: no Python per message
