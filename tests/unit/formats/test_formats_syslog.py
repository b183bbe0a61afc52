from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.interfaces import Decoded
from rayflume.metrics import Metrics

NOW = int(datetime(2025, 1, 1, 12, tzinfo=UTC).timestamp() * 1000)


def decode(*rows: bytes, now_ms: int = NOW, **options: object) -> Decoded:
    context = Context("agent", "part", ManualClock(now_ms), Metrics())
    format_ = lookup("format", "syslog").model_validate(options).build(context)
    decoded: Decoded = format_.decode(pa.array(rows, pa.binary()), None)
    return decoded


def row(body: bytes, **options: Any) -> dict[str, Any]:
    """The one row, without what it lacks."""
    [found] = decode(body, **options).table.to_pylist()
    return {name: value for name, value in found.items() if value is not None}


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def test_rfc_5424_has_all_columns() -> None:
    body = (
        b'<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 ID47 '
        b'[ex@1 iut="3" e="a\\"]b"][x] \xef\xbb\xbfAn event\nof two lines'
    )  # fmt: skip
    assert row(body) == {
        "facility": 20,
        "severity": 5,
        "timestamp": at(2003, 8, 24, 12, 14, 15, 3),
        "host": "192.0.2.1",
        "app": "myproc",
        "procid": "8710",
        "msgid": "ID47",
        "structured_data": '[ex@1 iut="3" e="a\\"]b"][x]',
        "message": "An event\nof two lines",
    }
    assert row(b"<0>1 - - - - - -") == {"facility": 0, "severity": 0}


def test_rfc_3164_has_what_it_has() -> None:
    assert row(b"<34>Oct 11 22:14:15 mymachine su[9]: 'su root' failed\n") == {
        "facility": 4,
        "severity": 2,
        "timestamp": at(2024, 10, 11, 22, 14, 15),
        "host": "mymachine",
        "app": "su",
        "procid": "9",
        "message": "'su root' failed",
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # A file under /var/log: no priority. A newer daemon: the time of RFC 5424.
        (b"Jan  1 10:00:00 h sshd: x", {"host": "h", "app": "sshd", "message": "x"}),
        (
            b"2025-01-01T11:00:00.5+01:00 h a[1]: x",
            {"host": "h", "app": "a", "procid": "1", "message": "x"},
        ),
        # No host, no tag, nothing at all; an IPv6 address is a host.
        (b"<13>Jan  1 10:00:00 su: x", {"app": "su", "message": "x"}),
        (b"<13>Jan  1 10:00:00 h Use the BFG!", {"host": "h", "message": "Use the BFG!"}),
        (b"<13>hello world", {"message": "hello world"}),
        (b"<13>Jan  1 10:00:00 fe80::1 a: x", {"host": "fe80::1", "app": "a", "message": "x"}),
        (b"<13>", {}),
    ],
)
def test_rfc_3164_is_read_as_far_as_it_goes(body: bytes, expected: dict[str, str]) -> None:
    found = row(body)
    assert {
        n: found[n] for n in found if n not in ("facility", "severity", "timestamp")
    } == expected


@pytest.mark.parametrize(
    ("now", "text", "year"),
    [
        (at(2025, 1, 1, 12), b"Dec 31 23:00:00", 2024),
        (at(2024, 12, 31, 23), b"Jan  1 00:00:01", 2025),
        (at(2025, 3, 1), b"Feb 29 00:00:00", 2024),
        (at(2025, 6, 1), b"May 31 00:00:00", 2025),
    ],
)
def test_a_time_without_a_year_is_the_nearest(now: datetime, text: bytes, year: int) -> None:
    found = row(text + b" h a: x", now_ms=int(now.timestamp() * 1000))
    assert found["timestamp"].year == year


def test_year_and_zone_are_those_of_the_options() -> None:
    found = row(b"Jul  1 12:00:00 h a: x", year=2015, time_zone="Europe/Oslo")
    assert found["timestamp"] == at(2015, 7, 1, 10)
    # Clocks go forward at 2 and back at 3: the end of the gap, and the first of the two hours.
    gap = row(b"Mar 29 02:30:00 h a: x", year=2015, time_zone="Europe/Oslo")
    assert gap["timestamp"] == at(2015, 3, 29, 1)
    twice = row(b"Oct 25 02:30:00 h a: x", year=2015, time_zone="Europe/Oslo")
    assert twice["timestamp"] == at(2015, 10, 25, 0, 30)
    with pytest.raises(ValidationError, match="unknown time zone 'Mars'"):
        decode(b"", time_zone="Mars")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"hello world", "neither a <priority> nor a time"),
        (b"<192>1 - - - - - -", "above 191"),
        (b"<999>hello", "above 191"),
        (b"<13>1 - - - - - [open", "not a message of RFC 5424"),
        (b"<13>1 2025-13-01T00:00:00Z h a p m -", "the time is neither"),
        (b"<13>Feb 30 00:00:00 h a: x", "the time is neither"),
        (b"<13>Jan  1 24:00:00 h a: x", "the time is neither"),
        (b"Xyz  1 10:00:00 h a: x", "the time is neither"),
    ],
)
def test_bad_rows_say_why(body: bytes, reason: str) -> None:
    good = b"<13>Jan  1 10:00:00 h a: x"
    decoded = decode(good, body, b"<13>1 - h a - - - x")
    assert [place for place, _ in decoded.bad] == [1]
    assert reason in decoded.bad[0][1]
    assert decoded.table.num_rows == 2
    assert decode(body).bad[0][1] == decoded.bad[0][1]


def test_both_kinds_stay_in_order() -> None:
    rows = [b"<13>1 - h%d a - - - x" % n if n % 3 else b"<13>h%d" % n for n in range(100)]
    found = decode(*rows).table.to_pylist()
    assert [r["host"] or r["message"] for r in found] == [f"h{n}" for n in range(100)]
