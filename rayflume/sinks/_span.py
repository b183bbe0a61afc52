"""When the time of a partition ends: the first moment that its directory can't get a row of any
more. Pure.

The end is found by asking the partitioning itself which directory a time belongs to, so that days
of 23 and 25 hours, and hours that come twice, end when they end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import numpy as np

from rayflume.clock import EPOCH
from rayflume.sinks._bucket import DAY, HOUR, MINUTE, SECOND, Ints, Partitioning

_LEVELS = ("year", "month", "day", "hour", "minute", "second", "millisecond")
_SHOWS = {
    **dict.fromkeys("Yy", "year"),
    **dict.fromkeys("mnbB", "month"),
    **dict.fromkeys("de", "day"),
    "j": "month day",
    "D": "year month day",
    **dict.fromkeys("Hk", "hour"),
    "M": "minute",
    "S": "second",
    "c": "year month day hour minute second",
    "s": "year month day hour minute second",
    "t": " ".join(_LEVELS),
}
"""Time escape -> what of a time can be read from it. Others, like %a, only repeat something."""
_STEPS = {"hour": 15 * MINUTE, "minute": MINUTE, "second": SECOND, "millisecond": 0}
_LOOK_BACK_MS = 4 * HOUR
"""No clock is set back by more."""
_LOOK_AHEAD = 400
_BEGIN = datetime(1, 1, 1)  # noqa: DTZ001 - of the clocks of any zone
_CACHED_MAX = 10_000


class Spans:
    """The ends of the partitions of one lake. Thread-safe."""

    def __init__(self, partitioning: Partitioning, zone: tzinfo) -> None:
        """Raises ValueError where a partition has no end, a sentence that says what to do."""
        self._partitioning = partitioning
        self._zone = zone
        self._level = _level(partitioning)
        self._known: dict[datetime, int | None] = {}

    def end_of(self, at_ms: int) -> int | None:
        """When the time of the partition ends that has rows of this event time. Both in epoch
        milliseconds. None: not before the calendar ends.
        """
        try:
            local = self._local_end(at_ms)
        except (OverflowError, ValueError):
            return None
        if local not in self._known:
            if len(self._known) >= _CACHED_MAX:
                self._known.clear()
            self._known[local] = self._end(local, at_ms)
        return self._known[local]

    def _local_end(self, at_ms: int) -> datetime:
        """The end as the clocks of the zone show it, without regard to their being set."""
        at = (EPOCH + timedelta(milliseconds=at_ms)).astimezone(self._zone).replace(tzinfo=None)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000, fold=0)
        if self._level == "year":
            return datetime(at.year + 1, 1, 1)  # noqa: DTZ001 - local time of the zone
        if self._level == "month":
            return (at.replace(day=1) + timedelta(days=32)).replace(
                day=1, hour=0, minute=0, second=0, microsecond=0
            )
        unit = {"day": DAY, "hour": HOUR, "minute": MINUTE, "second": SECOND}.get(self._level, 1)
        since = (at - _BEGIN) // timedelta(milliseconds=unit)
        return _BEGIN + (since + 1) * timedelta(milliseconds=unit)

    def _end(self, local: datetime, at_ms: int) -> int | None:
        # Where clocks are set the end may come twice, or never: no partition lasts longer than to
        # the later of the two.
        try:
            ends = [local.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1)]
            end = max((at - EPOCH) // timedelta(milliseconds=1) for at in ends)
        except (OverflowError, ValueError):
            return None
        step = _STEPS.get(self._level, 15 * MINUTE)
        if step and not self._same(at_ms, [end - 1])[0]:
            starts = end - step * np.arange(1, _LOOK_BACK_MS // step, dtype=np.int64)
            same = np.flatnonzero(self._same(at_ms, starts.tolist()))
            if len(same):
                end = int(starts[same[0]]) + step
        return self._widened(end, at_ms, step or 1)

    def _widened(self, end: int, at_ms: int, step: int) -> int:
        """Where times are rounded more coarsely than they are shown a partition lasts longer."""
        while self._same(at_ms, [end])[0]:
            same = self._same(at_ms, [end + step * i for i in range(_LOOK_AHEAD)])
            other = np.flatnonzero(~same)
            if len(other):
                return end + step * int(other[0])
            end += step * _LOOK_AHEAD
        return end

    def _same(self, at_ms: int, times: Sequence[int]) -> Ints:
        """Which times belong to the partition of `at_ms`."""
        fields = dict.fromkeys(self._partitioning.fields, "")
        groups = self._partitioning.group(np.array([at_ms, *times], np.int64), fields)
        if groups.codes is None:
            return np.ones(len(times), np.bool_)
        same: Ints = groups.codes[1:] == groups.codes[0]
        return same


def _level(partitioning: Partitioning) -> str:
    escapes = {
        piece.text
        for pattern in partitioning.patterns
        for piece in pattern.pieces
        if piece.kind == "time"
    }
    shown = {level for escape in escapes for level in _SHOWS.get(escape, "").split()}
    if escapes & set("Il") and "p" in escapes:
        shown.add("hour")
    if not shown:
        raise ValueError(
            "complete: partition_by has no time escape, so no partition is ever over; write one "
            "such as dt=%Y-%m-%d, or leave out complete"
        )
    finest = max(_LEVELS.index(level) for level in shown)
    missing = [level for level in _LEVELS[:finest] if level not in shown]
    if missing:
        raise ValueError(
            f"complete: the {_LEVELS[finest]}s of partition_by come again and again, because the "
            f"{' and '.join(missing)} is not in it, so none is ever over; write for example "
            "dt=%Y-%m-%d/hour=%H as [dt=%Y-%m-%d, hour=%H]"
        )
    return _LEVELS[finest]
