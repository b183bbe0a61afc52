"""One file system, called through hdfs_native, with every failure turned into an error that says
who acts.

The library waits for a name node for ever, so every call is made by a thread of its own that can be
given up. Its asynchronous client could be cancelled instead, but stops dead when it is dropped
while Python holds its lock (seen with 0.14.7).

A name node's answer means that the change is in its edit log, on disk or with its journal nodes.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from xml.etree import ElementTree

import hdfs_native

from rayflume.errors import StorageDenied, StorageUnavailable
from rayflume.storage._hdfs_errors import hdfs_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from rayflume.storage._hdfs_options import HdfsOptions

T = TypeVar("T")
HUNG_MAX = 64
"""Calls that were given up and still wait; with so many, new ones are not made."""
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755
"""What Hadoop's own default umask leaves."""

_SITES = ("core-site.xml", "hdfs-site.xml")
_PROVIDER = "dfs.client.failover.proxy.provider."
_ACTIVE_ONLY = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
_RANDOM = "dfs.client.failover.random.order."
_FAST = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "50",
    "dfs.client.failover.sleep.max.millis": "200",
}


class Found(NamedTuple):
    """A file or directory; times in epoch milliseconds by the name node's clock."""

    path: str
    size: int
    modified_ms: int


class HdfsClient:
    """Calls to one file system. Thread-safe. Every call blocks for at most `call_timeout`, and
    raises StorageDenied or StorageUnavailable where nothing else is said.
    """

    def __init__(self, options: HdfsOptions) -> None:
        self.url = options.url
        self._options = options
        self._conf = Path(options.hadoop_conf) if options.hadoop_conf else _conf_of_environment()
        self._call_s = options.call_timeout / 1000
        self._lock = threading.Lock()
        self._made: hdfs_native.Client | None = None
        self._hung = 0
        self._gave_up = False
        self._worked = False

    def info(self, path: str) -> hdfs_native.FileStatus | None:
        """What is there; None when there is nothing."""
        try:
            return self.call("look at", path, lambda client: client.get_file_info(path))
        except FileNotFoundError:
            return None

    def size(self, path: str) -> int | None:
        """Bytes of a file, -1 for a directory, None when there is nothing of that name."""
        found = self.info(path)
        return None if found is None else -1 if found.isdir else found.length

    def mkdirs(self, path: str) -> None:
        """Make a directory and its parents; it may exist."""
        try:
            self.call("make", path, lambda c: c.mkdirs(path, DIRECTORY_MODE, create_parent=True))
        except FileExistsError as error:
            raise self._denied("make", path, "it is a file, not a directory") from error

    def rename(self, source: str, target: str) -> bool:
        """Whether this call moved it. Not, when the target exists, or there is no source or no
        directory for the target.
        """
        try:
            self.call("publish", target, lambda client: client.rename(source, target))
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def delete(self, path: str) -> None:
        """Delete a file, open or not, or an empty directory; gone already is success."""
        self.call("delete", path, lambda client: client.delete(path))

    def files(self, path: str, *, recursive: bool) -> list[Found]:
        """All files in, or below, a directory; none when there is none."""

        def listed(client: hdfs_native.Client) -> list[Found]:
            entries = client.list_status(path, recursive)
            return [Found(e.path, e.length, e.modification_time) for e in entries if not e.isdir]

        try:
            return self.call("list", path, listed)
        except FileNotFoundError:
            return []

    def new_file(self, path: str) -> NewFile:
        """A new file in a directory that exists. Raises FileExistsError."""
        settings = hdfs_native.WriteOptions(
            block_size=self._options.block_size,
            replication=self._options.replication,
            permission=FILE_MODE,
            create_parent=False,
        )
        try:
            # Not the library's own wrapper: as a garbage it would close the file, and so wait.
            writer = self.call("create", path, lambda c: c.inner.create(path, settings))
        except FileNotFoundError as error:
            text = f"cannot create {self.url}{path}: its directory is gone; was the lake deleted?"
            raise StorageUnavailable(text, path=path) from error
        return NewFile(self, path, writer)

    def open(self, path: str) -> Reader:
        """A reader of a file as it is now. Raises FileNotFoundError, also for a directory."""
        return Reader(self, path, self.call("read", path, lambda client: client.inner.read(path)))

    def call(self, doing: str, path: str, call: Callable[[hdfs_native.Client], T]) -> T:
        """What the call returns, in time. FileNotFoundError and FileExistsError pass through."""
        client = self._client()
        result: Future[T] = Future()
        work = partial(self._run, result, partial(call, client))
        threading.Thread(target=work, name="rayflume-hdfs-call", daemon=True).start()
        if not wait([result], self._call_s).done:
            self._give_up(client, result)
            text = f"cannot {doing} {self.url}{path}: no answer within {self._call_s:g} s"
            raise StorageUnavailable(text, path=path)
        error = result.exception()
        if error is None:
            self._worked = True
            return result.result()
        if isinstance(error, FileNotFoundError | FileExistsError):
            raise error
        raise hdfs_error(error, doing, f"{self.url}{path}", worked=self._worked) from error

    def close(self) -> None:
        """Drop the connections. The next call would open new ones."""
        with self._lock:
            self._made = None

    @staticmethod
    def _run(result: Future[T], call: Callable[[], T]) -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # a panic of the library is no Exception
            result.set_exception(error)

    def _client(self) -> hdfs_native.Client:
        with self._lock:
            if self._hung >= HUNG_MAX:
                text = f"{self.url} has not answered {HUNG_MAX} calls that still wait"
                raise StorageUnavailable(text)
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> hdfs_native.Client:
        options = self._options
        named = options.hadoop_conf
        if named and not any((Path(named) / site).is_file() for site in _SITES):
            raise StorageDenied(f"hadoop_conf: {named} has neither {' nor '.join(_SITES)}")
        settings = self._settings()
        try:
            return hdfs_native.Client(
                self.url,
                settings,
                None if self._conf is None else str(self._conf),
                kerberos_principal=options.kerberos_principal,
                kerberos_keytab=options.kerberos_keytab,
                kerberos_cache=options.kerberos_cache,
            )
        except Exception as error:
            raise hdfs_error(error, "connect to", self.url) from error

    def _settings(self) -> dict[str, str]:
        """What goes over the files. An observer may lag behind, and a look must be a proof. Waiting
        with growing back-off is the sink's.

        A new client asks the first name node first: when that one does not answer, the next client
        takes them in any order, or the other one would never be reached.
        """
        found = {self._options.authority}
        for site in _SITES if self._conf is not None else ():
            found |= {name.removeprefix(_PROVIDER) for name in self._properties(site)}
        settings = {**_FAST, **{f"{_PROVIDER}{service}": _ACTIVE_ONLY for service in found}}
        if self._gave_up:
            settings |= {f"{_RANDOM}{service}": "true" for service in found}
        return settings

    def _properties(self, site: str) -> list[str]:
        """Names of the properties in a file that say which name node is asked."""
        assert self._conf is not None
        try:
            tree = ElementTree.parse(self._conf / site)
        except FileNotFoundError:
            return []
        except (OSError, ElementTree.ParseError) as error:
            raise StorageDenied(f"{self._conf / site} cannot be read: {error}") from error
        names = (entry.text or "" for entry in tree.iter("name"))
        return [name.strip() for name in names if name.strip().startswith(_PROVIDER)]

    def _give_up(self, client: hdfs_native.Client, result: Future[T]) -> None:
        """Count the call until it ends, and let the next one open a new connection."""
        with self._lock:
            self._hung += 1
            self._gave_up = True
            if self._made is client:
                self._made = None
        result.add_done_callback(self._came_back)

    def _came_back(self, result: Future[T]) -> None:
        with self._lock:
            self._hung -= 1

    def _denied(self, doing: str, path: str, why: str) -> StorageDenied:
        return StorageDenied(f"cannot {doing} {self.url}{path}: {why}", path=path)


