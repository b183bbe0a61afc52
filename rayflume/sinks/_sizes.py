"""How large a file will be before it is written: what decoded bytes become in Parquet.

The ratio is that of the file itself as far as rows of it are encoded, and that of the sink's
earlier files before. Of rows nobody has encoded yet the most is expected: they stay as large as
they are.
"""

from __future__ import annotations

import threading

import pyarrow as pa

FILLED = 0.95
"""Share of its target at which a file is full: within 10 % of it even if the footer is large."""

GROUPS_MIN = 8
"""Row groups a full file has at least. Only the last one's size is predicted, so its rows may be
twice as large as expected and the file still hits its target; not so if, in the midst of a file,
rows suddenly compress ten times worse than all before.
"""

_OWN_BYTES = 256 << 10
"""Decoded bytes that a file must have encoded for its own ratio to count as much as the sink's."""
_MEMORY_BYTES = 64 << 20
"""Decoded bytes the sink's ratio is taken over: older files count less and less."""
_FOOTER_BYTES = 1_000
_CHUNK_BYTES = 150
"""Of each column of each row group in the footer."""


class Ratio:
    """Encoded bytes per decoded byte of a sink's files. Thread-safe."""

    def __init__(self) -> None:
        self._encoded = self._decoded = 0.0
        self._lock = threading.Lock()

    def note(self, encoded: int, decoded: int) -> None:
        """A row group was written."""
        with self._lock:
            keep = max(0.0, 1 - decoded / _MEMORY_BYTES)
            self._encoded = keep * self._encoded + encoded
            self._decoded = keep * self._decoded + decoded

    def of(self, encoded: int, decoded: int) -> float:
        """For a file that has encoded so much."""
        with self._lock:
            known = self._encoded / self._decoded if self._decoded else 1.0
        return (encoded + _OWN_BYTES * known) / (decoded + _OWN_BYTES)


def footer_bytes(schema: pa.Schema, columns: int) -> int:
    """Bytes of an empty file's footer with so many columns; its own metadata is not counted."""
    # The Arrow schema is kept as text beside Parquet's own.
    return _FOOTER_BYTES + int(schema.serialize().size) * 4 // 3 + 60 * columns


def group_footer_bytes(columns: int) -> int:
    """Bytes that one row group adds to the footer."""
    return _CHUNK_BYTES * columns
