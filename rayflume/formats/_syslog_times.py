"""Times of RFC 3164, which have neither year nor zone: `Oct 11 22:14:15`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.formats._digits import chars_of, days_of, months, number
from rayflume.schema import TIMESTAMP
from rayflume.spans import Mask

_WIDTH = 15
_ANY = "Jan  1 00:00:00"


def yearless_times(
    text: pa.StringArray, zone: str, year: int | None, now_ms: int
) -> tuple[pa.TimestampArray, Mask]:
    """The times in UTC, null where `text` is, and where it is no time.

    Without a `year` it is the one that brings a time nearest to `now_ms`. An hour that a zone has
    twice counts as its first; one that it skips as the end of the gap.
    """
    missing = np.asarray(text.is_null())
    if missing.all():
        return pa.nulls(len(text), TIMESTAMP), np.zeros(len(text), dtype=np.bool_)
    chars = chars_of(pc.fill_null(text, _ANY), _WIDTH).copy()
    chars[chars[:, 4] == ord(" "), 4] = ord("0")
    month, day = months(chars[:, 0:3]), number(chars[:, 4:6])
    hour, minute, second = (number(chars[:, i : i + 2]) for i in (7, 10, 13))
    of_day = hour * 3600 + minute * 60 + second
    present = _year_of(now_ms)
    years = [present, present - 1, present + 1] if year is None else [year]
    best = np.zeros(len(chars), dtype=np.int64)
    bad = np.ones(len(chars), dtype=np.bool_)
    for one in years:
        days, wrong = days_of(np.full(len(chars), one), month, day)
        seconds = days * 86_400 + of_day
        now = now_ms // 1_000
        better = ~wrong & (bad | (np.abs(seconds - now) < np.abs(best - now)))
        best[better] = seconds[better]
        bad &= wrong
    bad |= (hour > 23) | (minute > 59) | (second > 60)
    bad &= ~missing
    naive = pa.array(np.where(bad, 0, best) * 1_000_000, mask=missing | bad).cast(
        pa.timestamp("us")
    )
    local = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="latest")
    return local.cast(TIMESTAMP), bad


def _year_of(now_ms: int) -> int:
    return int(np.datetime64(now_ms, "ms").astype("datetime64[Y]").astype(int)) + 1970
