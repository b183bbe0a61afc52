"""An agent of Apache Flume 1.11 as a process: its jars, its start, its end.

Maven fetches the jars (bench/flume/pom.xml) once; they stay in bench/flume/target.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.contenders._worker import kill
from bench.usage import tree

POM = Path(__file__).with_name("flume") / "pom.xml"
JARS = POM.parent / "target" / "lib"
FETCH_S = 600.0
END_S = 20.0
_LOG4J = """
log4j.rootLogger = INFO, out
log4j.appender.out = org.apache.log4j.ConsoleAppender
log4j.appender.out.target = System.err
log4j.appender.out.layout = org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern = %d %p %c: %m%n
"""
_JAVA = ("java", "-Xms512m", "-Xmx2g", "-Djava.net.preferIPv4Stack=true")


class FlumeFailed(Exception):
    """Flume did not start, ended, or stood still."""


def missing() -> str:
    """What this machine lacks to run it, after an attempt to fetch the jars; "" when nothing."""
    if shutil.which("java") is None:
        return "no java"
    if not list(JARS.glob("flume-hdfs-sink-*.jar")):
        return _fetch()
    return ""


def _fetch() -> str:
    """Let Maven fetch the jars; "" or why it could not."""
    if shutil.which("mvn") is None:
        return "no mvn to fetch its jars with"
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
               "-DincludeScope=runtime", f"-DoutputDirectory={JARS}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        return f"mvn has not fetched its jars within {FETCH_S:.0f} s"
    said = (done.stdout + done.stderr).strip()
    return f"mvn could not fetch its jars: {said[-300:]}" if done.returncode else ""


class FlumeAgent:
    """The agent `a1` of some properties, from its making to `stop`. Its session is its own."""

    def __init__(
        self, folder: Path, properties: str, log: Path, options: Sequence[str] = ()
    ) -> None:
        """`folder` takes its configuration, `log` what it says; `options` are Java's."""
        (folder / "agent.properties").write_text(properties)
        (folder / "log4j.properties").write_text(_LOG4J)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        command = [*_JAVA, f"-Dlog4j.configuration=file:{folder}/log4j.properties", *options,
                   "-cp", f"{JARS}/*", "org.apache.flume.node.Application", "--no-reload-conf",
                   "-n", "a1", "-f", str(folder / "agent.properties")]  # fmt: skip
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pid = self._process.pid

    def check(self, what: str) -> None:
        """Raises FlumeFailed when it has ended."""
        if self._process.poll() is not None:
            raise self.failure(what)

    def failure(self, what: str) -> FlumeFailed:
        return FlumeFailed(f"{what}: {self._log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """It closes its files when asked to end; what does not end is killed."""
        left = tree(self.pid)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        kill(left)
        self._process.wait()
