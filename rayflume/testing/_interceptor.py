"""Clauses of Interceptor."""

from __future__ import annotations

import pyarrow as pa

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Interceptor
from rayflume.testing._expect import same, true
from rayflume.testing._trial import Trial

HOSTILE: list[bytes | None] = [
    b"plain", None, b"", b"\x00\x01", b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xc0\x80",
    "é😀".encode(), b"x" * 100_000, b"a\nb\r\nc", b"[" * 5_000, b'"GET / HTTP/1.1" 200 7',
]  # fmt: skip


def numbered() -> EventBatch:
    """Hostile bodies with their number as a header, in three streams with gaps between rows."""
    count = len(HOSTILE)
    extents = (Extent("a", 0, 50, 5), Extent("b", 7, 9, 0), Extent("c", 0, 90, count - 5))
    headers = [{"n": str(index)} for index in range(count)]
    return EventBatch.from_events(HOSTILE, headers, extents)


def _numbers(batch: EventBatch) -> list[int]:
    return [int(number) for number in batch.header("n").to_pylist()]


def i1_rows_keep_their_order(trial: Trial) -> None:
    """Which rows are left is the interceptor's business; they are not mixed up or doubled."""
    kept = _numbers(trial.build().intercept(numbered()))
    same(kept, sorted(set(kept)))


def i1_extents_still_cover_all_that_was_read(trial: Trial) -> None:
    given = numbered()
    got = trial.build().intercept(given)
    same(sum(extent.rows for extent in got.extents), got.num_rows)
    same(
        [(e.stream, e.start, e.end) for e in got.extents],
        [(e.stream, e.start, e.end) for e in given.extents],
    )


def i2_never_raises_for_what_a_body_holds(trial: Trial) -> None:
    interceptor: Interceptor = trial.build()
    for body in HOSTILE:
        interceptor.intercept(EventBatch.from_events([body], (), (Extent("s", 0, 1, 1),)))
    only_nulls = EventBatch(pa.nulls(3, pa.binary()), {}, (Extent("s", 0, 3, 3),))
    interceptor.intercept(only_nulls)


def i2_an_empty_batch_and_a_sliced_one(trial: Trial) -> None:
    interceptor: Interceptor = trial.build()
    empty = EventBatch(pa.array([], pa.binary()), {}, (Extent("s", 0, 9, 0),))
    same(interceptor.intercept(empty).num_rows, 0)
    whole = _numbers(interceptor.intercept(numbered()))
    got = _numbers(interceptor.intercept(numbered().slice(2, 6)))
    same(got, [number for number in whole if 2 <= number < 8])


def i2_what_comes_out_can_be_encoded(trial: Trial) -> None:
    got = trial.build().intercept(numbered())
    again = EventBatch.decode(got.encode(), got.extents)
    true(again.body.equals(got.body), "the bodies are the same after encoding and decoding")
    same(again.header_names(), got.header_names())
    for name in got.header_names():
        column = again.header(name)
        column.validate(full=True)
        true(column.equals(got.header(name)), f"the header {name!r} is the same after encoding")
