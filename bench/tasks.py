"""The tasks of the bench: which input becomes which Parquet. Only the standard library: workers in
other environments read it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.settings import SCHEMA, WIDE_SCHEMA


@dataclass(frozen=True)
class Task:
    """One way from input files to Parquet.

    `decode`: `text` is one string column, `access` the columns of a combined access log, `json`
    those of `schema`. `hourly`: into `dt=.../hour=...` by the column `ts`. `share`: how much of
    the bench's input size it gets. `check`: the column whose sum shows that values arrived
    (`text`: the bytes of all lines).
    """

    name: str
    title: str
    kind: str
    decode: Literal["json", "text", "access"]
    schema: Mapping[str, str]
    hourly: bool = False
    share: float = 1.0
    check: str = ""


TASKS = {
    task.name: task
    for task in (
        Task(
            "json",
            "clickstream JSON lines to typed Parquet, partitioned by day and hour",
            "clicks",
            "json",
            SCHEMA,
            hourly=True,
            check="dwell_ms",
        ),
        Task("lines", "the same lines to one string column", "clicks", "text", {}),
        Task(
            "access",
            "access log to typed Parquet",
            "access",
            "access",
            {},
            share=0.3,
            check="bytes",
        ),
        Task(
            "wide",
            "JSON of 100 fields to typed Parquet",
            "wide",
            "json",
            WIDE_SCHEMA,
            share=0.3,
            check="i00",
        ),
        Task("tiny", "lines of 20 bytes to one string column", "tiny", "text", {}, share=0.2),
        Task("large", "lines of 100 KB to one string column", "large", "text", {}, share=0.5),
    )
}
