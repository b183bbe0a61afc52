"""Values with units, as they are written in a configuration: `8MiB`, `200ms`, `5min`."""

from __future__ import annotations

import os
import re
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

_BYTES = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_MILLIS = {
    "": 1, "ms": 1, "s": 1_000, "sec": 1_000, "m": 60_000, "min": 60_000,
    "h": 3_600_000, "d": 86_400_000,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def _parse(value: object, units: dict[str, int], what: str, example: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{value!r} is not {what}; write a number with one of {known}: {example}")
    number, unit = match[1], units[match[2].lower()]
    return int(number) * unit if number.isdigit() else round(float(number) * unit)


def parse_bytes(value: object) -> int:
    """`8MiB` -> 8388608; a bare number is bytes. Raises ValueError with the known units."""
    return _parse(value, _BYTES, "a size", "8MiB")


def parse_millis(value: object) -> int:
    """`5min` -> 300000; a bare number is milliseconds, as in Flume. Raises ValueError."""
    return _parse(value, _MILLIS, "a duration", "200ms")


def format_bytes(value: float) -> str:
    """`8388608` -> `8.0 MiB`: for people, never for parsing."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_millis(value: int) -> str:
    """`300000` -> `5min`: the largest unit that says it exactly, as in a configuration."""
    for unit in ("d", "h", "min", "s"):
        if value and value % _MILLIS[unit] == 0:
            return f"{value // _MILLIS[unit]}{unit}"
    return f"{value}ms"


ByteSize = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0)]
"""An option in bytes."""

Millis = Annotated[int, BeforeValidator(parse_millis), Field(ge=0)]
"""An option in milliseconds."""


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


ANY_CASE = BeforeValidator(_lowered)
"""An option that is one of a few words, which Flume takes in any case."""


def zone_of(name: str) -> tzinfo:
    """`UTC` or a name of the time zone database. Raises KeyError, ValueError or OSError."""
    return UTC if name.upper() == "UTC" else ZoneInfo(name)


def local_zone() -> str:
    """Name of this process's time zone: TZ, else what /etc/localtime links to, else UTC. Blocks."""
    given = os.environ.get("TZ", "").removeprefix(":")
    try:
        name = given or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2] or "UTC"
        zone_of(name)
    except (KeyError, ValueError, OSError):
        return "UTC"
    return name


def _known_zone(value: str) -> str:
    try:
        zone_of(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {value!r}; write UTC or Europe/Oslo") from None
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""The name of a time zone in a configuration, checked."""
