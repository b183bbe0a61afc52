"""AVRO of Flume's user guide, section Event Deserializers; the container as Avro specifies it."""

from __future__ import annotations

import io
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from rayflume.avro_files import NotAvro, decompressed, read_block, read_header
from rayflume.deserializer import Settings, Unreadable
from rayflume.deserializers.avro import Avro
from rayflume.lines import Outcome, Rows

ALL_TYPES: dict[str, Any] = {
    "type": "record",
    "name": "All",
    "namespace": "a.b",
    "fields": [
        {"name": "no", "type": "null"},
        {"name": "flag", "type": "boolean"},
        {"name": "small", "type": "int"},
        {"name": "large", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "half", "type": "float"},
        {"name": "whole", "type": "double"},
        {"name": "raw", "type": "bytes"},
        {"name": "text", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "kind_again", "type": "Kind"},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 3}},
        {"name": "maybe", "type": ["null", "string", "Hash"]},
        {"name": "many", "type": {"type": "array", "items": ["null", "long"]}},
        {"name": "by_name", "type": {"type": "map", "values": {"type": "array", "items": "int"}}},
        {"name": "next", "type": ["null", "All"]},
    ],
}


def a_record(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    return {
        "no": None,
        "flag": chance.random() < 0.5,
        "small": chance.randrange(-(2**31), 2**31),
        "large": chance.randrange(-(2**63), 2**63),
        "half": 1.5,
        "whole": chance.random(),
        "raw": chance.randbytes(chance.randrange(200)),
        "text": "é" * chance.randrange(100),
        "kind": chance.choice("AB"),
        "kind_again": chance.choice("AB"),
        "hash": chance.randbytes(3),
        "maybe": chance.choice([None, "x", b"abc"]),
        "many": [chance.choice([None, 7, -(2**40)]) for _ in range(chance.randrange(5))],
        "by_name": {str(i): [1] * i for i in range(chance.randrange(4))},
        "next": a_record(chance, depth - 1) if depth and chance.random() < 0.5 else None,
    }


def container(schema: Any, records: list[Any], codec: str = "null", sync: int = 500) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=sync)
    return out.getvalue()


def datums(schema: Any, records: list[Any]) -> list[bytes]:
    found = []
    for record in records:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
        found.append(out.getvalue())
    return found


def read(path: Path, schema_type: str = "hash", start: int = 0) -> Rows:
    deserializer = Avro.model_validate({"schema_type": schema_type}).open(Settings(2**30))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert deserializer.read(fd, start, path.stat().st_size, "") is Outcome.ROWS
        return deserializer.take(0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_bodies_are_the_binary_records_of_every_type(tmp_path: Path, codec: str) -> None:
    chance = random.Random(1)
    records = [a_record(chance) for _ in range(50)]
    (tmp_path / "f").write_bytes(container(ALL_TYPES, records, codec))
    rows = read(tmp_path / "f")
    rows.body.validate(full=True)
    assert rows.body.to_pylist() == datums(ALL_TYPES, records)
    assert len(set(rows.offsets.tolist())) > 3


@pytest.mark.parametrize(
    ("schema", "records"),
    [
        ("long", [0, -1, 2**63 - 1]),
        ("string", ["", "abc"]),
        (["null", "int"], [None, 5]),
        ({"type": "array", "items": "string"}, [[], ["a", "b"]]),
        ({"type": "record", "name": "Empty", "fields": []}, [{}, {}]),
        ({"type": "array", "items": "null"}, [[None] * 1000]),
    ],
)
def test_a_schema_need_not_be_a_record(tmp_path: Path, schema: Any, records: list[Any]) -> None:
    (tmp_path / "f").write_bytes(container(schema, records))
    assert read(tmp_path / "f").body.to_pylist() == datums(schema, records)


def test_blocks_of_arrays_with_their_size_in_bytes(tmp_path: Path) -> None:
    """Java writes them so; fastavro does not. Avro specification, section Arrays."""
    body = bytes([0x03, 0x04, 0x02, 0x04, 0x00])  # -2 items in 2 bytes: 1, 2; then none
    made = container({"type": "array", "items": "int"}, [[1]], sync=0)
    sync = made[-16:]
    head = made[: made.index(sync) + 16]
    (tmp_path / "f").write_bytes(head + bytes([2, 2 * len(body)]) + body + sync)
    assert read(tmp_path / "f").body.to_pylist() == [body]


@pytest.mark.parametrize(
    ("schema_type", "header", "value"),
    [
        # The fingerprint of "int" is 7275d51a3f395c8f; Flume writes its bytes low one first.
        ("HASH", "flume.avro.schema.hash", "8f5c393f1ad57572"),
        ("LITERAL", "flume.avro.schema.literal", '"int"'),
    ],
)
def test_header_of_the_schema(tmp_path: Path, schema_type: str, header: str, value: str) -> None:
    (tmp_path / "f").write_bytes(container("int", [1, 2]))
    assert read(tmp_path / "f", schema_type).headers == {header: [value]}


def test_a_file_without_records_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(container("int", []))
    rows = read(tmp_path / "f")
    assert rows.rows == [0]
    assert rows.pieces[0].end == (tmp_path / "f").stat().st_size


def test_flumes_offset_is_that_of_the_sync_mark(tmp_path: Path) -> None:
    data = container("string", ["x" * 30] * 20, sync=64)
    (tmp_path / "f").write_bytes(data)
    sync = data[-16:]
    marks = [i for i in range(len(data)) if data.startswith(sync, i)]
    with (tmp_path / "f").open("rb") as file:
        assert Avro().taken_over(file.fileno(), 0) == 0
        assert Avro().taken_over(file.fileno(), marks[2]) == marks[2] + 16
        with pytest.raises(Unreadable, match="not between two of its blocks"):
            Avro().taken_over(file.fileno(), marks[2] + 1)
    left = read(tmp_path / "f", start=marks[2] + 16).body.to_pylist()
    assert 0 < len(left) < 20


def cut_off(data: bytes) -> bytes:
    return data[:-20]


def other_sync(data: bytes) -> bytes:
    return data[:-16] + bytes(16)


def other_record(data: bytes) -> bytes:
    return data.replace(b"abc", b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "does not begin as an Avro file"),
        (lambda data: b"a line\n", "does not begin as an Avro file"),
        (cut_off, "in the middle of a block"),
        (other_sync, "sync mark"),
        (lambda data: data.replace(b'"bytes"', b'"bytez"'), "its schema is none"),
        (lambda data: data.replace(b"avro.schema", b"avro.shcema"), "it has no schema"),
        (lambda data: data.replace(b"\x08abcd", b"\x7fabcd"), "does not have the file's schema"),
    ],
)
def test_what_is_no_avro_file_is_said_so(
    tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / "f").write_bytes(spoil(container("bytes", [b"abcd"])))
    with pytest.raises(Unreadable, match=message):
        read(tmp_path / "f")


