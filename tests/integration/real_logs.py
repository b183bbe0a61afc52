"""The real logs of `../shared/data`: how rayflume is told to read each, and an independent parse.

The parse uses only the standard library and none of rayflume, so both are right or differ.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

DATA = Path(__file__).parents[3] / "shared" / "data"
Row = Mapping[str, object]


@dataclass(frozen=True)
class Log:
    """One file. `sink`: the options that say what its rows are. `typed`: some columns it must have.

    `time`: the column by which the lake is partitioned, "" when another column does it.
    """

    file: str
    rows: int
    sink: Mapping[str, object]
    typed: Mapping[str, pa.DataType]
    parse: Callable[[bytes], dict[str, object]]
    time: str = ""

    def lines(self) -> list[bytes]:
        """All lines without their ends; the last one may have none."""
        text = (DATA / self.file).read_bytes().replace(b"\r\n", b"\n")
        return text.removesuffix(b"\n").split(b"\n")

    def expected(self) -> list[str]:
        """Every row as text that can be compared and sorted."""
        return sorted(canonical(self.parse(line)) for line in self.lines())


_ACCESS = re.compile(
    r'(\S+) (\S+) (.+?) \[([^]]+)\] "((?:[^"\\]|\\.)*)" (\d+|-) (\d+|-) '
    r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"?\s*'
)
_REQUEST = re.compile(r"([A-Za-z]+) (\S.*?)(?: ([A-Z]+/[\d.]+))?")
_SYSLOG = re.compile(r"(\w{3}) +(\d+) ([\d:]{8}) (\S+) ([^:\[]+)(?:\[(\d+)\])?: (.*)")


def parse_access(line: bytes) -> dict[str, object]:
    """A line of a combined log; `-` is null."""
    match = _ACCESS.fullmatch(line.decode())
    assert match, line
    host, ident, user, time, request, status, size, referrer, agent = (
        None if group == "-" else group for group in match.groups()
    )
    assert time is not None
    parts = _REQUEST.fullmatch(request or "")
    method, path, protocol = parts.groups() if parts else (None, None, None)
    return {
        "host": host,
        "ident": ident,
        "user": user,
        "time": dt.datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z").astimezone(dt.UTC),
        "method": method,
        "path": path,
        "protocol": protocol,
        "request": request,
        "status": status and int(status),
        "bytes": size and int(size),
        "referrer": referrer,
        "user_agent": agent,
    }


def parse_json(line: bytes) -> dict[str, object]:
    """A line of JSON."""
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def parse_syslog(line: bytes) -> dict[str, object]:
    """A line of BSD syslog."""
    match = _SYSLOG.fullmatch(line.decode())
    assert match, line
    month, day, time, host, program, pid, message = match.groups()
    return {
        "month": month,
        "day": int(day),
        "time": time,
        "host": host,
        "program": program,
        "pid": pid and int(pid),
        "message": message,
    }


_HOURS = ["dt=%Y-%m-%d", "hour=%H"]
LOGS = {
    "access": Log(
        "apache_access.log",
        10_000,
        {"format": {"type": "combined_log"}, "event_time": "time", "partition_by": _HOURS},
        {
            "time": pa.timestamp("us", "UTC"),
            "status": pa.int32(),
            "bytes": pa.int64(),
            "path": pa.string(),
        },
        parse_access,
        time="time",
    ),
    "nginx": Log(
        "nginx_status.jsonl",
        500,
        {"format": {"type": "json"}, "event_time": "timestamp", "partition_by": _HOURS},
        {"timestamp": pa.int64(), "nginx_version": pa.string(), "pid": pa.int64()},
        parse_json,
        time="timestamp",
    ),
    # A BSD syslog line has no year, so there is no event time: its own month and day make the
    # partitions, as columns.
    "syslog": Log(
        "linux_syslog.log",
        2_000,
        {
            "format": {
                "type": "regex",
                "regex": r"^(?P<month>[A-Z][a-z]{2}) +(?P<day>[0-9]{1,2}) (?P<time>[0-9:]{8}) "
                r"(?P<host>\S+) (?P<program>[^:\[]+)(?:\[(?P<pid>[0-9]+)\])?: (?P<message>.*)$",
                "schema": {"day": "int32", "pid": "int32"},
            },
            "partition_by": ["on_month=%{month}", "on_day=%{day}"],
        },
        {"day": pa.int32(), "pid": pa.int32(), "message": pa.string()},
        parse_syslog,
    ),
}


def configuration(log: Log, paths: list[str], lake: Path | str) -> dict[str, object]:
    """An agent that reads `paths` into `lake`; its state lies beside the configuration."""
    return {
        "agent": f"real-{Path(log.file).stem}",
        "guarantee": "exactly_once",
        "sources": {"logs": {"type": "taildir", "paths": paths, "channels": ["wal"]}},
        "channels": {"wal": {"type": "file", "directory": "state/wal"}},
        "sinks": {"lake": {"type": "parquet", "channel": "wal", "path": str(lake), **log.sink}},
    }


def canonical(row: Row) -> str:
    """A row as text, without what is null or empty: Parquet knows a missing field only as null."""
    return json.dumps(_present(row), sort_keys=True, default=str)


def _present(value: object) -> object:
    if isinstance(value, Mapping):
        inner = {name: _present(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [_present(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value


def assert_lake(lake: Path, log: Log) -> None:
    """The lake below a local folder has exactly the rows of the log, typed and well placed."""
    found = ds.dataset(lake, format="parquet")
    for name, kind in log.typed.items():
        assert found.schema.field(name).type == kind, found.schema
    table = found.to_table()
    assert table.num_rows == log.rows
    assert not list(lake.glob("_rayflume/dead_letters/*"))
    assert sorted(canonical(row) for row in table.to_pylist()) == log.expected()
    assert len(found.files) > 1
    for name in found.files:
        assert_placed(Path(name).relative_to(lake), pq.read_table(name), log)


def assert_placed(path: Path, table: pa.Table, log: Log) -> None:
    """Every row of a file belongs where the file is."""
    keys = dict(part.split("=", 1) for part in path.parts[:-1])
    if not log.time:
        for key, value in keys.items():
            column = table.column(key.removeprefix("on_"))
            assert {str(cell) for cell in column.unique().to_pylist()} == {value}
        return
    hour = dt.datetime.fromisoformat(f"{keys['dt']}T{keys['hour']}:00:00+00:00")
    times = pa.chunked_array(table.column(log.time)).cast(pa.int64())
    unit = 1_000_000 if pa.types.is_timestamp(table.schema.field(log.time).type) else 1_000
    start = int(hour.timestamp()) * unit
    values = times.to_numpy()
    assert start <= values.min() and values.max() < start + 3600 * unit, path
