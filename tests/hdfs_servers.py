"""A real name node and a real data node of the tests, processes on free ports of the loopback.

    with hdfs_cluster() as hdfs:
        run(path=hdfs.lake())
        hdfs.name_node.kill()       # SIGKILL
        hdfs.name_node.start()      # the same ports, the same data

Maven fetches the jars once, into tests/support/hdfs/target. Ready means: the name node answered, a
data node has registered and no safe mode is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import hdfs_native
from servers import free_ports

POM = Path(__file__).parent / "support" / "hdfs" / "pom.xml"
JARS = POM.parent / "target" / "jars"
FETCH_SECONDS = 600.0
READY_SECONDS = 60.0
BLOCK = 1 << 20
_JAVA = ["java", "-Xmx160m", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
         "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true"]  # fmt: skip
_LOG4J = """log4j.rootLogger=WARN,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n
"""
_NAME_NODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_DATA_NODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
_lakes = itertools.count()


def missing() -> str:
    """What this machine lacks for the tests on HDFS, one line; "" when nothing."""
    lacking = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if lacking:
        return f"HDFS is not tested: {' and '.join(lacking)} not found (Debian: maven)"
    return ""


def class_path() -> str:
    """The fetched jars. RuntimeError with Maven's words when they can't be had."""
    POM.parent.joinpath("target").mkdir(exist_ok=True)
    wanted = hashlib.sha256(POM.read_bytes()).hexdigest()
    stamp = JARS / "fetched"
    with POM.parent.joinpath("target", "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(JARS, ignore_errors=True)
            command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
                       "-DincludeScope=runtime", f"-DoutputDirectory={JARS}"]  # fmt: skip
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
            )
            if done.returncode:
                raise RuntimeError(f"mvn could not fetch Hadoop: {done.stdout[-500:]}{done.stderr}")
            stamp.write_text(wanted)
    return ":".join(str(jar) for jar in sorted(JARS.glob("*.jar")))


@dataclass
class Node:
    """One server: killed by its pid, started again on its ports and data."""

    folder: Path
    main: str
    classes: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.main.rpartition('.')[2]}.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A process of this server, in a session of its own."""
        command = [*_JAVA, "-cp", f"{self.folder / 'conf'}:{self.classes}", self.main, *arguments]
        with self.log.open("ab") as out:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )

    def start(self) -> None:
        assert not self.alive
        self.process = self.run()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Hdfs:
    """A cluster of one name node and one data node.

    `client_conf` is what a client of an HA cluster has: the name service `service` of a name node
    that is never there, then this one.
    """

    folder: Path
    ports: list[int]
    name_node: Node
    data_node: Node
    service: str = "service"
    admin: hdfs_native.Client = field(init=False)

    def __post_init__(self) -> None:
        self.admin = hdfs_native.Client(self.url)

    @property
    def url(self) -> str:
        return f"hdfs://127.0.0.1:{self.ports[0]}"

    @property
    def client_conf(self) -> Path:
        return self.folder / "client"

    def lake(self) -> str:
        """The URL of a directory that does not exist yet, in one that everyone may write to."""
        return f"{self.url}/lakes/lake-{next(_lakes)}/a"

    def start(self) -> None:
        """Start what does not run, and wait until files can be written."""
        dead = [node for node in (self.name_node, self.data_node) if not node.alive]
        for node in dead:
            node.start()
        if dead:
            self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS  # noqa: TID251 - real processes
        said = ""
        while time.monotonic() < deadline:  # noqa: TID251
            for node in (self.name_node, self.data_node):
                if not node.alive:
                    log = node.log.read_bytes()[-3000:].decode(errors="replace")
                    raise RuntimeError(f"{node.main} ended:\n{log}")
            try:
                with self.admin.create("/ready", hdfs_native.WriteOptions(overwrite=True)) as file:
                    file.write(b"x")
                return
            except (OSError, RuntimeError) as error:
                said = str(error)[:300]
            time.sleep(0.1)  # noqa: TID251
        raise RuntimeError(f"HDFS did not get ready: {said}")

    def files(self, directory: str) -> dict[str, bytes]:
        """Content of all files below a directory, by path relative to it."""
        try:
            found = list(self.admin.list_status(directory, recursive=True))
        except FileNotFoundError:
            return {}
        paths = [entry.path for entry in found if not entry.isdir]
        return {path.removeprefix(f"{directory}/"): self.admin.read(path).read() for path in paths}


