"""rsyslog, Debian's package: imtcp and imudp into a file, with its main queue in memory."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.experiments._receivers import MEMORY, GrowingFile, Inlet, can_connect, free_ports

START_S = 20.0
END_S = 20.0
_CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imtcp" maxSessions="1000")
module(load="imudp")
template(name="line" type="string" string="%rawmsg%\\n")
ruleset(name="out") {{ action(type="omfile" file="{folder}/text" template="line") }}
input(type="imtcp" address="127.0.0.1" port="{syslogtcp}" ruleset="out")
input(type="imudp" address="127.0.0.1" port="{syslogudp}" ruleset="out" rcvbufSize="32m")
"""


class RsyslogFailed(Exception):
    """rsyslog did not start, or ended."""


@dataclass
class Rsyslog:
    """See Receiver."""

    name: str = "rsyslog"
    inlets: tuple[Inlet, ...] = (("syslogtcp", MEMORY), ("syslogudp", MEMORY))
    note: str = "its queue is in memory; it writes the messages as they came into a file of text"
    _folder: Path = Path()
    _ports: dict[str, int] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _text: GrowingFile | None = None

    def missing(self) -> str:
        if _program() is None:
            return "no rsyslogd (Debian's package rsyslog)"
        return ""

    def start(self, folder: Path) -> None:
        self._folder, self._text = folder, GrowingFile(folder / "text")
        ports = self._ports = free_ports(["syslogtcp", "syslogudp"])
        conf, log = folder / "rsyslog.conf", folder / "rsyslog.log"
        conf.write_text(_CONFIGURATION.format(folder=folder, **ports))
        command = [_program() or "", "-n", "-f", str(conf), "-i", str(folder / "rsyslog.pid")]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.perf_counter() + START_S
        while not can_connect(ports["syslogtcp"]):
            self._check()
            if time.perf_counter() > deadline:
                raise RsyslogFailed(f"it does not listen: {log.read_text(errors='replace')}")
            threading.Event().wait(0.05)

    def _check(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            log = self._folder / "rsyslog.log"
            raise RsyslogFailed(f"it has ended: {log.read_text(errors='replace')}")
        return self._process

    def port(self, inlet: Inlet) -> int:
        return self._ports[inlet[0]]

    def arrived(self, channel: str) -> int:
        self._check()
        return self._text.lines() if self._text is not None else 0

    def settled(self) -> bool:
        return True

    def pids(self) -> Iterable[int]:
        return [self._check().pid]

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
        process.wait()


def _program() -> str | None:
    # Not in every user's PATH.
    return shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
