"""What the experiment `servers` sends, to which source in front of which channel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Container
from dataclasses import dataclass, replace

from bench.experiments._load import Wanted, load
from bench.experiments._receivers import FILE, INLINE, MEMORY, ON_RAY, Inlet
from bench.senders import Sent as SentLines

SIZE = 200
"""Bytes of a line with its newline."""
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Amounts:
    """How much is sent in a run: `events` by TCP, `seconds` of all else. `rows`: of a large
    request.
    """

    events: int
    seconds: float
    rate: int
    connections: int
    clients: int
    rows: int

    def of(self, events: int, seconds: float | None = None) -> Amounts:
        return replace(self, events=events, seconds=self.seconds if seconds is None else seconds)


@dataclass(frozen=True)
class Sent:
    """`began`: when the first byte was sent; `seconds`: until the last answer."""

    events: int
    bytes: int
    began: float
    seconds: float


@dataclass(frozen=True)
class Case:
    """`size`: of a request: one, many events, or "" where there are none. `only`: who knows the
    form, if not all do.
    """

    title: str
    inlet: Inlet
    kind: str = "plain"
    size: str = ""
    only: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return self.inlet[0]

    @property
    def reliable(self) -> bool:
        """Whether nothing may be lost."""
        return self.source != "syslogudp"

    @property
    def counted(self) -> bool:
        """Whether a number of events is sent, and not for some seconds."""
        return self.source in ("netcat", "syslogtcp")

    def is_for(self, program: str, inlets: Container[Inlet]) -> bool:
        return self.inlet in inlets and (not self.only or program in self.only)

    def rows(self, many: int) -> int:
        """Events of a request; 0: there are no requests."""
        return {"one": 1, "many": many}.get(self.size, 0)

    def send(self, port: int, amounts: Amounts) -> Sent:
        """Blocks until all is sent and, but for datagrams, answered. Raises RuntimeError."""
        if self.size:
            return self._send_requests(port, amounts)
        sent = _send_lines(self, port, amounts)
        return Sent(sent.events, sent.bytes, sent.began, sent.seconds)

    def _send_requests(self, port: int, amounts: Amounts) -> Sent:
        rows = self.rows(amounts.rows)
        done = load(Wanted(port, 0, amounts.seconds, rows, amounts.clients, self.kind))
        if done.refused:
            raise RuntimeError(f"{self.title}: {done.refused:,} requests were refused")
        return Sent(done.answered * rows, done.bytes, done.began, done.seconds)


CASES = (
    Case("netcat, memory", ("netcat", MEMORY)),
    Case("syslogtcp, memory", ("syslogtcp", MEMORY), "rfc3164"),
    Case("syslogudp, memory", ("syslogudp", MEMORY), "rfc3164"),
    Case("netcat, file", ("netcat", FILE)),
    Case("syslogtcp, file", ("syslogtcp", FILE), "rfc3164"),
    Case("http, one event a request, file", ("http", FILE), "json", "one"),
    Case("http, JSON lists, file", ("http", FILE), "json", "many"),
    Case("http, NDJSON, file", ("http", FILE), "ndjson", "many", only=(ON_RAY, INLINE)),
)


def _send_lines(case: Case, port: int, amounts: Amounts) -> SentLines:
    udp = case.source == "syslogudp"
    events = amounts.events if case.counted else int(amounts.rate * amounts.seconds)
    options = {
        "kind": case.kind,
        "size": SIZE,
        "events": events,
        "connections": 1 if udp else amounts.connections,
        "rate": amounts.rate if udp else 0,
    }
    command = [sys.executable, "-m", "bench.senders", "udp" if udp else "tcp", f"127.0.0.1:{port}"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    if case.source == "netcat":
        command.append("--answers")
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{case.title}: the sender failed: {done.stderr.strip()[-500:]}")
    return SentLines(**json.loads(done.stdout))
