"""Bytes of one journal record: encode, decode, checksums. No files here.

Layout, little-endian; every record starts at a multiple of 64 bytes in its segment, so that its
Arrow buffers can be used where they lie in a mapped file:

    offset  size  field
         0     4  magic "RFJ1"
         4     1  version of meta and body: 1, or 2 of a Put whose body is sealed (sealing.py);
                  this table itself never changes
         5     1  kind
         6     2  zero
         8     4  owner epoch
        12     4  length of meta
        16     8  sequence number, from 1, without gaps over all segments of a journal
        24     8  synced: highest sequence number known durable when this was written
        32     8  length of body
        40     4  CRC-32 of body
        44     4  CRC-32 of bytes 0..44 and meta
        48     -  meta: JSON, UTF-8, zero-padded so that the body starts at a multiple of 64
         -     -  body: Arrow IPC stream (Put) or JSON (Snapshot), zero-padded to a multiple of 64

CRC-32 is that of zlib (IEEE 802.3); isal computes it several times as fast. A reader refuses a
version it does not know.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

import pyarrow as pa
from isal.isal_zlib import crc32

from rayflume.batch import Extent
from rayflume.errors import JournalDamaged
from rayflume.interfaces import Manifest, RowRange, StagedFile

MAGIC = b"RFJ1"
VERSION, SEALED_VERSION = 1, 2
KEY = "key"
"""In the meta of a sealed Put: the name of its key."""
ALIGN = 64
HEAD = struct.Struct("<4sBBHIIQQQII")
_SUMMED = HEAD.size - 4
META_BYTES_MAX = 256 * 2**20
Meta: TypeAlias = dict[str, Any]
"""JSON: what a record says, but for its rows."""

assert HEAD.size == 48


class Kind(IntEnum):
    """What a record says."""

    SEGMENT = 1
    PUT = 2
    PREPARED = 3
    COMMITTED = 4
    REVOKED = 5
    SNAPSHOT = 6
    MARK = 7
    RETIRED = 8
    COMPLETE = 9


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Head:
    """A decoded record head. `length` is that of the whole record, padding included."""

    kind: Kind
    epoch: int
    seq: int
    synced: int
    meta_length: int
    body_length: int
    body_crc: int
    meta: Meta = field(default_factory=dict)

    @property
    def body_offset(self) -> int:
        return padded(HEAD.size + self.meta_length)

    @property
    def length(self) -> int:
        return self.body_offset + padded(self.body_length)


def padded(length: int) -> int:
    """`length` rounded up to the alignment of records."""
    return -(-length // ALIGN) * ALIGN


def encode(head: Head, body: pa.Buffer | bytes = b"") -> list[pa.Buffer | bytes]:
    """The record as buffers to be written one behind the other; `body` is not copied.

    Of `head` only kind, epoch, seq, synced, body_crc and meta are used; the lengths are computed.
    """
    meta = json.dumps(head.meta, separators=(",", ":"), ensure_ascii=False).encode()
    size = len(body)
    first = HEAD.pack(
        MAGIC, _version(head), head.kind, 0, head.epoch, len(meta), head.seq, head.synced, size,
        head.body_crc, 0,
    )  # fmt: skip
    crc = crc32(meta, crc32(first[:_SUMMED]))
    used = HEAD.size + len(meta)
    front = first[:_SUMMED] + struct.pack("<I", crc) + meta + bytes(padded(used) - used)
    tail = bytes(padded(size) - size)
    return [front, body, tail] if tail else [front, body]


def _version(head: Head) -> int:
    return SEALED_VERSION if head.kind is Kind.PUT and KEY in head.meta else VERSION


def encoded_length(buffers: list[pa.Buffer | bytes]) -> int:
    """Bytes of an encoded record."""
    return sum(len(buffer) for buffer in buffers)


def peek(data: pa.Buffer | bytes | memoryview) -> tuple[int, int] | None:
    """(bytes of head and meta, bytes of the whole record) as a head claims; None if it is no
    head.
    """
    if len(data) < HEAD.size:
        return None
    magic, _, _, _, _, meta, _, _, body, _, _ = HEAD.unpack_from(data)
    if magic != MAGIC or meta > META_BYTES_MAX:
        return None
    return HEAD.size + meta, padded(HEAD.size + meta) + padded(body)


def decode_head(data: pa.Buffer | bytes | memoryview) -> Head | None:
    """The head at the start of `data` (which must hold all of its meta); None if it is damaged.

    Raises JournalDamaged for a whole head of a version that this code does not know.
    """
    view = memoryview(data)
    sizes = peek(view)
    if sizes is None or len(view) < sizes[0]:
        return None
    _, version, kind, _, epoch, meta, seq, synced, body, body_crc, crc = HEAD.unpack_from(view)
    text = view[HEAD.size : HEAD.size + meta]
    if crc32(text, crc32(view[:_SUMMED])) != crc:
        return None
    sealed = version == SEALED_VERSION and kind == Kind.PUT
    if not (version == VERSION or sealed) or kind not in _KINDS:
        raise JournalDamaged(
            f"the journal has a record of version {version}, kind {kind}, which this rayflume "
            "does not know: use the rayflume that wrote it, or a newer one"
        )
    said = json.loads(str(text, "utf-8"))
    return Head(_KINDS[kind], epoch, seq, synced, meta, body, body_crc, said)


def body_of(head: Head, data: pa.Buffer) -> pa.Buffer | None:
    """The body inside the whole record `data`, not copied; None if its checksum is wrong."""
    if len(data) < head.body_offset + head.body_length:
        return None
    body = data.slice(head.body_offset, head.body_length)
    return body if crc32(body) == head.body_crc else None


# -- what metas hold ----------------------------------------------------------------------------


def extents_to_json(extents: tuple[Extent, ...]) -> list[Any]:
    """Extents as JSON rows: stream, start, end, rows, token (base64), keyed."""
    return [
        [e.stream, e.start, e.end, e.rows, base64.b64encode(e.token).decode(), int(e.keyed)]
        for e in extents
    ]


def extents_from_json(rows: list[Any]) -> tuple[Extent, ...]:
    """The inverse of extents_to_json."""
    return tuple(
        Extent(stream, start, end, count, base64.b64decode(token), bool(keyed))
        for stream, start, end, count, token, keyed in rows
    )


def manifest_to_json(manifest: Manifest, ranges: tuple[RowRange, ...]) -> Meta:
    """A Prepared record's meta: the manifest and the rows it answers for."""
    return {
        "delivery": manifest.delivery,
        "sink": manifest.sink,
        "ranges": [list(r) for r in ranges],
        "counts": [manifest.rows, manifest.written, manifest.dead, manifest.filtered],
        "plan_version": manifest.plan_version,
        "event_times": {stream: list(span) for stream, span in manifest.event_times.items()},
        **({"partitions": dict(manifest.partitions)} if manifest.partitions else {}),
        "files": [
            {
                "target": file.target,
                "handle": file.handle,
                "size": file.size,
                "rows": file.rows,
                "ranges": [list(r) for r in file.ranges],
                "schema_version": file.schema_version,
                "dead": file.dead,
            }
            for file in manifest.files
        ],
    }


def manifest_from_json(meta: Meta) -> tuple[Manifest, tuple[RowRange, ...]]:
    """The inverse of manifest_to_json."""
    files = tuple(
        StagedFile(**{**file, "ranges": ranges_from_json(file["ranges"])}) for file in meta["files"]
    )
    rows, written, dead, filtered = meta["counts"]
    manifest = Manifest(
        str(meta["delivery"]),
        str(meta["sink"]),
        files,
        rows,
        written,
        dead,
        filtered,
        {stream: tuple(span) for stream, span in meta["event_times"].items()},
        int(meta["plan_version"]),
        meta.get("partitions", {}),
    )
    return manifest, ranges_from_json(meta["ranges"])


def ranges_from_json(rows: list[Any]) -> tuple[RowRange, ...]:
    """Row ranges from their JSON form, a list of pairs."""
    return tuple((start, stop) for start, stop in rows)
