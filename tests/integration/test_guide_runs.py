"""Every configuration after Flume's user guide whose parts are here runs: what is fed to its
sources, or what they make, is what its sinks deliver.

The file is copied with its absolute paths put below the test's folder; ports, addresses, endpoints
and how many events a generator makes come from a second file that is merged behind it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flume_agent import WAIT_S, FlumeAgent, at_home, send_lines
from guide_configs import AGENTS, CONFIGS, SPECIAL, Expected, needs_configs, not_here
from http_target import HttpTarget, serving
from servers import free_ports

from rayflume.config import AgentPlan
from rayflume.flume.read import plan_of_flume, read_flume
from rayflume.flume.values import Surroundings

pytestmark = needs_configs
FED = [b"first", b"second", b"third"]
MADE = 30
"""Events of a generator."""
_PATH = re.compile(r"(?<![\w/:.*])/(?=(?:var|mnt|flume|path|usr/bin)/)")
CLASSES = {
    "org.example.MySource": "seq",
    "org.example.MyChannel": "memory",
    "org.example.MySink": "logger",
    "org.example.MyChannelSelector": "replicating",
}
"""As `--map`: parts of rayflume in the place of the guide's own classes."""
ENVIRON = {"NC_PORT": "0", "my_keystore_password": "Secret123"}
CANNOT = {
    "source_http_custom_handler": "handlers of one's own cannot be mapped",
    "channel_file_encryption_key0": "a JCEKS store is refused",
    "channel_file_encryption_key1": "a JCEKS store is refused",
    "channel_file_encryption_key_password": "a JCEKS store is refused",
    "configfilter_hadoop": "a JCEKS store is refused",
}
LOCAL_TIME = "sinks.k1.hdfs.useLocalTimeStamp = true"
"""Flume fails every write of an event without a timestamp; seq gives none."""
OVERRIDES = {
    "sink_hdfs": (LOCAL_TIME,),
    "serializer_avro_event": (LOCAL_TIME,),
    "serializer_avro": (LOCAL_TIME,),
    "source_exec": ("sources.r1.batchTimeout = 50",),
}
COPIES = {"selector_replicating": 3}
"""In how many channels each event is, where that is not one."""


def runnable() -> list[str]:
    return [name for name in AGENTS if not not_here(name) and name not in CANNOT]


# -- the files -------------------------------------------------------------------------------------


def copied(name: str, directory: Path) -> Path:
    """The file with its paths below `directory`."""
    text = (CONFIGS / f"{name}.properties").read_text(encoding="iso-8859-1")
    path = directory / f"{name}.properties"
    path.write_text(_PATH.sub(f"{directory}/", text), encoding="iso-8859-1")
    return path


def overriding(paths: list[Path], target: HttpTarget, directory: Path) -> Path:
    """A second file with what is other on this machine."""
    lines = []
    for path in paths:
        for line in path.read_text(encoding="iso-8859-1").splitlines():
            key, equals, value = (part.strip() for part in line.partition("="))
            if equals and not key.startswith("#"):
                lines += [f"{k} = {v}" for k, v in _other(key, value, target)]
        agent = next(
            (x.split(".")[0] for x in path.read_text().splitlines() if ".sources" in x), ""
        )
        lines += [f"{agent}.{one}" for one in OVERRIDES.get(path.stem, ())]
    behind = directory / "behind.properties"
    behind.write_text("\n".join(lines), encoding="iso-8859-1")
    return behind


def _other(key: str, value: str, target: HttpTarget) -> Iterator[tuple[str, str]]:
    start, _, prop = key.rpartition(".")
    if ".sources." in key and prop == "port":
        yield key, "0"
    elif prop == "ports":
        yield key, " ".join(map(str, free_ports(len(value.split()))))
    elif prop in ("bind", "host") and value in ("0.0.0.0", "localhost"):
        yield key, "127.0.0.1"
    elif prop == "endpoint":
        yield key, target.url
    elif prop == "type" and value in ("seq", "org.example.MySource"):
        yield f"{start}.totalEvents", str(MADE)
    elif prop == "maxTotalEvents":
        yield key, str(MADE)


