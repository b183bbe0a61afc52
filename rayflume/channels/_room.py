"""What a journaled channel knows of its disk's room and of the age of its rows. No lock: the
channel's own is held.
"""

from __future__ import annotations

from collections import deque

from rayflume.clock import Clock
from rayflume.journal.seam import Disk
from rayflume.units import format_bytes

FREE_CHECK_MS = 1_000


class DiskRoom:
    """Bytes of the disk that puts may take; `kept_bytes` of what is free are for the records of
    deliveries. Between two looks at the disk, FREE_CHECK_MS apart, puts count down what was free.
    """

    def __init__(self, disk: Disk, clock: Clock, kept_bytes: int) -> None:
        self._disk = disk
        self._clock = clock
        self._kept_bytes = kept_bytes
        self._look_at_ms, self._free = 0, 0

    @property
    def bytes(self) -> int:
        """0 when puts must wait."""
        now_ms = self._clock.monotonic_ms()
        if self._look_at_ms <= now_ms:
            self._look_at_ms, self._free = now_ms + FREE_CHECK_MS, self._disk.free_bytes()
        return max(0, self._free - self._kept_bytes)

    def took(self, size: int) -> None:
        """A put has taken so many bytes."""
        self._free -= size

    def look_again(self) -> None:
        """Some was given back: the next question asks the disk."""
        self._look_at_ms = 0

    @property
    def trouble(self) -> str:
        """Why puts wait although the channel is not full; "" when they need not."""
        if self.bytes:
            return ""
        return (
            f"the disk has less than minimum_required_space ({format_bytes(self._kept_bytes)}) "
            "free: puts wait, deliveries go on"
        )


class PutTimes:
    """When the rows that are not committed were put, oldest first. Monotonic milliseconds."""

    def __init__(self) -> None:
        self._times: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._times)

    def put(self, stop: int, now_ms: int) -> None:
        """Rows up to position `stop` were put now."""
        self._times.append((stop, now_ms))

    def done(self, first: int | None) -> None:
        """`first` is the oldest position that is not committed; None when all are."""
        while self._times and (first is None or self._times[0][0] <= first):
            self._times.popleft()

    def oldest_age(self, now_ms: int) -> int:
        """For how long the oldest row waits; 0 when none does."""
        return now_ms - self._times[0][1] if self._times else 0
