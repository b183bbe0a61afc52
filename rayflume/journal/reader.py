"""A sink's way to the rows of a journal that lies on its own host: no call, and where they are in
the page cache no copy.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.errors import ConfigError
from rayflume.interfaces import RowRef
from rayflume.journal.direct import DIRECT_BYTES_MIN, DirectReader, Memory
from rayflume.journal.segment import KEY, Kind, body_of, decode_head, extents_from_json

_OPEN_MAX = 4
"""Few, because the space of a removed segment is free only once nobody maps it."""
_OPENING_BYTES = 65_536
T = TypeVar("T")


class RowsUnreadable(Exception):
    """A record's bytes are not what was written; its channel sets it aside."""


def decode_rows(record: pa.Buffer, ref: RowRef) -> EventBatch:
    """The rows of `ref` in a whole Put record, with the extents they came from; nothing is copied.

    Raises RowsUnreadable when a checksum is wrong or the record is not there, ConfigError when it
    is sealed.
    """
    head = decode_head(record)
    if head is None or head.kind is not Kind.PUT or head.length != ref.length:
        raise RowsUnreadable(f"no record at {ref.segment}:{ref.offset}")
    if KEY in head.meta:
        raise ConfigError(
            f"the rows at {ref.segment}:{ref.offset} are encrypted with the key "
            f"{head.meta[KEY]!r}: only their channel, which has it, can read them"
        )
    body = body_of(head, record)
    if body is None:
        raise RowsUnreadable(f"wrong checksum of the rows at {ref.segment}:{ref.offset}")
    try:
        batch = EventBatch.decode(body, extents_from_json(head.meta["extents"]))
    except (ValueError, pa.ArrowException, OSError) as error:
        raise RowsUnreadable(f"no rows at {ref.segment}:{ref.offset}: {error}") from error
    first, stop = head.meta["rows"]
    if first != ref.position - ref.start or batch.num_rows != stop - first:
        raise RowsUnreadable(f"other rows at {ref.segment}:{ref.offset}")
    batch = replace(batch, source=str(head.meta.get("source", "")))
    whole = ref.start == 0 and ref.stop == batch.num_rows
    return batch if whole else batch.slice(ref.start, ref.rows)


def journal_in(directory: Path) -> str:
    """Id of the journal whose segments lie in a directory of this host; "" when there is none."""
    for path in sorted(directory.glob("segment-*.log"), reverse=True):
        with path.open("rb") as file:
            head = decode_head(file.read(_OPENING_BYTES))
        if head is not None and head.kind is Kind.SEGMENT:
            return str(head.meta["journal"])
    return ""


class SegmentReader:
    """Reads records of the segments in a directory. Thread-safe; one call at a time.

    `direct`: large records were written past the page cache, and are read so.
    """

    def __init__(self, directory: Path, *, direct: bool = False) -> None:
        self._directory = directory
        self._maps: OrderedDict[str, pa.MemoryMappedFile] = OrderedDict()
        self._past_cache: OrderedDict[str, DirectReader] | None = OrderedDict() if direct else None
        self._memory = Memory()
        self._lock = threading.Lock()

    def read(self, ref: RowRef) -> EventBatch:
        """The rows of `ref`. Raises FileNotFoundError if the segment is gone, RowsUnreadable."""
        with self._lock:
            record = self._record(ref)
        return decode_rows(record, ref)

    def _record(self, ref: RowRef) -> pa.Buffer:
        if self._past_cache is not None and ref.length >= DIRECT_BYTES_MIN:
            return self._reader(self._past_cache, ref.segment).read(ref.offset, ref.length)
        mapped = self._map(ref.segment, ref.offset + ref.length)
        if mapped is None or mapped.size() < ref.offset:
            raise RowsUnreadable(f"{ref.segment} ends before {ref.offset}")
        mapped.seek(ref.offset)
        return mapped.read_buffer(ref.length)

    def _reader(self, opened: OrderedDict[str, DirectReader], segment: str) -> DirectReader:
        reader = opened.pop(segment, None)
        if reader is None:
            reader = DirectReader(self._directory / segment, self._memory)
        _keep(opened, segment, reader)
        return reader

    def _map(self, segment: str, size: int) -> pa.MemoryMappedFile | None:
        mapped = self._maps.pop(segment, None)
        if mapped is None or mapped.size() < size:
            # A segment grows; what was mapped earlier stays valid for batches that still use it.
            path = self._directory / segment
            if path.stat().st_size == 0:
                return None
            mapped = pa.memory_map(str(path), "r")
        _keep(self._maps, segment, mapped)
        return mapped

    def close(self) -> None:
        self._maps.clear()
        if self._past_cache is not None:
            self._past_cache.clear()


def _keep(opened: OrderedDict[str, T], segment: str, file: T) -> None:
    opened[segment] = file
    while len(opened) > _OPEN_MAX:
        opened.popitem(last=False)
