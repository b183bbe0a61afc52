"""Rows of a type that nobody could read from a channel are refused before they are put."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rayflume.batch import EventBatch

BATCH = EventBatch.from_events([b"a", b"b"])


@pytest.mark.parametrize(
    "body",
    [
        pa.array(["a", "b"]),
        pa.array([b"a", b"b"], pa.large_binary()),
        pa.chunked_array([[b"a", b"b"]], pa.binary()),
    ],
    ids=["string", "large", "chunked"],
)
def test_bodies_of_another_type(body: pa.Array) -> None:
    with pytest.raises(
        TypeError, match=r"bodies are a pa\.Array of pa\.binary\(\), not a .*: cast"
    ):
        BATCH.with_body(body)


@pytest.mark.parametrize(
    "header",
    [pa.array([1, 2]), pa.array(["a", "b"], pa.large_string()), pa.chunked_array([["a", "b"]])],
    ids=["integers", "large", "chunked"],
)
def test_headers_of_another_type(header: pa.Array) -> None:
    with pytest.raises(TypeError, match=r"a header is a str or a pa\.Array of pa\.string\(\), not"):
        BATCH.with_header("n", header)


def test_bytes_of_bodies_are_those_of_the_rows_that_a_slice_has() -> None:
    batch = EventBatch.from_events([b"abc", None, b"", b"defg"])
    assert batch.nbytes == 7
    assert [batch.slice(start, 2).nbytes for start in range(3)] == [3, 0, 4]
    assert batch.slice(4, 0).nbytes == 0
    assert EventBatch.decode(batch.encode()).slice(3, 1).nbytes == 4
