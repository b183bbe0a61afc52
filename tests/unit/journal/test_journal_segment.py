from __future__ import annotations

import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.journal.segment import (
    ALIGN,
    HEAD,
    META_BYTES_MAX,
    Head,
    Kind,
    body_of,
    decode_head,
    encode,
    encoded_length,
    padded,
    peek,
)

METAS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=80), max_size=4)


def record(kind: Kind, body: bytes, meta: dict[str, object]) -> bytes:
    head = Head(kind, 7, 2**40, 2**39, 0, 0, zlib.crc32(body), meta)
    return b"".join(bytes(piece) for piece in encode(head, body))


@given(st.sampled_from(Kind), st.binary(max_size=300), METAS)
def test_what_is_encoded_is_decoded(kind: Kind, body: bytes, meta: dict[str, object]) -> None:
    data = record(kind, body, meta)
    head = decode_head(data)
    assert head is not None
    assert (head.kind, head.epoch, head.seq, head.synced) == (kind, 7, 2**40, 2**39)
    assert head.meta == meta
    assert len(data) == head.length == encoded_length(encode(head, body))
    assert head.length % ALIGN == head.body_offset % ALIGN == 0
    whole = body_of(head, pa.py_buffer(data))
    assert whole is not None and whole.to_pybytes() == body
    assert peek(data) == (HEAD.size + head.meta_length, head.length)


def test_a_changed_body_or_a_short_record_has_no_body() -> None:
    data = record(Kind.PUT, b"rows", {})
    head = decode_head(data)
    assert head is not None
    wrong = data[: head.body_offset] + b"rowz" + data[head.body_offset + 4 :]
    assert body_of(head, pa.py_buffer(wrong)) is None
    assert body_of(head, pa.py_buffer(data[: head.body_offset + 3])) is None


def test_other_bytes_are_no_head() -> None:
    data = record(Kind.PUT, b"", {"a": 1})
    assert decode_head(b"") is None
    assert decode_head(data[: HEAD.size + 3]) is None
    assert decode_head(b"RFJ2" + data[4:]) is None
    assert peek(bytes(HEAD.size)) is None
    huge = bytearray(data)
    huge[12:16] = (META_BYTES_MAX + 1).to_bytes(4, "little")
    assert peek(huge) is None


@pytest.mark.parametrize(("length", "wanted"), [(0, 0), (1, 64), (64, 64), (65, 128)])
def test_padding(length: int, wanted: int) -> None:
    assert padded(length) == wanted