def test_s3_a_block_that_grows_without_bound(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(container("bytes", [bytes(80 * 2**20)], "deflate"))
    with pytest.raises(Unreadable, match="grows beyond"):
        read(tmp_path / "f")


def test_items_without_bytes_do_not_go_on_for_ever(tmp_path: Path) -> None:
    made = container({"type": "array", "items": "null"}, [[]], sync=0)
    sync = made[-16:]
    head = made[: made.index(sync) + 16]
    body = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x00"
    (tmp_path / "f").write_bytes(head + bytes([2, 2 * len(body)]) + body + sync)
    with pytest.raises(Unreadable, match="does not have the file's schema"):
        read(tmp_path / "f")


def test_s5_mutated_files_are_refused_or_read(tmp_path: Path) -> None:
    chance = random.Random(7)
    data = container(ALL_TYPES, [a_record(chance) for _ in range(20)], "deflate")
    for _ in range(300):
        spoilt = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        (tmp_path / "f").write_bytes(spoilt)
        with (tmp_path / "f").open("rb") as file:
            try:
                header = read_header(file.fileno(), len(spoilt))
                block = read_block(file.fileno(), header, header.end, len(spoilt))
                decompressed(header, block)
                read(tmp_path / "f")
            except (NotAvro, Unreadable):
                pass


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_codecs_that_fastavro_has_no_library_for(tmp_path: Path, codec: str) -> None:
    plain = container("bytes", [b"abc" * 100] * 5, "null", sync=10**6)
    sync = plain[-16:]
    at = plain.index(sync) + 16
    head = plain[:at].replace(b"\x08null", bytes([2 * len(codec)]) + codec.encode())
    records = b"".join(datums("bytes", [b"abc" * 100] * 5))
    packed = pa.compress(records, {"zstandard": "zstd"}.get(codec, codec), asbytes=True)
    if codec == "snappy":
        packed += zlib.crc32(records).to_bytes(4, "big")
    assert len(packed) < 2**13
    length = 2 * len(packed)
    numbers = (
        bytes([10, (length & 0x7F) | 0x80, length >> 7]) if length > 127 else bytes([10, length])
    )
    (tmp_path / "f").write_bytes(head + numbers + packed + sync)
    assert read(tmp_path / "f").body.to_pylist() == datums("bytes", [b"abc" * 100] * 5)
    if codec == "snappy":
        (tmp_path / "f").write_bytes(head + numbers + packed[:-1] + b"x" + sync)
        with pytest.raises(Unreadable, match="checksum"):
            read(tmp_path / "f")
