"""A lake on HDFS.

A file is staged under `_rayflume/staging/`, closed, and published by renaming it: the one call that
makes a whole file appear under its target and fails where the target exists. The name node answers
once the rename is in its edit log, so it is durable.

Whoever did not hear the answer, or asks later, looks at target, staged file, target: the file is
under one of the two names at any moment, so absent from all three is proof that the bytes are gone.
A target is known by the delivery in its name and by its size.

A staged file that a dead writer left open still has its lease, which hinders no one: a staged file
is never appended to, and deleting one ends its lease. A writer that only seemed dead then cannot
finish it.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rayflume.component import Context, component
from rayflume.errors import (
    RayflumeError,
    StorageUnavailable,
    TargetTaken,
)
from rayflume.interfaces import Json, LakeReader, Published
from rayflume.naming import STAGING, delivery_of, staged_name
from rayflume.storage import _paths
from rayflume.storage._hdfs_client import Found, HdfsClient, NewFile, Reader
from rayflume.storage._hdfs_options import HdfsOptions
from rayflume.storage._hdfs_writer import HdfsWriter
from rayflume.storage._outcomes import all_published

_AT_ONCE = 8
_FORGOTTEN_MS = 3_600_000


@component
class Hdfs(HdfsOptions):
    """Files on HDFS. Exactly once. Needs `rayflume[hdfs]`; tested with Hadoop 3.5.

    Name services (HA), `hdfs:///path` for the default file system, Kerberos and mount tables come
    from core-site.xml and hdfs-site.xml. Without Kerberos the user is HADOOP_USER_NAME, or the one
    that runs rayflume. All of that is read on the host where the sink runs. `viewfs://` works for a
    lake that lies below one mount. Directories get the permissions 755, files 644.

    A staged file is synced to the disks of its data nodes (hsync) before it is published. Only the
    loss of power on all hosts of a block in the same moment can undo it, unless the data nodes have
    dfs.datanode.synconclose. Erasure-coded directories cannot be synced and are refused.
    """

    def build(self, context: Context) -> HdfsStorage:
        return HdfsStorage(self)


class HdfsStorage:
    """Storage below one directory. Thread-safe: all its state is the name node's."""

    def __init__(self, options: Hdfs) -> None:
        self._base = options.base
        self._place = f"{options.url}{options.base}"
        self._client = HdfsClient(options)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rayflume-hdfs")

    def check(self) -> None:
        """Make the base, and try out there what publishing needs: create, sync, rename, delete.
        Blocks.
        """
        self._client.mkdirs(self._at(STAGING))
        name = self._at(f"{STAGING}/check-{secrets.token_hex(8)}")
        try:
            self._write_beside(name, b"rayflume")
            self._remove_forgotten(name)
            if not self._client.rename(name, f"{name}-renamed"):
                raise StorageUnavailable(f"{self._client.url}{name} vanished while it was checked")
        finally:
            for path in (f"{name}-renamed", name):
                with suppress(RayflumeError):
                    self._client.delete(path)

    def _remove_forgotten(self, new: str) -> None:
        """Delete what dead processes left of `check` and `create`: files that live for a moment,
        but are an hour older than the new one by the name node's clock.
        """
        found = self._client.files(self._at(STAGING), recursive=False)
        newest = max((file.modified_ms for file in found if file.path == new), default=0)
        for file in found:
            brief = file.path.rpartition("/")[2].startswith(("check-", "create-"))
            if brief and file.modified_ms < newest - _FORGOTTEN_MS:
                self._client.delete(file.path)

    def stage(self, target: str, delivery: str) -> HdfsWriter:
        """Open a new staged file, in the lake that `check` made. Blocks."""
        _paths.target(target, delivery)
        while True:
            # A name is never used twice, or an old handle could publish another file's bytes.
            staged = staged_name(delivery, secrets.randbelow(10**15))
            with suppress(FileExistsError):
                file = self._client.new_file(self._at(staged))
                return HdfsWriter(
                    file, self._block_size(file), {"target": target, "staged": staged}
                )

    def _block_size(self, file: NewFile) -> int:
        found = self._client.info(file.path)
        if found is None or not found.blocksize:
            raise StorageUnavailable(f"{self._client.url}{file.path} is gone already")
        return found.blocksize

    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]:
        """Rename all, several at once; every one is tried before an error is raised. Blocks."""
        return all_published(self._pool.map(self._publish_one, handles))

    def _publish_one(self, handle: Mapping[str, Json]) -> Published | RayflumeError:
        target, delivery = _paths.target_in(handle)
        staged, size = _staged_in(handle), _paths.size_in(handle)
        try:
            return self._rename(target, staged, size)
        except TargetTaken:
            return TargetTaken(
                f"{self._place}/{target} exists and is not the file of {size} bytes of the "
                f"delivery {delivery}; move it away, then the sink goes on",
                path=target,
            )
        except RayflumeError as error:
            return error

    def _rename(self, target: str, staged: str, size: int) -> Published:
        client, place, source = self._client, self._at(target), self._at(staged)
        for _attempt in range(3):
            found = client.size(place)
            if found == size:
                client.delete(source)
                return Published.LANDED
            if found is not None:
                raise TargetTaken("", path=target)
            if client.size(source) == size:
                client.mkdirs(place.rpartition("/")[0] or "/")
                # Another process of this sink may be faster: then look again whose it is.
                if client.rename(source, place):
                    return Published.LANDED
            elif client.size(place) is None:
                return Published.LOST
        raise StorageUnavailable(f"{self._place}/{target} keeps changing while it is published")

    def discard(self, handle: Mapping[str, Json]) -> None:
        """Delete the staged file, whoever has it open. Blocks."""
        self._client.delete(self._at(_staged_in(handle)))

    def staged(self, journal: str) -> list[tuple[str, dict[str, Json]]]:
        found = self._client.files(self._at(STAGING), recursive=False)
        paths = [self._relative(file.path) for file in found]
        return [
            (delivery, {"staged": path})
            for path in paths
            if (delivery := delivery_of(path)) and _paths.of_journal(delivery, journal)
        ]

    def staged_size(self, handle: Mapping[str, Json]) -> int:
        """Bytes of a staged file, without those of a block that is still written; 0 when it is
        gone. Blocks.
        """
        return max(0, self._client.size(self._at(_staged_in(handle))) or 0)

    def create(self, path: str, data: bytes) -> bool:
        """Write beside, then rename: the file appears whole or not at all. Blocks."""
        _paths.visible(path)
        place = self._at(path)
        if self._client.size(place) is not None:
            return False
        beside = self._at(f"{STAGING}/create-{secrets.token_hex(8)}")
        try:
            self._write_beside(beside, data)
            self._client.mkdirs(place.rpartition("/")[0] or "/")
            if self._client.rename(beside, place):
                return True
            if self._client.size(place) is None:
                raise StorageUnavailable(f"{self._place}/{path} vanished while it was created")
        except RayflumeError:
            with suppress(RayflumeError):
                self._client.delete(beside)
            raise
        self._client.delete(beside)
        return False

    def _write_beside(self, path: str, data: bytes) -> None:
        try:
            file = self._client.new_file(path)
        except FileExistsError as error:
            raise StorageUnavailable(f"{self._client.url}{path} exists already") from error
        try:
            if data:
                file.write(data)
                file.hsync()
            file.close()
        except RayflumeError:
            with suppress(RayflumeError):
                file.drop()
            raise

    def read(self, path: str) -> bytes:
        return self._opened(path).readall()

    def open(self, path: str) -> LakeReader:
        return io.BufferedReader(self._opened(path))

    def _opened(self, path: str) -> Reader:
        _paths.visible(path)
        try:
            return self._client.open(self._at(path))
        except FileNotFoundError:
            raise KeyError(path) from None

    def list(self, prefix: str) -> list[str]:
        return list(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        return {path: found.size for path, found in self._visible(prefix).items()}

    def modified(self, prefix: str) -> dict[str, int]:
        """When each file below was closed; it became visible soon after that. Blocks."""
        return {path: found.modified_ms for path, found in self._visible(prefix).items()}

    def _visible(self, prefix: str) -> dict[str, Found]:
        names = "/".join(_paths.folder(prefix))
        if _paths.is_staging(names):
            return {}
        files = self._client.files(self._at(names), recursive=True)
        named = {self._relative(file.path): file for file in files}
        return {path: named[path] for path in sorted(named) if not _paths.is_staging(path)}

    def remove(self, paths: Sequence[str]) -> None:
        """Delete all, several at once. Blocks."""
        for path in paths:
            _paths.visible(path)
        for _deleted in self._pool.map(self._client.delete, map(self._at, paths)):
            pass

    def close(self) -> None:
        """Wait for calls under way, then drop the connections. Blocks."""
        self._pool.shutdown()
        self._client.close()

    def _at(self, path: str) -> str:
        """The absolute path on the file system of one relative to the lake."""
        return f"{self._base}/{path}".rstrip("/") or "/"

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self._base}/")


def _staged_in(handle: Mapping[str, Json]) -> str:
    """The staged path, checked: a handle can come from a damaged journal."""
    path = _paths.text_in(handle, "staged")
    folder, _, name = path.rpartition("/")
    if folder != STAGING or delivery_of(name) is None:
        raise ValueError(f"{path!r} is not a staged file of a lake")
    _paths.split(path)
    return path
