"""What a sink has committed to each partition, for whoever asks how the lake is doing. Bounded."""

from __future__ import annotations

import posixpath
import threading
from collections import OrderedDict
from dataclasses import dataclass

from rayflume.interfaces import Json, Manifest

PARTITIONS_MAX = 100
"""The ones committed to last are kept; counts begin anew for one that comes back."""


@dataclass
class _Partition:
    rows: int = 0
    bytes: int = 0
    files: int = 0
    committed_ms: int = 0


class PartitionFigures:
    """Rows, bytes and files that this life of a sink published, per partition. Thread-safe."""

    def __init__(self) -> None:
        self._partitions: OrderedDict[str, _Partition] = OrderedDict()
        self._lock = threading.Lock()

    def published(self, manifest: Manifest, now_ms: int) -> None:
        """All files of a delivery are visible. `now_ms` is monotonic."""
        with self._lock:
            for file in manifest.files:
                if file.dead:
                    continue
                name = posixpath.dirname(file.target)
                found = self._partitions.pop(name, None) or _Partition()
                found.rows += file.rows
                found.bytes += file.size
                found.files += 1
                found.committed_ms = now_ms
                self._partitions[name] = found
            while len(self._partitions) > PARTITIONS_MAX:
                self._partitions.popitem(last=False)

    def to_json(self, now_ms: int) -> list[Json]:
        """The partitions committed to last, the newest first."""
        with self._lock:
            return [
                {
                    "partition": name,
                    "rows": found.rows,
                    "bytes": found.bytes,
                    "files": found.files,
                    "commit_age_ms": now_ms - found.committed_ms,
                }
                for name, found in reversed(self._partitions.items())
            ]
