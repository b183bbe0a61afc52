"""Times without a year or a zone, as syslog messages of RFC 3164 have them.

Without a year it is the present one, but the one before for a time more than a month ahead and the
next one for a time more than eleven months back, as in Flume's syslogtcp.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from rayflume.clock import EPOCH
from rayflume.units import zone_of

Moments = npt.NDArray[np.int64]
"""One of each of many messages: milliseconds since 1970, in UTC or, where so named, local."""
_QUARTER_MS = 15 * 60 * 1000
"""No zone changes its offset within a quarter of an hour."""
_QUARTERS_MAX = 200_000
_MONTHS_AHEAD, _MONTHS_BACK = 1, 11


class LocalTimes:
    """The clock of a time zone. `zone`: its name, or "" for that of this process."""

    def __init__(self, zone: str) -> None:
        self._zone: tzinfo | None = zone_of(zone) if zone else None
        self._offsets: dict[int, int] = {}

    def limits(self, now_ms: int) -> Moments:
        """The present year, and the bounds of its times: latest and earliest, in milliseconds of
        the local clock since 1970.
        """
        here = (EPOCH + timedelta(milliseconds=now_ms)).astimezone(self._zone)
        now = here.replace(tzinfo=UTC)
        bounds = [_months_later(now, _MONTHS_AHEAD), _months_later(now, -_MONTHS_BACK)]
        return np.array([now.year, *map(_millis, bounds)], dtype=np.int64)

    def to_utc(self, local: Moments) -> Moments:
        """Milliseconds of the local clock to those since 1970 UTC.

        Of an hour that a clock shows twice the second is meant, and one that it skips is counted
        on from the hour before: so does Java's calendar.
        """
        if self._zone is UTC or not len(local):
            return local
        quarters = local // _QUARTER_MS
        first = int(quarters[0])
        if (quarters == first).all():
            return local - self._offset_ms(first)
        different, places = np.unique(quarters, return_inverse=True)
        offsets = [self._offset_ms(quarter) for quarter in different.tolist()]
        return local - np.array(offsets, dtype=np.int64)[places]

    def _offset_ms(self, quarter: int) -> int:
        known = self._offsets.get(quarter)
        if known is None:
            if len(self._offsets) >= _QUARTERS_MAX:
                self._offsets.clear()
            known = self._offsets[quarter] = self._find_offset(quarter * _QUARTER_MS)
        return known

    def _find_offset(self, local_ms: int) -> int:
        try:
            shown = (EPOCH + timedelta(milliseconds=local_ms)).replace(tzinfo=None)
            utc = [shown.replace(fold=fold, tzinfo=self._zone).astimezone(UTC) for fold in (0, 1)]
        except OverflowError:  # the first or the last hours of what a datetime can be
            return 0
        return min(local_ms - _millis(at) for at in utc)


def _millis(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def _months_later(at: datetime, months: int) -> datetime:
    """The same day of another month, or that month's last."""
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return at.replace(year=year, month=month + 1, day=min(at.day, last))
