"""A file as one row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rayflume.component import component, option
from rayflume.deserializer import DeserializerOptions, Settings, read_behind, tail_of
from rayflume.lines import Outcome, Piece, Rows, fingerprint
from rayflume.units import ByteSize


@component
class Blob(DeserializerOptions):
    """One row per file, its body the whole file. A longer file goes on in the next row.

    A row is in memory as a whole, in every part that it passes.
    """

    max_blob_length: ByteSize = option(
        "Most bytes of a row.",
        default=100_000_000,
        ge=1,
        le=512 * 2**20,
        example="16MiB",
    )

    def open(self, settings: Settings) -> BlobDeserializer:
        return BlobDeserializer(self.max_blob_length, settings)


class BlobDeserializer:
    """Implements rayflume.deserializer.Deserializer."""

    def __init__(self, blob_bytes_max: int, settings: Settings) -> None:
        self._blob_bytes_max = blob_bytes_max
        self._batch_bytes = settings.batch_bytes
        self._rows_max = settings.rows_max
        self.clear()

    def clear(self) -> None:
        self._blobs: list[bytes] = []
        self._pieces: list[Piece] = []
        self._rows: list[int] = []
        self._offsets: list[int] = []
        self._hashes: list[str] = []
        self._used = 0

    @property
    def room(self) -> int:
        is_full = self._rows_max and len(self._blobs) >= self._rows_max
        return 0 if is_full else self._batch_bytes - self._used

    @property
    def pieces(self) -> int:
        return len(self._pieces)

    def read(self, fd: int, start: int, stop: int, expect: str) -> Outcome:
        place, rows, first = start, 0, self._used
        before, mark = b"", expect
        while place < stop and self.room > 0:
            length = min(self._blob_bytes_max, stop - place)
            if self._blobs and self._used + length > self._batch_bytes:
                break
            found = read_behind(fd, place, length, mark)
            if found is None or len(found[1]) < length:
                return Outcome.CHANGED
            before, blob = found
            self._blobs.append(blob)
            self._offsets.append(place)
            self._used += length
            mark = fingerprint(tail_of(before, blob))
            place, rows = place + length, rows + 1
        if not rows:
            return Outcome.NO_ROOM
        self._pieces.append(Piece(start, start, first, self._used, before, place == stop))
        self._rows.append(rows)
        self._hashes.append(mark)
        return Outcome.ROWS

    def take(self, rows_max: int) -> Rows:
        """`rows_max` is kept while reading: no more rows are there than the settings allow."""
        body = pa.array(self._blobs, pa.binary())
        offsets = np.array(self._offsets, np.int64)
        found = Rows(body, self._pieces, self._rows, offsets, self._hashes)
        self.clear()
        return found
