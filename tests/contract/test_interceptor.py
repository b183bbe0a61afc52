"""Clauses of Interceptor, over every type in the folder, built from the example of its options."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from rayflume.batch import EventBatch, Extent
from rayflume.cli._reference import sample_options
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, types_of
from rayflume.interfaces import Interceptor
from rayflume.metrics import Metrics

HOSTILE: list[bytes | None] = [
    b"plain",
    None,
    b"",
    b"\x00\x01",
    b"\xff\xfe\xfd",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    "é😀".encode(),
    b"x" * 100_000,
    b"a\nb\r\nc",
    b"[" * 5_000,
    b'"GET / HTTP/1.1" 200 7',
]


@pytest.fixture(params=types_of("interceptor"))
def interceptor(request: pytest.FixtureRequest) -> Interceptor:
    cls = lookup("interceptor", request.param)
    options = cls.model_validate(sample_options(cls))
    built: Interceptor = options.build(
        Context("agent", "web", ManualClock(), Metrics(), Path.cwd())
    )
    return built


def numbered() -> EventBatch:
    """Hostile bodies with their number as a header, in three streams with gaps between rows."""
    count = len(HOSTILE)
    extents = (Extent("a", 0, 50, 5), Extent("b", 7, 9, 0), Extent("c", 0, 90, count - 5))
    headers = [{"n": str(index)} for index in range(count)]
    return EventBatch.from_events(HOSTILE, headers, extents)


def test_i1_rows_keep_their_order_and_content(interceptor: Interceptor) -> None:
    got = interceptor.intercept(numbered())
    kept = [int(n) for n in got.header("n").to_pylist()]
    assert kept == sorted(set(kept))
    assert got.body.to_pylist() == [HOSTILE[index] for index in kept]


def test_i1_extents_still_cover_all_that_was_read(interceptor: Interceptor) -> None:
    given = numbered()
    got = interceptor.intercept(given)
    assert sum(extent.rows for extent in got.extents) == got.num_rows
    assert [(e.stream, e.start, e.end) for e in got.extents] == [
        (e.stream, e.start, e.end) for e in given.extents
    ]


def test_i2_never_raises_for_what_a_body_holds(interceptor: Interceptor) -> None:
    for body in HOSTILE:
        interceptor.intercept(EventBatch.from_events([body], (), (Extent("s", 0, 1, 1),)))
    only_nulls = EventBatch(pa.nulls(3, pa.binary()), {}, (Extent("s", 0, 3, 3),))
    interceptor.intercept(only_nulls)


def test_i2_an_empty_batch_and_a_sliced_one(interceptor: Interceptor) -> None:
    empty = EventBatch(pa.array([], pa.binary()), {}, (Extent("s", 0, 9, 0),))
    assert interceptor.intercept(empty).num_rows == 0
    sliced = numbered().slice(2, 6)
    whole = interceptor.intercept(numbered()).header("n").to_pylist()
    got = interceptor.intercept(sliced).header("n").to_pylist()
    assert got == [n for n in whole if 2 <= int(n) < 8]


def test_what_comes_out_can_be_encoded(interceptor: Interceptor) -> None:
    got = interceptor.intercept(numbered())
    again = EventBatch.decode(got.encode(), got.extents)
    assert again.body.equals(got.body)
    assert again.header_names() == got.header_names()
    for name in got.header_names():
        column = again.header(name)
        column.validate(full=True)
        assert column.equals(got.header(name))