def plan(name: str, directory: Path, target: HttpTarget) -> AgentPlan:
    expected = SPECIAL.get(name, Expected(""))
    paths = [copied(one, directory) for one in (name, *expected.also)]
    allowed = tuple(program(directory, one) for one in expected.allow)
    defines = {"NC_PORT": "0"}
    around = Surroundings(ENVIRON, defines, 0, allowed, CLASSES)
    file = read_flume([*paths, overriding(paths, target, directory)], around)
    os.environ.update(file.exported)  # as the command does
    return plan_of_flume(file, None)


def program(directory: Path, path: str) -> str:
    """One that answers a config filter."""
    own = directory / path.lstrip("/")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("#!/bin/sh\necho 1234\n")
    own.chmod(0o755)
    return str(own)


# -- feeding ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fed:
    """A source that runs, and the folder of the test."""

    ports: list[int]
    directory: Path

    def lines_by_tcp(self, start: bytes = b"") -> None:
        for port in self.ports:
            send_lines(port, [start + line for line in FED])

    def datagrams(self, start: bytes = b"") -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for line in FED:
                sender.sendto(start + line, ("127.0.0.1", self.ports[0]))

    def posts(self) -> None:
        body = json.dumps([{"headers": {}, "body": line.decode()} for line in FED]).encode()
        url = f"http://127.0.0.1:{self.ports[0]}/"
        with urllib.request.urlopen(url, body, timeout=WAIT_S) as answer:
            assert answer.status == 200

    def file(self, *names: str) -> None:
        for name in names:
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in FED))


_MESSAGE = b"<13>Nov 26 01:01:13 host app: "
FEED: dict[str, tuple[int, Callable[[Fed], None]]] = {
    "netcat": (3, Fed.lines_by_tcp),
    "netcatudp": (3, Fed.datagrams),
    "syslogtcp": (3, lambda fed: fed.lines_by_tcp(_MESSAGE)),
    "multiport_syslogtcp": (9, lambda fed: fed.lines_by_tcp(_MESSAGE)),
    "syslogudp": (3, lambda fed: fed.datagrams(_MESSAGE)),
    "http": (3, Fed.posts),
    "exec": (3, lambda fed: None),
    "spooldir": (3, lambda fed: fed.file("var/log/apache/flumeSpool/a.log")),
    "taildir": (6, lambda fed: fed.file("var/log/test1/example.log", "var/log/test2/a.log.1")),
    "seq": (MADE, lambda fed: None),
    "stress": (MADE, lambda fed: None),
}
"""Type of a source -> how many events come of it, and how it is fed."""


def surrounded(directory: Path) -> None:
    """What the files take for granted."""
    for folder in ("var/log/flume", "var/log/apache/flumeSpool", "var/log/test1", "var/log/test2"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    Fed([], directory).file("var/log/secure", "path/one.txt")
    (directory / "path/to").mkdir()


# -- running ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", runnable())
def test_a_file_of_the_guide_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(tmp_path, monkeypatch)
    surrounded(tmp_path)
    with serving() as target, FlumeAgent(plan(name, tmp_path, target)) as agent:
        wanted = sum(fed(agent, tmp_path)) * COPIES.get(name, 1)
        agent.until(lambda: agent.count("channel", "EventPutSuccessCount") >= wanted)
        agent.drain()
    assert agent.count("channel", "EventPutSuccessCount") == wanted
    assert agent.count("sink", "EventDrainSuccessCount") == wanted
    assert agent.count("sink", "EventDeadLetterCount") == 0
    assert len(target.bodies) == (wanted if name == "sink_http" else 0)


def fed(agent: FlumeAgent, directory: Path) -> Iterator[int]:
    """Feeds all sources; how many events come of each."""
    for source in agent.parts("source"):
        count, feed = FEED[source["type"]]
        detail = source["detail"]
        feed(Fed(list(detail.get("ports", [detail.get("port", 0)])), directory))
        yield count
