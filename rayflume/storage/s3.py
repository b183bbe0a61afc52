"""A lake on S3 or a store that speaks its protocol.

A file is staged as a multipart upload that is not completed, and published by completing it under
the condition that the target does not exist. The upload carries the delivery's id as metadata from
its beginning, and the object keeps it: so a second publish, or one whose answer was lost, looks at
the target and knows its own. An upload is proven gone when the store says so and the target is not
there after that.

Nothing is cached: every look asks the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rayflume.component import Context, component
from rayflume.errors import OptionError, RayflumeError, StorageUnavailable, TargetTaken
from rayflume.interfaces import Json, LakeReader, Published
from rayflume.naming import STAGING, delivery_of
from rayflume.storage import _paths
from rayflume.storage._outcomes import all_published
from rayflume.storage._s3_client import Answer, S3Client, refusal
from rayflume.storage._s3_options import S3Options
from rayflume.storage._s3_reader import S3Reader
from rayflume.storage._s3_upload import PartSenders, S3Writer

_DELIVERY = "rayflume-delivery"
_CREATION = "rayflume-creation"
_DELETE_MAX = 1000
_GONE = {"NoSuchUpload", "InvalidPart"}


@component
class S3(S3Options):
    """Objects on S3 or a compatible store that honours `If-None-Match: *`. Exactly once.

    The credentials need to list the bucket, to read and write its objects, and to list and abort
    multipart uploads. A store that does not list uploads by prefix keeps those of dead writers
    until its own lifecycle rule removes them; give such a rule more days than a sink may be down.
    A published file costs two requests besides its parts, of which a small file has one.
    """

    def build(self, context: Context) -> S3Storage:
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise OptionError(f"storage.ca_file: there is no file {self.ca_file} on this host")
        return S3Storage(self)


class S3Storage:
    """Storage below one prefix of a bucket. Thread-safe."""

    def __init__(self, options: S3) -> None:
        self._prefix = options.prefix
        self._part_bytes = options.part_bytes
        self._kept: dict[str, object] = {}
        if options.storage_class:
            self._kept["StorageClass"] = options.storage_class
        self._client = S3Client(options)
        self._senders = PartSenders(self._client, options.concurrency)

    def check(self) -> None:
        """List, begin an upload and abort it: no object is left behind. Blocks.

        Uploads of earlier checks are aborted, too: their collector died, or no answer told it of
        them. They hold nothing, so a check that finds its own gone has lost nothing either.
        """
        self._client.call("list_objects_v2", Prefix=self._prefix, MaxKeys=1)
        begin = f"{self._prefix}{STAGING}/check-"
        key = begin + secrets.token_hex(8)
        upload = self._client.call("create_multipart_upload", Key=key, **self._kept)
        self._abort(key, str(upload["UploadId"]))
        for found, upload_id in self._uploads(begin):
            self._abort(found, upload_id)

    def stage(self, target: str, delivery: str) -> S3Writer:
        """Begin an upload for the target. Blocks."""
        _paths.target(target, delivery)
        key = self._prefix + target
        upload = self._client.call(
            "create_multipart_upload", Key=key, Metadata={_DELIVERY: delivery}, **self._kept
        )
        return S3Writer(self._senders, target, key, str(upload["UploadId"]), self._part_bytes)

    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]:
        """Complete all uploads in parallel; every one is tried before an error is raised.
        Blocks.
        """
        return all_published(self._senders.pool.map(self._publish_one, handles))

    def _publish_one(self, handle: Mapping[str, Json]) -> Published | RayflumeError:
        target, delivery = _paths.target_in(handle)
        upload = {"Key": self._prefix + target, "UploadId": _paths.text_in(handle, "upload_id")}
        answer = self._client.ask(
            "complete_multipart_upload",
            **upload,
            MultipartUpload={"Parts": _parts_in(handle)},
            IfNoneMatch="*",
        )
        if answer.error is None:
            return Published.LANDED
        exists = answer.status == 412
        gone = answer.code in _GONE
        if answer.status >= 500:
            # Some stores answer so for an upload that is gone; ask in another way.
            gone = self._client.ask("list_parts", **upload).code == "NoSuchUpload"
        if not exists and not gone:
            return answer.error
        outcome = self._look(target, delivery, answer, gone=gone)
        if outcome is Published.LOST and answer.code == "InvalidPart":
            # Nobody can complete it with what the journal knows of it. Else the next start does it.
            self._client.ask("abort_multipart_upload", **upload)
        return outcome

    def _look(
        self, target: str, delivery: str, answer: Answer, *, gone: bool
    ) -> Published | RayflumeError:
        """Whose file is at the target, after the store would not complete the upload."""
        for _attempt in range(2):
            head = self._client.ask("head_object", Key=self._prefix + target)
            if head.ok:
                owner = {k.lower(): v for k, v in head.data.get("Metadata", {}).items()}
                if owner.get(_DELIVERY) == delivery:
                    return Published.LANDED
                return TargetTaken(
                    f"s3://{self._client.bucket}/{self._prefix}{target} exists and is not of the "
                    f"delivery {delivery}; move it away, then the sink goes on",
                    path=target,
                )
            if not head.absent:
                return head.error or StorageUnavailable(f"{target}: no answer")
        if gone:
            return Published.LOST
        return answer.error or StorageUnavailable(f"{target}: no answer")

    def discard(self, handle: Mapping[str, Json]) -> None:
        """Abort the upload. Blocks."""
        key = self._prefix + _paths.target_in(handle)[0]
        self._abort(key, _paths.text_in(handle, "upload_id"))

    def _abort(self, key: str, upload_id: str) -> None:
        answer = self._client.ask("abort_multipart_upload", Key=key, UploadId=upload_id)
        if answer.error is not None and answer.code not in {"NoSuchUpload", "404"}:
            raise answer.error

    def staged(self, journal: str) -> list[tuple[str, dict[str, Json]]]:
        found: dict[str, tuple[str, dict[str, Json]]] = {}
        for key, upload_id in self._uploads(self._prefix):
            target = key.removeprefix(self._prefix)
            delivery = delivery_of(target)
            if delivery is not None and _paths.of_journal(delivery, journal):
                found[upload_id] = (delivery, {"target": target, "upload_id": upload_id})
        return list(found.values())

    def _uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and id of all uploads under way below a prefix."""
        markers = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        for page in self._client.pages("list_multipart_uploads", markers, Prefix=prefix):
            for upload in page.get("Uploads", []):
                yield str(upload["Key"]), str(upload["UploadId"])

    def staged_size(self, handle: Mapping[str, Json]) -> int:
        """Bytes of the parts of an upload, 0 when it is gone. Blocks."""
        key = self._prefix + _paths.target_in(handle)[0]
        upload = {"Key": key, "UploadId": _paths.text_in(handle, "upload_id")}
        size, marker = 0, 0
        while True:
            answer = self._client.ask("list_parts", **upload, PartNumberMarker=marker)
            if answer.error is not None:
                if answer.code in {"NoSuchUpload", "404"}:
                    return 0
                raise answer.error
            size += sum(int(part["Size"]) for part in answer.data.get("Parts", []))
            if not answer.data.get("IsTruncated"):
                return size
            marker = int(answer.data["NextPartNumberMarker"])

    def create(self, path: str, data: bytes) -> bool:
        """Put if absent. A store that ignores the condition is only guarded by looking first: two
        creators in the same moment could then both believe that they made it. Blocks.
        """
        _paths.visible(path)
        key = self._prefix + path
        if self._creation(key) is not None:
            return False
        token = secrets.token_hex(16)
        answer = self._client.ask(
            "put_object", Key=key, Body=data, IfNoneMatch="*", Metadata={_CREATION: token}
        )
        if answer.error is None:
            return True
        if answer.status != 412:
            raise answer.error
        # The condition also fails for the retry of a put whose answer was lost: whose is it?
        return self._creation(key) == token

    def _creation(self, key: str) -> str | None:
        head = self._client.ask("head_object", Key=key)
        if head.absent:
            return None
        if head.error is not None:
            raise head.error
        return str(head.data.get("Metadata", {}).get(_CREATION, ""))

    def read(self, path: str) -> bytes:
        _paths.visible(path)
        data = self._client.read(self._prefix + path)
        if data is None:
            raise KeyError(path)
        return data

    def list(self, prefix: str) -> list[str]:
        return list(self._objects(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        return {path: int(entry["Size"]) for path, entry in self._objects(prefix).items()}

    def modified(self, prefix: str) -> dict[str, int]:
        """When each object below was made, by the store's clock. Blocks."""
        return {
            path: int(entry["LastModified"].timestamp() * 1000)
            for path, entry in self._objects(prefix).items()
        }

    def _objects(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """What the store lists of each visible object below a folder, sorted by path."""
        start = self._prefix + "".join(f"{name}/" for name in _paths.folder(prefix))
        markers = {"ContinuationToken": "NextContinuationToken"}
        found = {}
        for page in self._client.pages("list_objects_v2", markers, Prefix=start):
            for entry in page.get("Contents", []):
                path = str(entry["Key"]).removeprefix(self._prefix)
                if not path.endswith("/") and not _paths.is_staging(path):
                    found[path] = entry
        return dict(sorted(found.items()))

    def open(self, path: str) -> LakeReader:
        """A reader that begins with the file's last 64 KiB, in one request. Blocks."""
        _paths.visible(path)
        return S3Reader(self._client, self._prefix + path, path)

    def remove(self, paths: Sequence[str]) -> None:
        """A request for each thousand. All are tried before an error is raised. Blocks."""
        for path in paths:
            _paths.visible(path)
        keys = [{"Key": self._prefix + path} for path in paths]
        refused: list[Mapping[str, Any]] = []
        for first in range(0, len(keys), _DELETE_MAX):
            objects = keys[first : first + _DELETE_MAX]
            answer = self._client.call("delete_objects", Delete={"Objects": objects, "Quiet": True})
            refused += answer.get("Errors", [])
        for error in refused:
            code = str(error.get("Code", ""))
            if code != "NoSuchKey":
                place = f"s3://{self._client.bucket}/{error.get('Key', '')}"
                raise refusal(code, 0, str(error.get("Message", "")), place)

    def close(self) -> None:
        """Wait for requests under way, then close the connections. Blocks."""
        self._senders.close()
        self._client.close()


def _parts_in(handle: Mapping[str, Json]) -> list[dict[str, Json]]:
    parts = handle.get("parts")
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"not a handle of this storage, 'parts' is missing: {dict(handle)}")
    return [
        {"PartNumber": part["n"], "ETag": part["etag"]} for part in parts if isinstance(part, dict)
    ]
