"""Small lakes made by the Parquet sink alone, and one with every type, for the tests of readers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fakes import context

from rayflume.batch import EventBatch, Extent
from rayflume.component import lookup
from rayflume.interfaces import Manifest
from rayflume.sinks.parquet import ParquetSink

JOURNAL = "00112233445566ff"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, Any]
_deliveries = itertools.count()


def write_lake(
    lake: Path,
    options: Mapping[str, object],
    bodies: Sequence[bytes],
    headers: Sequence[Mapping[str, str]] = (),
    *,
    publish: bool = True,
) -> Manifest:
    """One delivery of these rows, by a sink with these options; `publish` false: only staged."""
    settings = {"path": str(lake), **options}
    around = context(lake.parent, "lake")
    sink: ParquetSink = lookup("sink", "parquet").model_validate(settings).build(around)
    try:
        sink.open()
        writer = sink.begin(f"{JOURNAL}-1-{next(_deliveries)}")
        extent = Extent("s", 0, len(bodies), len(bodies))
        writer.write(EventBatch.from_events(bodies, headers, (extent,)), 0)
        manifest = writer.stage()
        if publish:
            assert sink.publish(manifest) == []
        return manifest
    finally:
        sink.close()


# -- every type ------------------------------------------------------------------------------------

SCHEMA: dict[str, object] = {
    "n": "int64",
    "small": "int32",
    "price": "float64",
    "ratio": "float32",
    "amount": "decimal(18,4)",
    "huge": "decimal(38,10)",
    "ok": "bool",
    "name": "string",
    "raw": "binary",
    "day": "date",
    "at": "timestamp",
    "ts": "timestamp_us",
    "tags": ["string"],
    "who": {"id": "int64", "home": {"city": "string", "zip": "string"}},
    "items": [{"sku": "string", "qty": "int64"}],
}
OPTIONS: dict[str, object] = {
    "format": {"type": "json", "schema": SCHEMA},
    "event_time": "ts",
    "partition_by": ["dt=%Y-%m-%d", "hour=%H", "country=%{country}"],
    "header_columns": ["host"],
}
COUNTRIES = ["no", "se", None, "a/b=c %41", "日本", "x:y*\\", "d\u00a0e"]
"""Values of the partition `country`: plain ones, null, and what must be escaped."""
ROWS = 420
HUGE = Decimal("9999999999999999999999999999.9999999999")
INSTANTS = [
    "0001-01-01T00:00:00Z", "1582-10-10T12:00:00.000001Z", "1883-11-18T17:00:00.5Z",
    "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "2024-03-31T01:30:00.123456Z",
    "2024-10-27T00:30:00.000001Z", "2024-10-27T01:30:00.000001Z", "2024-11-03T05:30:00.999999Z",
    "2024-11-03T06:30:00.999999+00:00", "2024-06-01T05:45:00.654321+05:45",
    "9999-12-31T23:59:59.999999Z",
]  # fmt: skip
"""ISO times that go wrong where somebody shifts by a zone, truncates or knows two calendars."""


def micros(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - EPOCH) // timedelta(microseconds=1)


def country_of(n: int) -> str | None:
    return COUNTRIES[n % len(COUNTRIES)]


def row(n: int) -> Row:
    """Row `n` as a reader must see it; times as microseconds, without partitions."""
    ts = micros(datetime(2026, 11, 21, tzinfo=UTC)) + (n % 12) * 5 * 3_600_000_000 + n
    if n % 7 == 6:
        return {**dict.fromkeys(SCHEMA), "n": n, "ts": ts, "host": None}
    home = None if n % 5 == 4 else {"city": "" if n % 3 else f"city {n}", "zip": None}
    return {
        "n": n,
        "small": (-(2**31), 2**31 - 1, n)[n % 3],
        "price": n / 3,
        "ratio": n / 4,
        "amount": Decimal(n * 7919 - 1_000_000).scaleb(-4),
        "huge": HUGE if n % 2 else -HUGE + n,
        "ok": n % 2 == 0,
        "name": ("", f"né {n}", " \t", "日本\n😀")[n % 4],
        "raw": (b"", b"abc \x01")[n % 2],
        "day": (date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31))[n % 3],
        "at": micros(datetime.fromisoformat(INSTANTS[n % len(INSTANTS)])),
        "ts": ts,
        "tags": [[], ["a"], ["", None, "b"]][n % 3],
        "who": {"id": 2**53 + n, "home": home},
        "items": None if n % 4 == 3 else [{"sku": "", "qty": n}, {"sku": None, "qty": None}],
        "host": "" if n % 2 else f"host{n % 3}",
    }


def body(n: int) -> bytes:
    """Row `n` as JSON, as a sender writes it; absent and null both mean null."""
    fields = {name: value for name, value in row(n).items() if value is not None and name != "host"}
    if "day" in fields:
        fields["day"] = fields["day"].isoformat()
        fields["raw"] = fields["raw"].decode()
        fields["at"] = INSTANTS[n % len(INSTANTS)]
        fields["amount"] = float(fields["amount"])  # a number in JSON, and text in the next line
        fields["huge"] = str(fields["huge"])
    return json.dumps(fields, ensure_ascii=bool(n % 2)).encode()


def headers(n: int) -> dict[str, str]:
    found = {"country": country_of(n), "host": row(n)["host"]}
    return {name: value for name, value in found.items() if value is not None}


def write_samples(lake: Path) -> None:
    """The rows `[0, ROWS)` in three deliveries, a dead letter in each, and one delivery only
    staged.
    """
    for first in range(3):
        rows = range(first, ROWS, 3)
        bodies = [*(body(n) for n in rows), b'{"n":"no number"}']
        manifest = write_lake(lake, OPTIONS, bodies, [*map(headers, rows), {}])
        assert (manifest.written, manifest.dead) == (len(rows), 1)
    rows = range(ROWS, ROWS + 50)
    write_lake(lake, OPTIONS, [*map(body, rows)], [*map(headers, rows)], publish=False)


WIDENED = {
    1: Decimal("1.25"),
    2: Decimal("-9999.99"),
    3: Decimal("1234567890123456789012.34"),
    4: None,
    5: Decimal("9.99"),
}


def write_widened(lake: Path) -> None:
    """The rows WIDENED, in three deliveries by sinks that declare more digits each time."""
    for digits, rows in ((6, (1, 2)), (24, (3, 4)), (24, (5,))):
        form = {"type": "json", "schema": {"n": "int64", "amount": f"decimal({digits},2)"}}
        bodies = [json.dumps({"n": n, "amount": text(WIDENED[n])}).encode() for n in rows]
        assert write_lake(lake, {"format": form}, bodies).dead == 0


def text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
