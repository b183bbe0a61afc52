"""The sink `hdfs`: names, rolling, times, dead letters, and files built anew."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sinks_support import DELIVERY, HOUR, JOURNAL, T0, context, dead_rows, reader, rows
from test_sinks_path import HOSTILE

from rayflume.batch import EventBatch
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.errors import RayflumeError, StagingFailed, StorageUnavailable
from rayflume.interfaces import Manifest
from rayflume.metrics import Metrics
from rayflume.naming import delivery_of
from rayflume.sinks._sequence_file import vint
from rayflume.sinks._sink import LakeSink
from rayflume.sinks.hdfs import Hdfs
from rayflume.storage.memory import MemoryStorage, MemoryStore

NAME = f"FlumeData.{DELIVERY}"


class World:
    """A sink on a lake in memory, with a clock of its own."""

    def __init__(self, tmp_path: Path, **options: object) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock(T0)
        self.options = Hdfs.model_validate({"path": "memory://x/%Y-%m-%d/%H", **options})
        self.context = Context("clicks", "out", self.clock, Metrics(), tmp_path)
        self.sink = self.another()

    def another(self) -> LakeSink:
        sink = self.options.over(MemoryStorage(self.store, self.clock), self.context)
        sink.open()
        return sink

    def deliver(self, *batches: EventBatch) -> Manifest:
        manifest = self.stage(*batches)
        assert self.sink.publish(manifest) == []
        return manifest

    def stage(self, *batches: EventBatch) -> Manifest:
        writer, position = self.sink.begin(DELIVERY), 0
        for batch in batches:
            writer.write(batch, position)
            position += batch.num_rows
        return writer.stage()

    @property
    def files(self) -> dict[str, bytes]:
        """Of rows."""
        found = self.store.files.items()
        return {k: v for k, v in sorted(found) if not k.startswith("_rayflume/")}


def timed(bodies: Sequence[bytes | None], ms: int = T0, **headers: str) -> EventBatch:
    return rows(bodies, [{"timestamp": str(ms), **headers}] * len(bodies))


def test_events_lie_where_their_times_and_headers_say(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/%Y-%m-%d/%H/%{host}", file_prefix="ev-%{kind}")
    world.deliver(
        timed([b"a", b"b"], host="w1", kind="k"),
        timed([b"c"], T0 + HOUR, host="w1", kind="k"),
        timed([b"d"], host="w1", kind="k"),
    )
    assert world.files == {
        f"2025-11-22/14/w1/ev-k.{DELIVERY}-0": b"a\nb\nd\n",
        f"2025-11-22/15/w1/ev-k.{DELIVERY}-1": b"c\n",
    }
    assert all(delivery_of(path) == DELIVERY for path in world.files)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "FlumeData.{}-0"),
        ({"file_prefix": "x", "file_suffix": ".log"}, "x.{}-0.log"),
        ({"file_prefix": "a/b"}, "a/b.{}-0"),
        ({"file_prefix": ""}, "{}-0"),
        ({"file_prefix": "%{gone}"}, "{}-0"),
        ({"file_type": "CompressedStream", "codec": "gzip"}, "FlumeData.{}-0.gz"),
        ({"file_type": "CompressedStream", "codec": "bzip2"}, "FlumeData.{}-0.bz2"),
        ({"file_type": "CompressedStream", "codec": "zstd"}, "FlumeData.{}-0.zst"),
        (
            {"file_type": "CompressedStream", "codec": "gzip", "file_suffix": ""},
            "FlumeData.{}-0.gz",
        ),
        ({"file_type": "CompressedStream", "codec": "gzip", "file_suffix": "z"}, "FlumeData.{}-0z"),
        ({"file_type": "sequencefile"}, "FlumeData.{}-0"),
        ({"file_type": "SequenceFile", "codec": "snappy"}, "FlumeData.{}-0.snappy"),
        ({"file_type": "parquet"}, "FlumeData.{}-0.parquet"),
    ],
)
def test_names(tmp_path: Path, options: dict[str, object], name: str) -> None:
    world = World(tmp_path, path="memory://x/in", **options)
    world.deliver(rows([b"a"]))
    assert list(world.files) == [name.format(DELIVERY)]


@pytest.mark.parametrize(
    ("roll", "sizes"),
    [
        ({"bytes": 0}, [10]),
        ({"bytes": 0, "rows": 4}, [4, 4, 2]),
        ({"bytes": 30}, [3, 3, 3, 1]),
        ({"bytes": 31}, [4, 4, 2]),
        ({"bytes": 1}, [1] * 10),
        ({"bytes": 31, "rows": 3}, [3, 3, 3, 1]),
    ],
)
def test_files_end_by_bytes_of_bodies_and_by_rows(
    tmp_path: Path, roll: dict[str, int], sizes: list[int]
) -> None:
    world = World(tmp_path, roll=roll)
    bodies = [f"{n:010}".encode() for n in range(10)]
    manifest = world.deliver(timed(bodies[:7]), timed(bodies[7:]))
    assert [file.rows for file in manifest.files] == sizes
    assert b"".join(world.files.values()).split() == bodies
    # Disjoint, so that each can be built anew.
    assert [file.ranges for file in manifest.files] == [
        ((sum(sizes[:n]), sum(sizes[: n + 1])),) for n in range(len(sizes))
    ]


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, (1 << 30, 0, 300_000, 0)),
        (
            {"roll": {"age": "30s", "idle": "5s", "bytes": 7, "rows": 3}},
            (7_000, 3_000, 30_000, 5_000),
        ),
        # As Flume's defaults have it: a record of a delivery has no million files.
        ({"roll": {"age": "30s", "bytes": 1024, "rows": 10}}, (1_024_000, 10_000, 30_000, 0)),
        # Nothing would show full files: then the first of them ends the delivery,
        ({"roll": {"age": 0, "bytes": "1MiB", "rows": 9}}, (1 << 20, 9, 0, 0)),
        ({"roll": {"age": 0, "bytes": 0}}, (1 << 30, 0, 0, 0)),
        # unless that would make small files.
        ({"roll": {"age": 0}, "file_prefix": "%{host}"}, (1 << 30, 0, 0, 0)),
    ],
)
def test_k4_when_a_delivery_ends(
    tmp_path: Path, options: dict[str, object], limits: tuple[int, ...]
) -> None:
    found = World(tmp_path, **options).sink.limits()
    assert (found.bytes, found.rows, found.age_ms, found.idle_ms) == limits


# -- times -----------------------------------------------------------------------------------------


def test_events_without_a_time_go_to_the_dead_letters_with_the_reason(tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "lake/%Y"), "file_prefix": "x"}
    sink = Hdfs.model_validate(options).build(context(tmp_path))
    sink.open()
    writer = sink.begin(DELIVERY)
    times = [{"timestamp": text} for text in ("1763820000000", "soon", "", "99999999999999999")]
    writer.write(rows([b"a", b"b", b"c", b"d", b"e"], [*times, {}]), 0)
    manifest = writer.stage()
    assert (manifest.written, manifest.dead) == (1, 4)
    assert sink.publish(manifest) == []
    assert [(row["body"], row["reason"]) for row in dead_rows(tmp_path)] == [
        (body, "event time 'timestamp' is no time in epoch milliseconds or out of range")
        for body in (b"b", b"c", b"d")
    ] + [(b"e", "no event time 'timestamp'")]


def test_a_path_without_time_escapes_needs_no_time(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/100%%/%{host}")
    assert world.deliver(rows([b"a", b"b"], [{"timestamp": "?"}, {}])).written == 2


def test_local_time_is_that_at_which_an_event_is_written(tmp_path: Path) -> None:
    world = World(tmp_path, use_local_time_stamp=True, file_prefix="%M")
    writer = world.sink.begin(DELIVERY)
    for position, body in enumerate([b"a", b"b", b"c"]):
        world.clock.advance(40_000)
        writer.write(timed([body], 0), position)
    assert world.sink.publish(writer.stage()) == []
    assert world.files == {
        f"2025-11-22/14/00.{DELIVERY}-0": b"a\n",
        f"2025-11-22/14/01.{DELIVERY}-1": b"b\n",
        f"2025-11-22/14/02.{DELIVERY}-2": b"c\n",
    }


@given(
    steps=st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 7)), min_size=1, max_size=12),
    pieces=st.integers(1, 4),
)
def test_k2_what_the_clock_divided_is_built_anew_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], pieces: int
) -> None:
    world = World(tmp_path_factory.getbasetemp(), use_local_time_stamp=True, file_prefix="%M-%{k}")
    writer, batches, position = world.sink.begin(DELIVERY), [], 0
    for wait, count in steps:
        world.clock.advance(wait)
        bodies = [f"row {n}".encode() for n in range(position, position + count)]
        batches.append(rows(bodies, [{"k": str(n % 2)} for n in range(count)]))
        writer.write(batches[-1], position)
        position += count
    manifest = writer.stage()
    kept = {up[0]: up[1] for up in world.store.uploads.values()}
    for file in manifest.files:
        world.store.lose(file.handle)
    world.clock.advance(HOUR)
    later = world.another()
    lost = later.publish(manifest)
    again = later.rebuild(manifest, lost, reader(batches, pieces))
    assert later.publish(again) == []
    assert world.store.files == kept


def test_k2_another_host_builds_the_file_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def host(name: str) -> None:
        monkeypatch.setattr("rayflume.sinks._events.host_values", lambda: {"[localhost]": name})

    host("alpha")
    world = World(tmp_path, path="memory://x/%[localhost]/%{k}")
    batch = rows([b"a", b"b"], [{"k": "1"}, {"k": "2"}])
    manifest = world.stage(batch)
    for file in manifest.files:
        world.store.lose(file.handle)
    host("beta")
    later = world.another()
    again = later.rebuild(manifest, later.publish(manifest), reader([batch]))
    assert later.publish(again) == []
    assert [path.split(".")[0] for path in world.files] == [
        "alpha/1/FlumeData",
        "alpha/2/FlumeData",
    ]


def test_k2_files_that_differ_in_their_schema_alone(tmp_path: Path) -> None:
    schemas = [f'{{"type": "fixed", "name": "n{n}", "size": {n}}}' for n in (1, 2)]
    headers = [{"flume.avro.schema.literal": schemas[n % 2]} for n in range(6)]
    batch = rows([b"a", b"bb", b"c", b"dd", b"e", b"ff"], headers)
    world = World(tmp_path, path="memory://x/in", serializer="avro", file_suffix=".avro")
    manifest = world.stage(batch)
    kept = {up[0]: up[1] for up in world.store.uploads.values()}
    for file in manifest.files:
        world.store.lose(file.handle)
    later = world.another()
    again = later.rebuild(manifest, later.publish(manifest), reader([batch], 3))
    assert later.publish(again) == []
    assert world.files == kept
    assert sorted(kept) == [f"{NAME}-0.avro", f"{NAME}-1.avro"]
    found = [list(fastavro.reader(io.BytesIO(kept[path]))) for path in sorted(kept)]
    assert found == [[b"a", b"c", b"e"], [b"bb", b"dd", b"ff"]]


# -- bytes -----------------------------------------------------------------------------------------

UNPACK: dict[str, Any] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "bzip2": bz2.decompress,
    "zstd": lambda data: pa.CompressedInputStream(pa.BufferReader(data), "zstd").read(),
}


def hadoop_blocks(codec: str) -> Any:
    def unpack(data: bytes) -> bytes:
        out = b""
        while data:
            raw, packed = (int.from_bytes(data[n : n + 4], "big") for n in (0, 4))
            out += pa.Codec(codec).decompress(data[8 : 8 + packed], raw, asbytes=True)
            data = data[8 + packed :]
        return out

    return unpack


@pytest.mark.parametrize("codec", ["gzip", "deflate", "bzip2", "zstd", "snappy", "lz4"])
def test_compressed_streams(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflume.sinks._event_file.FLUSH_BYTES", 50_000)
    blocks = {"snappy": hadoop_blocks("snappy"), "lz4": hadoop_blocks("lz4_raw")}
    world = World(tmp_path, file_type="CompressedStream", codec=codec, serializer="text")
    bodies = [f"{n} {'x' * (n % 300)}".encode() for n in range(3_000)]
    world.deliver(*(timed(bodies[n : n + 100]) for n in range(0, 3_000, 100)))
    [data] = world.files.values()
    assert {**UNPACK, **blocks}[codec](data) == b"".join(body + b"\n" for body in bodies)


@pytest.mark.parametrize(
    ("number", "data"),
    [(0, "00"), (127, "7f"), (128, "8f80"), (255, "8fff"), (256, "8e0100"), (65536, "8d010000")],
)
def test_hadoops_vints(number: int, data: str) -> None:
    assert vint(number) == bytes.fromhex(data)


def test_a_sequence_file_byte_by_byte(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/in", file_type="SequenceFile")
    world.deliver(rows([b"ab", None], [{"timestamp": "5"}, {}]))
    [data] = world.files.values()
    head = b"SEQ\x06\x21org.apache.hadoop.io.LongWritable"
    head += b"\x22org.apache.hadoop.io.BytesWritable" + b"\0\0" + bytes(4)
    assert data.startswith(head)
    record = data[len(head) + 16 :]
    one = bytes.fromhex("0000000e 00000008 0000000000000005 00000002") + b"ab"
    two = bytes.fromhex("0000000c 00000008") + T0.to_bytes(8, "big") + bytes(4)
    assert record == one + two


def test_a_bad_time_is_no_key_of_a_sequence_file(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/in", file_type="SequenceFile")
    manifest = world.deliver(rows([b"a", b"b"], [{"timestamp": "x"}, {"timestamp": "7"}]))
    assert (manifest.written, manifest.dead) == (1, 1)


def test_parquet_beside_flumes_three(tmp_path: Path) -> None:
    form = {"type": "json", "schema": {"id": "int64"}}
    world = World(
        tmp_path, file_type="Parquet", format=form, codec="zstd",
        path="memory://x/%Y/%{id}", roll={"rows": 2},
    )  # fmt: skip
    manifest = world.deliver(timed([b'{"id": 1}', b'{"id": 1}', b'{"id": 1}', b'{"id": 2}']))
    assert manifest.written == 4
    found = {
        path: pq.read_table(pa.BufferReader(data)).to_pydict()["id"]
        for path, data in world.files.items()
    }
    assert found == {
        f"2025/1/FlumeData.{DELIVERY}-0.parquet": [1, 1],
        f"2025/1/FlumeData.{DELIVERY}-1.parquet": [1],
        f"2025/2/FlumeData.{DELIVERY}-2.parquet": [2],
    }


def test_headers_that_all_share_do_not_make_frames_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayflume.sinks._event_lake._FRAME_BYTES_MAX", 1_000)
    world = World(tmp_path, path="memory://x/in", serializer="header_and_text")
    batch = replace(rows([b"%d" % n for n in range(100)]), headers={"k": "v" * 50})
    manifest = world.deliver(batch)
    [data] = world.files.values()
    assert data == b"".join(b"{k=%s} %d\n" % (b"v" * 50, n) for n in range(100))
    assert manifest.files[0].ranges == ((0, 100),)


@pytest.mark.parametrize("path", ["lake/%{h}", "lake/%{h}/x%{h}", "lake/%Y/%{h}"])
def test_s8_hostile_headers_write_nothing_outside_the_base(tmp_path: Path, path: str) -> None:
    part = Hdfs(path=path, file_prefix="%{h}")
    sink = part.build(context(tmp_path))
    sink.open()
    writer = sink.begin(DELIVERY)
    for position, value in enumerate(HOSTILE):
        writer.write(timed([b"%d" % position], h=value), position)
    manifest = writer.stage()
    assert (manifest.written, sink.publish(manifest)) == (len(HOSTILE), [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["lake"]
    base = tmp_path / "lake"
    files = [p for p in base.rglob("*") if p.is_file() and "_rayflume" not in p.parts]
    found = sorted(int(line) for p in files for line in p.read_bytes().split())
    assert found == list(range(len(HOSTILE)))
    sink.close()


# -- many files, and a store that fails ------------------------------------------------------------


def test_files_that_are_open_are_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/%{k}", max_open_files=2)
    manifest = world.deliver(rows([b"x"] * 6, [{"k": k} for k in "abcabc"]))
    assert manifest.written == 6
    assert b"".join(world.files.values()) == b"x\n" * 6


def test_a_file_waits_in_memory_until_there_is_something_to_write(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/%{k}")
    writer = world.sink.begin(DELIVERY)
    writer.write(rows([b"x"], [{"k": "a"}]), 0)
    assert not world.store.uploads
    writer.write(rows([b"y" * (2 << 20)], [{"k": "a"}]), 1)
    assert len(world.store.uploads) == 1
    assert world.context.metrics.snapshot()["BufferedBytes"] == 0
    writer.abandon()
    assert not world.store.uploads


def test_stage_is_asked_again_after_a_retry(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/in", serializer="avro_event")
    writer = world.sink.begin(DELIVERY)
    writer.write(rows([b"x"]), 0)
    world.store.faults.fail("stage")
    with pytest.raises(StorageUnavailable):
        writer.stage()
    manifest = writer.stage()
    assert world.sink.publish(manifest) == []
    [data] = world.files.values()
    assert data.count(b"Obj\x01") == 1


def test_bytes_that_were_lost_on_the_way_break_the_delivery(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/in")
    writer = world.sink.begin(DELIVERY)
    world.store.faults.fail("write")
    with pytest.raises(RayflumeError):
        writer.write(rows([b"y" * (2 << 20)]), 0)
    with pytest.raises(StagingFailed):
        writer.stage()
    writer.abandon()
    assert not world.store.uploads


def test_k3_staged_files_of_the_journal_are_found(tmp_path: Path) -> None:
    world = World(tmp_path, path="memory://x/%{k}", file_suffix=".x-1")
    world.stage(rows([b"a"], [{"k": "0123456789abcdef-9-9-9"}]))
    assert [delivery for delivery, _ in world.sink.storage.staged(JOURNAL)] == [DELIVERY]
    world.sink.collect(JOURNAL, list)
    assert not world.store.uploads


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file_type": "CompressedStream"}, "needs a codec"),
        ({"codec": "gzip"}, "DataStream is not compressed"),
        ({"file_type": "Parquet", "codec": "bzip2"}, "codecs of Parquet"),
        ({"file_type": "Parquet", "file_suffix": ".x"}, r"\.parquet"),
        ({"file_type": "Text"}, "SequenceFile"),
        ({"file_suffix": "a/b"}, "without `/`"),
        ({"file_suffix": f".{DELIVERY}-1"}, "does not tell its delivery"),
        ({"file_suffix": "x" * 51}, "50 bytes"),
        ({"round": "90min"}, "1 to 60 minutes"),
        ({"path": "memory://x/%q"}, "no escape"),
        ({"path": "hdfs://nn/x/%c"}, "colons"),
        ({"file_prefix": "%[nobody]"}, "no escape"),
        ({"time_zone": "Nowhere/At_all"}, "unknown time zone"),
        ({"serializer": "nope"}, "unknown serializer"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Hdfs.model_validate({"path": "memory://x/in", **options})


def test_check_says_what_this_host_lacks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    part = Hdfs(path="file/%Y")
    assert "not a directory" in part.check(context(tmp_path))[0]
    part = Hdfs(path="s3://b/%Y", storage={"nope": 1})
    assert "no such option" in part.check(context(tmp_path))[0]
    avro = cast("Any", {"type": "avro", "schema_url": "gone.avsc"})
    assert "cannot be read" in Hdfs(path="x", serializer=avro).check(context(tmp_path))[0]
    assert Hdfs(path="x/%Y").check(context(tmp_path)) == []
