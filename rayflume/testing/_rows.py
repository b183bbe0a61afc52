"""Rows for channels: puts, takes and deliveries in a line each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Channel, Manifest, PutReply, PutRequest, RowRef, StagedFile, Taken
from rayflume.journal.reader import decode_rows


def request(
    bodies: Sequence[bytes | None], extents: Sequence[Extent], skip: str = ""
) -> PutRequest:
    """A put of these rows."""
    payload = EventBatch.from_events(bodies).encode()
    return PutRequest(
        "source", tuple(extents), payload, zlib.crc32(payload), len(bodies), skip=skip
    )


def put_numbers(channel: Channel, start: int, stop: int, stream: str = "s") -> PutReply:
    """Put the numbers `[start, stop)` as rows; the stream counts rows."""
    bodies = [str(i).encode() for i in range(start, stop)]
    return channel.put(request(bodies, [Extent(stream, start, stop, stop - start)]))


def bodies_of(channel: Channel, refs: Sequence[RowRef]) -> list[bytes]:
    """The bodies of the rows that references point to."""
    rows: list[bytes] = []
    for ref in refs:
        [record] = channel.fetch([ref])
        rows += decode_rows(record, ref).body.to_pylist()
    return rows


@dataclass(frozen=True)
class Leased:
    """An answer to take, and its rows."""

    taken: Taken
    rows: list[bytes]


def take_rows(channel: Channel, holder: str = "lake/0/a", delivery: str = "") -> Leased:
    """Take what one call gives, and read it."""
    taken = channel.take(holder, delivery, 2**30, 0)
    return Leased(taken, bodies_of(channel, taken.refs))


def take_all(channel: Channel, holder: str = "lake/0/a") -> list[bytes]:
    """All waiting rows, in the order they come; they stay leased."""
    rows: list[bytes] = []
    while (leased := take_rows(channel, holder)).taken.refs:
        rows += leased.rows
    return rows


def manifest_of(delivery: str, rows: int, sink: str = "lake") -> Manifest:
    """A manifest that accounts for so many rows in one file."""
    file = StagedFile(f"{delivery}.parquet", {"staged": delivery}, 10, rows, ((0, rows),))
    return Manifest(delivery, sink, (file,), rows, rows)


def deliver(channel: Channel, holder: str = "lake/0/a") -> list[bytes]:
    """Take once, prepare, commit; returns the rows."""
    leased = take_rows(channel, holder)
    if leased.rows:
        channel.prepare(manifest_of(leased.taken.delivery, len(leased.rows)), holder)
        channel.commit(leased.taken.delivery)
    return leased.rows


def numbers(start: int, stop: int) -> list[bytes]:
    """The bodies that put_numbers makes."""
    return [str(i).encode() for i in range(start, stop)]
