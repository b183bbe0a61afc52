"""What a syslog message is, row by row with regular expressions: slow, simple, for comparison."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_DATED = re.compile(
    rb"(?s)<(\d{1,3})>(?:(\d?)\s?)"
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[+-]\d\d:\d\d|Z)?|-)\s"
    rb"([A-Za-z0-9_][A-Za-z0-9_.@-]*|-)\s(.*)"
)
_YEARLESS_TIME = rb"[A-Z]%s{2}\s{1,2}\d{1,2}\s\d\d:\d\d:\d\d"
_YEARLESS = re.compile(
    rb"(?s)<(\d{1,3})>(?:(\d)?\s?)("
    + _YEARLESS_TIME % b"[a-z]"
    + rb")\s([A-Za-z0-9_][A-Za-z0-9_.@-]*)\s(.*)"
)
_BY_HAND = re.compile(
    rb"(?s)<(\d{1,5})>(?:(1) )?(-|"
    + _YEARLESS_TIME % b"[A-Za-z]"
    + rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d++|(?!\.))"
    rb"(?:[+-]\d\d:\d\d[^ ]*|[^ +-][^ ]*)) ([^ ]*) (.*)"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Read = tuple[bytes, dict[str, str]]


def read(line: bytes, *, by_hand: bool, keep: str, zone: str, now_ms: int) -> Read:
    """Body and headers of one message."""
    return (_read_by_hand if by_hand else _read_by_patterns)(line, keep, ZoneInfo(zone), now_ms)


def _read_by_patterns(line: bytes, keep: str, zone: ZoneInfo, now_ms: int) -> Read:
    ranked = re.match(rb"<(\d{1,3})>", line)
    if ranked is None:
        return line, {"Facility": "0", "Severity": "0", "flume.syslog.status": "Invalid"}
    headers = _rank(ranked[1])
    match = _DATED.fullmatch(line) or _YEARLESS.fullmatch(line)
    if match is None:
        return line, headers
    priority, version, time, host, message = match.groups()
    headers["priority"] = priority.decode()
    if version:
        headers["version"] = version.decode()
    millis = None if time == b"-" else _millis(time.decode(), zone, now_ms)
    if millis is not None:
        headers["timestamp"] = str(millis)
    if host != b"-":
        headers["host"] = host.decode()
    return _body(line, keep, (priority, version, time, host), message), headers


def _read_by_hand(line: bytes, keep: str, zone: ZoneInfo, now_ms: int) -> Read:
    invalid = line, {"flume.syslog.status": "Invalid"}
    match = _BY_HAND.fullmatch(line)
    try:
        line.decode()
    except UnicodeDecodeError:
        return invalid
    if match is None:
        return invalid
    priority, version, time, host, message = match.groups()
    headers = _rank(priority) | {"Priority": priority.decode(), "host": host.decode()}
    millis = now_ms if time == b"-" else _millis(time.decode(), zone, now_ms, utc=True)
    if millis is not None:
        headers["timestamp"] = str(millis)
    elif time[:1].isdigit():
        return invalid
    if version:
        headers["Version"] = version.decode()
    return _body(line, keep, (priority, version, time, host), message), headers


def _rank(priority: bytes) -> dict[str, str]:
    return {"Facility": str(int(priority) // 8), "Severity": str(int(priority) % 8)}


def _body(
    line: bytes, keep: str, parts: tuple[bytes, bytes | None, bytes, bytes], message: bytes
) -> bytes:
    if keep in ("all", "true"):
        return line
    priority, version, time, host = parts
    body = b"<%s>" % priority if "priority" in keep else b""
    if "version" in keep and version:
        body += version + b" "
    body += time + b" " if "timestamp" in keep else b""
    body += host + b" " if "hostname" in keep else b""
    return body + message or line


def _millis(text: str, zone: ZoneInfo, now_ms: int, utc: bool = False) -> int | None:
    if not text[0].isdigit():
        return _yearless_millis(text, zone, now_ms)
    match = re.match(r"(.{19})(?:\.(\d+))?(?:([+-])(\d\d):(\d\d))?(.*)", text, re.DOTALL)
    assert match is not None
    local = _date(*(int(part) for part in re.split("[-T:]", match[1])))
    if local is None:
        return None
    millis = local + int((match[2] or "0").ljust(3, "0")[:3])
    if match[3]:
        if int(match[4]) > 23 or int(match[5]) > 59:
            return None
        offset = (int(match[4]) * 60 + int(match[5])) * 60_000
        return millis + offset if match[3] == "-" else millis - offset
    return millis if match[6] or utc else _to_utc(millis, zone)


def _yearless_millis(text: str, zone: ZoneInfo, now_ms: int) -> int | None:
    name, day, clock = text.split()
    if name.lower() not in _MONTHS:
        return None
    fields = (_MONTHS.index(name.lower()) + 1, int(day), *map(int, clock.split(":")))
    now = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).replace(tzinfo=UTC)
    if fields[2] > 23 or fields[3] > 59 or fields[4] > 60:
        return None
    # Days beyond the month's end count on, for it is only asked how far away it is.
    first = datetime(now.year, fields[0], 1, tzinfo=UTC)
    about = first + timedelta(
        days=fields[1] - 1, hours=fields[2], minutes=fields[3], seconds=fields[4]
    )
    year = now.year - (about > _later(now, 1)) + (about < _later(now, -11))
    local = _date(year, *fields)
    return None if local is None else _to_utc(local, zone)


def _later(at: datetime, months: int) -> datetime:
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = min(at.day, monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)


def _date(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    if second > 60:
        return None
    try:
        at = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return (at - _EPOCH) // timedelta(milliseconds=1) + (1000 if second == 60 else 0)


def _to_utc(local_ms: int, zone: ZoneInfo) -> int:
    shown = (_EPOCH + timedelta(milliseconds=local_ms)).replace(tzinfo=None)
    both = [shown.replace(fold=fold, tzinfo=zone).astimezone(UTC) for fold in (0, 1)]
    return max((at - _EPOCH) // timedelta(milliseconds=1) for at in both)
