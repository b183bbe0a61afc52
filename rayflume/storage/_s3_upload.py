"""A multipart upload that is not completed: that is how a file is staged on S3.

Parts are all of one size but for the last (some stores insist), sent in parallel by the threads of
the storage. A part's bytes are kept until the store has them, so `finish` may be asked again.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayflume.errors import RayflumeError, StagingFailed, StorageDenied

if TYPE_CHECKING:
    import pyarrow as pa

    from rayflume.interfaces import Json
    from rayflume.storage._s3_client import S3Client

PARTS_MAX = 10_000


class PartSenders:
    """The threads that send parts, shared by all files of a storage. At most `concurrency` parts
    are under way, so that many open files cannot fill the memory.
    """

    def __init__(self, client: S3Client, concurrency: int) -> None:
        self.client = client
        self.pool = ThreadPoolExecutor(concurrency, thread_name_prefix="rayflume-s3")
        self._room = threading.BoundedSemaphore(concurrency)

    def send(self, part: Part, key: str, upload_id: str) -> None:
        """Start sending; waits while `concurrency` parts are under way. Blocks."""
        self._room.acquire()
        try:
            part.sent = self.pool.submit(self._send, part, key, upload_id)
        except BaseException:
            self._room.release()
            raise
        # Only when its outcome can be seen: who gets this room looks at `error` first.
        part.sent.add_done_callback(lambda _: self._room.release())

    def _send(self, part: Part, key: str, upload_id: str) -> None:
        answer = self.client.call(
            "upload_part",
            Key=key,
            UploadId=upload_id,
            PartNumber=part.number,
            Body=part.data,
        )
        part.etag = str(answer["ETag"])
        part.data = b""

    def close(self) -> None:
        self.pool.shutdown(wait=True)


@dataclass
class Part:
    """One part: its bytes until it has an `etag`."""

    number: int
    data: bytes
    etag: str = ""
    sent: Future[None] | None = None

    @property
    def error(self) -> BaseException | None:
        """Why the part could not be sent; None while it is under way."""
        return self.sent.exception() if self.sent is not None and self.sent.done() else None


class S3Writer:
    """One file on its way. `write` raises what became of earlier parts before it takes anything."""

    def __init__(
        self, senders: PartSenders, target: str, key: str, upload_id: str, part_bytes: int
    ) -> None:
        self._senders = senders
        self._key = key
        self._upload_id = upload_id
        self._part_bytes = part_bytes
        self._handle: dict[str, Json] = {"target": target, "upload_id": upload_id}
        self._buffer = bytearray()
        self._parts: list[Part] = []
        self._size = 0
        self._state = "open"

    @property
    def held_bytes(self) -> int:
        """Bytes in memory: waiting for a whole part, or on their way."""
        return len(self._buffer) + sum(len(part.data) for part in self._parts)

    def write(self, data: pa.Buffer | bytes | memoryview) -> int:
        """Take all of `data`; whole parts start on their way. Blocks while too many are."""
        if self._state != "open":
            raise StagingFailed(f"the upload of {self._key} is {self._state}; stage it anew")
        self._raise_failed()
        view: memoryview[Any] = memoryview(data).cast("B")
        taken = 0
        while taken < len(view):
            piece = view[taken : taken + self._part_bytes - len(self._buffer)]
            self._buffer += piece
            taken += len(piece)
            if len(self._buffer) == self._part_bytes:
                self._send_buffer()
        self._size += taken
        return taken

    def finish(self) -> dict[str, Json]:
        """Send the last part and wait for all; parts that failed are sent again. Blocks."""
        if self._state == "aborted":
            raise StagingFailed(f"the upload of {self._key} is aborted; stage it anew")
        if self._state == "open":
            if self._buffer or not self._parts:
                self._send_buffer()
            self._state = "finished"
        for part in self._parts:
            if part.error is not None:
                self._senders.send(part, self._key, self._upload_id)
        self._wait()
        self._raise_failed()
        parts: list[Json] = [{"n": part.number, "etag": part.etag} for part in self._parts]
        return {**self._handle, "parts": parts, "size": self._size}

    def abort(self) -> None:
        """Give up. What the store cannot delete now is found by `staged` later. Blocks."""
        self._state = "aborted"
        self._buffer = bytearray()
        self._wait()
        self._parts = []
        with suppress(RayflumeError):
            self._senders.client.call(
                "abort_multipart_upload", Key=self._key, UploadId=self._upload_id
            )

    def _send_buffer(self) -> None:
        if len(self._parts) >= PARTS_MAX:
            raise StorageDenied(
                f"{self._key} would have more than {PARTS_MAX} parts; roll sooner or raise "
                "`part_bytes`"
            )
        part = Part(len(self._parts) + 1, bytes(self._buffer))
        self._buffer = bytearray()
        self._parts.append(part)
        self._senders.send(part, self._key, self._upload_id)

    def _wait(self) -> None:
        wait([part.sent for part in self._parts if part.sent is not None])

    def _raise_failed(self) -> None:
        for part in self._parts:
            error = part.error
            if isinstance(error, RayflumeError) and error.facts.get("code") == "NoSuchUpload":
                raise StagingFailed(error.message, **error.facts)
            if error is not None:
                raise error