def _conf_of_environment() -> Path | None:
    """Where Hadoop's own tools look for their configuration."""
    if directory := os.environ.get("HADOOP_CONF_DIR"):
        return Path(directory)
    if home := os.environ.get("HADOOP_HOME"):
        return Path(home, "etc", "hadoop")
    return None


class NewFile:
    """A file under construction; its lease is this process's, and is renewed while it is open.

    Not thread-safe. After an error only `drop` helps.
    """

    def __init__(
        self, client: HdfsClient, path: str, writer: hdfs_native._internal.RawFileWriter
    ) -> None:
        self.path = path
        self._client = client
        self._writer = writer

    def write(self, data: Buffer) -> None:
        """Bytes or a bytearray: the library copies anything else byte by byte."""
        self._step("write", lambda: self._writer.write(data))

    def hsync(self) -> None:
        """All bytes of the current block are on the disks of its data nodes."""
        self._step("sync", self._writer.hsync)

    def close(self) -> None:
        """The file is complete: every block has the replicas that a name node wants at least."""
        self._step("close", self._writer.close)

    def drop(self) -> None:
        """Delete the file, then let go of the data nodes, who would wait for more of it."""
        self._client.delete(self.path)
        self.close()

    def _step(self, doing: str, step: Callable[[], object]) -> None:
        try:
            self._client.call(doing, self.path, lambda _: step())
        except (FileNotFoundError, FileExistsError) as error:
            text = f"cannot {doing} {self._client.url}{self.path}: it was deleted meanwhile"
            raise StorageUnavailable(text, path=self.path) from error


class Reader(io.RawIOBase):
    """A file opened for reading, seekable. Not thread-safe. Reads block, and raise KeyError for a
    file that was deleted since and whose blocks are gone.
    """

    def __init__(
        self, client: HdfsClient, path: str, reader: hdfs_native._internal.RawFileReader
    ) -> None:
        self._client = client
        self._path = path
        self._reader = reader
        self._size = reader.file_length()
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.piece(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self.piece(self._size)

    def piece(self, count: int) -> bytes:
        """At most so many bytes from the present place on."""
        start, count = self._place, min(count, self._size - self._place)
        if count <= 0:
            return b""
        try:
            data = self._client.call(
                "read", self._path, lambda _: self._reader.read_range(start, count)
            )
        except StorageUnavailable:
            if self._client.info(self._path) is None:  # the data nodes delete its blocks later
                raise KeyError(self._path) from None
            raise
        self._place += len(data)
        return data
