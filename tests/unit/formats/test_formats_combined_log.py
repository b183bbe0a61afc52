"""Access logs: every field, odd requests, times and zones, and a real log."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pyarrow as pa
import pytest

from rayflume.formats.combined_log import BAD_TIME, NO_MATCH, CombinedLogFormat

APACHE = Path(__file__).parents[4] / "shared" / "data" / "apache_access.log"


def decode(*lines: str) -> tuple[list[dict[str, object]], dict[int, str]]:
    decoded = CombinedLogFormat().decode(pa.array([x.encode() for x in lines], pa.binary()), None)
    return decoded.table.to_pylist(), dict(decoded.bad)


def line(request: str = "GET / HTTP/1.1", time: str = "17/May/2015:10:05:03 +0000") -> str:
    return f'::1 - - [{time}] "{request}" 200 5 "-" "curl"'


def test_all_fields_are_typed() -> None:
    rows, bad = decode(
        '10.0.0.1 - joe smith [17/May/2015:10:05:03 +0530] "POST /a?b=\\"c d\\" HTTP/2.0" 201 - '
        '"http://x/" "Mozilla/5.0 \\"q\\""\r'
    )
    assert bad == {}
    assert rows == [
        {
            "host": "10.0.0.1", "ident": None, "user": "joe smith",
            "time": dt.datetime(2015, 5, 17, 4, 35, 3, tzinfo=dt.UTC),
            "method": "POST", "path": '/a?b=\\"c d\\"', "protocol": "HTTP/2.0",
            "request": 'POST /a?b=\\"c d\\" HTTP/2.0', "status": 201, "bytes": None,
            "referrer": "http://x/", "user_agent": 'Mozilla/5.0 \\"q\\"',
        }
    ]  # fmt: skip


def test_common_format_and_a_cut_last_field() -> None:
    rows, bad = decode(
        '::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 304 0',
        '::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" - 0 "-" "cut off',
    )
    assert bad == {}
    assert (rows[0]["status"], rows[0]["bytes"], rows[0]["user_agent"]) == (304, 0, None)
    assert (rows[1]["status"], rows[1]["referrer"], rows[1]["user_agent"]) == (
        None,
        None,
        "cut off",
    )


@pytest.mark.parametrize(
    ("request_", "parts"),
    [
        ("GET /x", ("GET", "/x", None)),
        ("GET /a b HTTP/1.0", ("GET", "/a b", "HTTP/1.0")),
        ("-", (None, None, None)),
        ("", (None, None, None)),
        ("\\x16\\x03\\x01", (None, None, None)),
        ("OPTIONS * HTTP/1.1", ("OPTIONS", "*", "HTTP/1.1")),
    ],
)
def test_odd_requests_are_kept_whole(request_: str, parts: tuple[str | None, ...]) -> None:
    rows, bad = decode(line(request_))
    assert bad == {}
    assert (rows[0]["method"], rows[0]["path"], rows[0]["protocol"]) == parts
    assert rows[0]["request"] == (None if request_ == "-" else request_)


def test_bad_times_and_other_lines_are_named() -> None:
    _, bad = decode(
        line(time="29/Feb/2016:23:59:59 -0800"),
        line(time="30/Feb/2016:00:00:00 +0000"),
        line(time="01/Foo/2016:00:00:00 +0000"),
        line(time="01/Jan/2016:24:00:00 +0000"),
        line(time="1/Jan/2016:00:00:00 +00000"),
        "GET / HTTP/1.1",
    )
    assert bad == {1: BAD_TIME, 2: BAD_TIME, 3: BAD_TIME, 4: BAD_TIME, 5: NO_MATCH}


@pytest.mark.parametrize("year", [1, 1900, 1969, 1970, 2000, 2024, 2100, 9999])
@pytest.mark.parametrize("zone", ["+0000", "-1100", "+1345"])
def test_times_agree_with_strptime(year: int, zone: str) -> None:
    texts = [f"{28 if m == 2 else 30:02}/{n}/{year:04}:13:14:15 {zone}" for m, n in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )]  # fmt: skip
    rows, bad = decode(*(line(time=text) for text in texts))
    assert bad == {}
    wanted = [dt.datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z") for text in texts]
    assert [row["time"] for row in rows] == wanted


def independent(text: str) -> dict[str, object]:
    """The same line by hand: cut at the marks, no expression over the whole."""
    head, _, rest = text.partition(" [")
    host, ident, user = head.split(" ", 2)
    stamp, _, rest = rest.partition('] "')
    end = re.search(r'(?<!\\)" (\d+|-) (\d+|-)', rest)
    assert end is not None
    request, tail = rest[: end.start()], rest[end.end() :]
    referrer, _, agent = tail.removeprefix(' "').partition('" "')
    words = request.split(" ")
    whole = len(words) >= 3 and words[-1].startswith("HTTP/")

    def known(value: str) -> str | None:
        return None if value == "-" else value

    return {
        "host": host, "ident": known(ident), "user": known(user),
        "time": dt.datetime.strptime(stamp, "%d/%b/%Y:%H:%M:%S %z"),
        "method": words[0] if whole else None, "path": " ".join(words[1:-1]) if whole else None,
        "protocol": words[-1] if whole else None, "request": request,
        "status": int(end[1]), "bytes": None if end[2] == "-" else int(end[2]),
        "referrer": known(referrer), "user_agent": known(agent.removesuffix('"')),
    }  # fmt: skip


@pytest.mark.skipif(not APACHE.exists(), reason="../shared/data/apache_access.log is not there")
def test_every_line_of_a_real_log_decodes_as_an_independent_parse_says() -> None:
    lines = APACHE.read_text().splitlines()
    rows, bad = decode(*lines)
    assert bad == {}
    assert len(rows) == 10_000
    for text, row in zip(lines, rows, strict=True):
        assert row == independent(text)
