"""Plain lines of access logs: what is plain, and that reading them by machine code changes nothing
but the time it takes.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayflume.formats import combined_log
from rayflume.formats._log_lines import read_plain
from rayflume.formats._rows import Rows
from rayflume.formats.combined_log import COLUMNS, CombinedLogFormat

APACHE = Path(__file__).parents[4] / "shared" / "data" / "apache_access.log"
HOSTS = ("10.0.0.1", "::1", "host.example", "-", "é.example", "")
USERS = ("-", "joe", "joe smith", "[x]", "")
TIMES = (
    "17/May/2015:10:05:03 +0000", "29/Feb/2024:23:59:60 -0530", "29/Feb/1900:00:00:00 +0000",
    "31/Apr/2015:10:05:03 +0000", "01/Jan/0001:00:00:00 +0000", "01/Jan/0000:00:00:00 +0000",
    "31/Dec/9999:23:59:59 +1800", "17/may/2015:10:05:03 +0000", "17/May/2015:24:05:03 +0000",
    "17/May/2015:10:60:03 +0000", "17/May/2015:10:05:61 +0000", "1/May/2015:10:05:03 +0000",
    "00/May/2015:10:05:03 +0000", "17/May/2015 10:05:03 +0000", "17/May/2015:10:05:03 0000",
)  # fmt: skip
REQUESTS = (
    "GET / HTTP/1.1", "GET /x", "POST /a?b=c HTTP/2", "GET", "-", "", "GET / x HTTP/1.1", "GET  /",
    'GET /\\"q\\" HTTP/1.0', "get /é HTTP/1.1", "GET / http/1.1", "GET / HTTP/", "\\x16\\x03",
    "GET / HTTP/1.1 ", "M-SEARCH * HTTP/1.1", "GET /\t HTTP/1.1",
)  # fmt: skip
NUMBERS = ("200", "-", "20", "2000", "0", "007", "123456789012345678", "1234567890123456789", "x")
ENDS = (
    "", ' "-" "-"', ' "http://x/" "Mozilla/5.0 (X11)"', ' "" ""', ' "-" "cut', ' "-"', "\r", " ",
    ' "a\\"b" "c\\\\"', ' "-" "x" more', ' "-"  "x"', ' "é" "€"',
)  # fmt: skip


def as_body(lines: list[bytes]) -> pa.BinaryArray:
    return pa.array(lines, pa.binary())


def some_lines(draw: random.Random, count: int) -> list[bytes]:
    """Mostly plain, each part now and then another one, and now and then a byte changed."""
    lines = []
    for _ in range(count):
        host, user, time, request, status, size, end = (
            draw.choice(choices) if draw.random() < 0.12 else choices[0]
            for choices in (HOSTS, USERS, TIMES, REQUESTS, NUMBERS, NUMBERS, ENDS)
        )
        text = f'{host} - {user} [{time}] "{request}" {status} {size}{end}'.encode()
        if draw.random() < 0.1 and text:
            at = draw.randrange(len(text))
            text = (
                text[:at]
                + draw.choice([b"", b'"', b"\\", b" ", b"\xff", b"-", b"\n"])
                + text[at + 1 :]
            )
        lines.append(text)
    return lines


def check(body: pa.BinaryArray) -> float:
    """Both ways give the same rows and reasons. The share of plain lines."""
    fast, slow = CombinedLogFormat().decode(body, None), combined_log._odd(Rows(body), COLUMNS)
    assert fast.bad == slow.bad
    assert fast.table.schema == slow.table.schema
    for name in fast.table.schema.names:
        assert fast.table[name].equals(slow.table[name]), name
    rows = [None if d.rows is None else d.rows.to_pylist() for d in (fast, slow)]
    assert rows[0] == rows[1]
    return float(read_plain(body).rows.mean())


@pytest.mark.parametrize("seed", range(40))
def test_rows_and_reasons_are_those_of_the_regular_expression(seed: int) -> None:
    lines = some_lines(random.Random(seed), 400)
    assert 0.1 < check(as_body(lines).slice(seed % 3)) < 0.9


@pytest.mark.parametrize("time", TIMES)
def test_times_are_those_of_the_regular_expression(time: str) -> None:
    check(as_body([f'::1 - - [{time}] "GET / HTTP/1.1" 200 5'.encode()]))


def test_a_line_that_ends_anywhere() -> None:
    line = b'::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "x"'
    for end in range(len(line) + 1):
        check(as_body([line, line[:end]]))


def test_tombstones_and_nothing_at_all() -> None:
    line = b'::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5'
    check(pa.array([line, None, line], pa.binary()))
    check(pa.array([None], pa.binary()))
    assert CombinedLogFormat().decode(as_body([]), None).table.num_rows == 0


@pytest.mark.skipif(not APACHE.exists(), reason=f"there is no real log at {APACHE.name}")
def test_nearly_all_lines_of_a_real_log_are_plain() -> None:
    lines = APACHE.read_bytes().split(b"\n")[:-1]
    assert check(as_body(lines)) > 0.95
    assert np.all(read_plain(as_body(lines)).rows[:1])
