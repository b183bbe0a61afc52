"""Java's SimpleDateFormat, as far as people put it into a `${date:...}`.

In the time zone of the process, with English names of months and days.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def formatted(form: str, now_ms: int) -> str | None:
    """The local time in that format; None when it holds a letter that is not known."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone()
    unknown = False

    def one(found: re.Match[str]) -> str:
        nonlocal unknown
        if found[2] is None:
            return found[1].replace("''", "'") or "'"
        if found[2] not in _LETTERS:
            unknown = True
            return ""
        return _LETTERS[found[2]](now, len(found[0]))

    text = _TOKEN.sub(one, form)
    return None if unknown or not form else text


def _padded(number: Callable[[datetime], int]) -> Callable[[datetime, int], str]:
    return lambda now, width: str(number(now)).zfill(width)


def _month(now: datetime, width: int) -> str:
    name = _MONTHS[now.month - 1]
    return str(now.month).zfill(width) if width < 3 else name[:3] if width == 3 else name


def _year(now: datetime, width: int) -> str:
    return f"{now.year % 100:02}" if width == 2 else str(now.year).zfill(width)


def _weekday(now: datetime, width: int) -> str:
    name = _DAYS[now.weekday()]
    return name[:3] if width < 4 else name


_LETTERS: dict[str, Callable[[datetime, int], str]] = {
    "y": _year,
    "M": _month,
    "E": _weekday,
    "d": _padded(lambda now: now.day),
    "D": _padded(lambda now: now.timetuple().tm_yday),
    "H": _padded(lambda now: now.hour),
    "k": _padded(lambda now: now.hour or 24),
    "K": _padded(lambda now: now.hour % 12),
    "h": _padded(lambda now: now.hour % 12 or 12),
    "m": _padded(lambda now: now.minute),
    "s": _padded(lambda now: now.second),
    "S": _padded(lambda now: now.microsecond // 1000),
    "u": _padded(lambda now: now.isoweekday()),
    "a": lambda now, _: "AM" if now.hour < 12 else "PM",
    "z": lambda now, _: now.tzname() or "UTC",
    "Z": lambda now, _: now.strftime("%z"),
}
