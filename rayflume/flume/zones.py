"""Java's names of time zones as those of the time zone database."""

from __future__ import annotations

import os
import re
from pathlib import Path
from zoneinfo import available_timezones

LOCAL = "local time"
"""What Flume's guide calls the zone of the host."""

_SHORT = {
    "EST": "Etc/GMT+5", "MST": "Etc/GMT+7", "HST": "Etc/GMT+10", "ACT": "Australia/Darwin",
    "AET": "Australia/Sydney", "AGT": "America/Argentina/Buenos_Aires", "ART": "Africa/Cairo",
    "AST": "America/Anchorage", "BET": "America/Sao_Paulo", "BST": "Asia/Dhaka",
    "CAT": "Africa/Harare", "CNT": "America/St_Johns", "CST": "America/Chicago",
    "CTT": "Asia/Shanghai", "EAT": "Africa/Addis_Ababa", "ECT": "Europe/Paris",
    "IET": "America/Indiana/Indianapolis", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo",
    "MIT": "Pacific/Apia", "NET": "Asia/Yerevan", "NST": "Pacific/Auckland",
    "PLT": "Asia/Karachi", "PNT": "America/Phoenix", "PRT": "America/Puerto_Rico",
    "PST": "America/Los_Angeles", "SST": "Pacific/Guadalcanal", "VST": "Asia/Ho_Chi_Minh",
}  # fmt: skip
"""The short names of `java.time.ZoneId.SHORT_IDS`, which `java.util.TimeZone` takes, too."""
_OFFSET = re.compile(r"GMT([+-])([0-9]{1,2})(?::?([0-9]{2}))?")


def known(java: str) -> bool:
    """Whether Java knows a zone of this name, and the database has it."""
    return java == LOCAL or bool(_zone(java))


def zone(java: str) -> str:
    """The zone of a Java name; UTC for a name that is not known, as Java takes GMT then."""
    return local_zone() if java == LOCAL else _zone(java) or "UTC"


def _zone(java: str) -> str:
    if java in ("GMT", "UTC", "Z"):
        return "UTC"
    if java in _SHORT:
        return _SHORT[java]
    match = _OFFSET.fullmatch(java)
    if match is None:
        return java if java in available_timezones() else ""
    hours, minutes = int(match[2]), int(match[3] or 0)
    if minutes or hours > 12:
        return ""
    # The database's sign is the other way round: how far Greenwich is ahead.
    sign = "-" if match[1] == "+" else "+"
    return f"Etc/GMT{sign}{hours}" if hours else "UTC"


def local_zone() -> str:
    """The zone of this host: TZ, else what /etc/localtime links to, else UTC."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named in available_timezones():
        return named
    _, _, linked = str(Path("/etc/localtime").resolve()).rpartition("zoneinfo/")
    return linked if linked in available_timezones() else "UTC"