class HdfsPlace:
    """A new lake, as `lakes.Place` wants it."""

    def __init__(self, hdfs: Hdfs, **storage: object) -> None:
        self._hdfs = hdfs
        self.path = hdfs.lake()
        self.storage = storage
        self._base = "/" + self.path.split("/", 3)[3]

    def files(self) -> dict[str, bytes]:
        found = self._hdfs.files(self._base)
        return {k: v for k, v in found.items() if not k.startswith("_rayflume/staging/")}

    def leftovers(self) -> list[str]:
        return sorted(self._hdfs.files(f"{self._base}/_rayflume/staging"))


@contextlib.contextmanager
def hdfs_cluster() -> Iterator[Hdfs]:
    """A new cluster with nothing in it. At the end it is killed, and its data deleted."""
    classes = class_path()
    with tempfile.TemporaryDirectory(prefix="rayflume-hdfs-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        ports = free_ports(6)
        nodes = [Node(folder, main, classes) for main in (_NAME_NODE, _DATA_NODE)]
        hdfs = Hdfs(folder, ports, nodes[0], nodes[1])
        _write(folder / "conf" / "core-site.xml", {"fs.defaultFS": hdfs.url})
        _write(folder / "conf" / "hdfs-site.xml", _site(hdfs))
        (folder / "conf" / "log4j.properties").write_text(_LOG4J)
        _write(hdfs.client_conf / "core-site.xml", {"fs.defaultFS": f"hdfs://{hdfs.service}"})
        _write(hdfs.client_conf / "hdfs-site.xml", _client_site(hdfs))
        try:
            formatting = nodes[0].run("-format", "-nonInteractive")
            if formatting.wait(READY_SECONDS):
                raise RuntimeError(f"no name node: {nodes[0].log.read_text()[-3000:]}")
            hdfs.start()
            hdfs.admin.mkdirs("/lakes", 0o777)
            yield hdfs
        finally:
            for node in nodes:
                node.kill()


def _site(hdfs: Hdfs) -> dict[str, str]:
    folder, ports = hdfs.folder, hdfs.ports
    return {
        "hadoop.tmp.dir": f"{folder}/tmp",
        "dfs.namenode.name.dir": f"{folder}/name",
        "dfs.datanode.data.dir": f"{folder}/data",
        "dfs.namenode.rpc-address": f"127.0.0.1:{ports[0]}",
        "dfs.namenode.http-address": f"127.0.0.1:{ports[1]}",
        "dfs.datanode.address": f"127.0.0.1:{ports[2]}",
        "dfs.datanode.ipc.address": f"127.0.0.1:{ports[3]}",
        "dfs.datanode.http.address": f"127.0.0.1:{ports[4]}",
        "dfs.replication": "1",
        "dfs.namenode.fs-limits.min-block-size": "65536",
        "dfs.namenode.handler.count": "4",
        "dfs.namenode.safemode.extension": "0",
        "dfs.heartbeat.interval": "1",
        "ipc.client.connect.retry.interval": "200",
        "ipc.client.connect.max.retries": "600",
    }


def _client_site(hdfs: Hdfs) -> dict[str, str]:
    service, ports = hdfs.service, hdfs.ports
    return {
        "dfs.nameservices": service,
        f"dfs.ha.namenodes.{service}": "gone,here",
        f"dfs.namenode.rpc-address.{service}.gone": f"127.0.0.1:{ports[5]}",
        f"dfs.namenode.rpc-address.{service}.here": f"127.0.0.1:{ports[0]}",
        f"dfs.client.failover.proxy.provider.{service}": "org.apache.hadoop.hdfs.server.namenode"
        ".ha.ObserverReadProxyProvider",
    }


def _write(path: Path, settings: dict[str, str]) -> None:
    path.parent.mkdir(exist_ok=True)
    root = ElementTree.Element("configuration")
    for name, value in settings.items():
        entry = ElementTree.SubElement(root, "property")
        ElementTree.SubElement(entry, "name").text = name
        ElementTree.SubElement(entry, "value").text = value
    ElementTree.ElementTree(root).write(path)


def require() -> None:
    """Skip the test where HDFS cannot be had; with CI set that is a failure."""
    import pytest

    lacking = missing()
    if lacking and os.environ.get("CI"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
