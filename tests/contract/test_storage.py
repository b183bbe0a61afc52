"""Clauses T1 to T8 of Storage, over every storage type; S3 on moto's server and on a real one, HDFS
on a real name node and data node.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hdfs_servers import Hdfs
from servers import S3Server

from rayflume.component import Context, types_of
from rayflume.errors import TargetTaken
from rayflume.interfaces import Json, Published, Storage
from rayflume.lake import storage_for
from rayflume.naming import data_name, dead_name
from rayflume.storage import memory

JOURNAL = "00000000000000aa"
DELIVERY = f"{JOURNAL}-1-7"
OTHER = f"{JOURNAL}-1-8"
FOREIGN = "00000000000000bb-1-7"
LANDED, LOST = Published.LANDED, Published.LOST


@dataclass
class Lab:
    """One lake and the means to look at it and to hurt it from outside."""

    path: str
    context: Context
    options: Mapping[str, object] = field(default_factory=dict)
    opened: list[Storage] = field(default_factory=list)

    def open(self) -> Storage:
        storage = storage_for(self.path, self.options, self.context)
        self.opened.append(storage)
        return storage

    def files(self) -> dict[str, bytes]:
        """All that a reader of the lake sees."""
        raise NotImplementedError

    def put(self, path: str, data: bytes) -> None:
        raise NotImplementedError

    def lose(self, handle: Mapping[str, Json]) -> None:
        raise NotImplementedError


class LocalLab(Lab):
    def files(self) -> dict[str, bytes]:
        base = Path(self.path)
        found = (path for path in base.rglob("*") if path.is_file())
        named = {path.relative_to(base).as_posix(): path.read_bytes() for path in found}
        return {k: v for k, v in named.items() if not k.startswith("_rayflume/staging/")}

    def put(self, path: str, data: bytes) -> None:
        place = Path(self.path, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def lose(self, handle: Mapping[str, Json]) -> None:
        Path(self.path, str(handle["staged"])).unlink()


class MemoryLab(Lab):
    @property
    def store(self) -> memory.MemoryStore:
        return memory.store(self.path.removeprefix("memory://"))

    def files(self) -> dict[str, bytes]:
        return dict(self.store.files)

    def put(self, path: str, data: bytes) -> None:
        self.store.files[path] = data

    def lose(self, handle: Mapping[str, Json]) -> None:
        self.store.lose(handle)


@dataclass
class S3Lab(Lab):
    client: Any = None

    @property
    def bucket(self) -> str:
        return self.path.split("/")[2]

    def files(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            entry["Key"].removeprefix("a/lake/"): self.client.get_object(
                Bucket=self.bucket, Key=entry["Key"]
            )["Body"].read()
            for entry in listed
        }

    def put(self, path: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"a/lake/{path}", Body=data)

    def lose(self, handle: Mapping[str, Json]) -> None:
        self.client.abort_multipart_upload(
            Bucket=self.bucket, Key=f"a/lake/{handle['target']}", UploadId=handle["upload_id"]
        )


@dataclass
class HdfsLab(Lab):
    server: Hdfs | None = None

    @property
    def base(self) -> str:
        return "/" + self.path.split("/", 3)[3]

    def files(self) -> dict[str, bytes]:
        assert self.server is not None
        found = self.server.files(self.base)
        return {k: v for k, v in found.items() if not k.startswith("_rayflume/staging/")}

    def put(self, path: str, data: bytes) -> None:
        assert self.server is not None
        with self.server.admin.create(f"{self.base}/{path}") as file:
            file.write(data)

    def lose(self, handle: Mapping[str, Json]) -> None:
        assert self.server is not None
        assert self.server.admin.delete(f"{self.base}/{handle['staged']}")


@pytest.fixture(
    params=[
        "local",
        "memory",
        pytest.param("moto", marks=pytest.mark.s3),
        pytest.param("weed", marks=pytest.mark.s3),
        pytest.param("hdfs", marks=pytest.mark.hdfs),
    ]
)
def lab(request: pytest.FixtureRequest, context: Context, tmp_path: Path) -> Iterator[Lab]:
    kind = str(request.param)
    made: Lab
    with contextlib.ExitStack() as stack:
        if kind == "local":
            made = LocalLab(str(tmp_path / "new" / "lake"), context)
        elif kind == "memory":
            made = MemoryLab(f"memory://{tmp_path}".replace(":///", "://"), context)
        elif kind == "hdfs":
            cluster: Hdfs = request.getfixturevalue("hdfs")
            made = HdfsLab(cluster.lake(), context, server=cluster)
        else:
            server: S3Server = request.getfixturevalue(f"{kind}_s3")
            client = stack.enter_context(contextlib.closing(server.client()))
            options = {**server.options, "part_bytes": "5MiB", "retries": 1}
            made = S3Lab(f"s3://{server.bucket()}/a/lake/", context, options, client=client)
        yield made
        for storage in made.opened:
            storage.close()


@pytest.fixture
def storage(lab: Lab) -> Storage:
    storage = lab.open()
    storage.check()
    return storage


def target(n: int = 0, delivery: str = DELIVERY) -> str:
    return f"dt=2026-11-22/hour=14/{data_name(delivery, n)}"


def staged(
    storage: Storage, data: bytes = b"rows", path: str = "", delivery: str = DELIVERY
) -> dict[str, Json]:
    writer = storage.stage(path or target(delivery=delivery), delivery)
    assert writer.write(data) == len(data)
    handle = writer.finish()
    kept: dict[str, Json] = json.loads(json.dumps(handle))
    assert kept == handle
    return kept


def together(*calls: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_every_storage_type_is_under_contract() -> None:
    assert types_of("storage") == ["hdfs", "local", "memory", "s3"]


def test_t1_check_leaves_nothing_behind(lab: Lab, storage: Storage) -> None:
    storage.check()
    assert lab.files() == {}
    assert storage.staged("") == []


def test_t2_staged_bytes_are_invisible_until_published(lab: Lab, storage: Storage) -> None:
    handle = staged(storage)
    assert storage.list("") == []
    assert storage.list("_rayflume/staging") == []
    assert lab.files() == {}
    with pytest.raises(KeyError):
        storage.read(target())
    assert storage.publish([handle]) == [LANDED]
    assert lab.files() == {target(): b"rows"}


def test_t2_large_files_arrive_whole_from_any_piece_size(lab: Lab, storage: Storage) -> None:
    data = os.urandom(12_000_001)
    writer = storage.stage(target(), DELIVERY)
    writer.write(data[:1])
    writer.write(pa.py_buffer(data[1:7_000_000]))
    writer.write(memoryview(data)[7_000_000:])
    handle = writer.finish()
    assert handle["size"] == len(data)
    assert lab.open().publish([handle]) == [LANDED]
    assert storage.read(target()) == data


def test_t2_many_writers_at_once_do_not_mix(lab: Lab, storage: Storage) -> None:
    def fill(n: int) -> dict[str, Json]:
        writer = storage.stage(target(n), DELIVERY)
        for _ in range(7):
            writer.write(bytes([n]) * 1_000_000)
        return writer.finish()

    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(fill, range(4)))
    assert storage.publish(handles) == [LANDED] * 4
    for n in range(4):
        assert storage.read(target(n)) == bytes([n]) * 7_000_000


def test_t2_an_empty_file_can_be_published(lab: Lab, storage: Storage) -> None:
    assert storage.publish([staged(storage, b"")]) == [LANDED]
    assert lab.files() == {target(): b""}


def test_t3_publish_twice_is_the_same_as_once(lab: Lab, storage: Storage) -> None:
    handle = staged(storage)
    assert storage.publish([handle]) == [LANDED]
    assert storage.publish([handle]) == [LANDED]
    assert lab.open().publish([handle, handle]) == [LANDED, LANDED]
    assert lab.files() == {target(): b"rows"}


def test_t3_never_overwrites_what_is_anothers(lab: Lab, storage: Storage) -> None:
    handle = staged(storage)
    lab.put(target(), b"of somebody else")
    with pytest.raises(TargetTaken, match="part-00000000000000aa-1-7-0"):
        storage.publish([handle])
    assert lab.files() == {target(): b"of somebody else"}


def test_t3_a_lost_file_is_told_from_the_others(lab: Lab, storage: Storage) -> None:
    handles = [staged(storage, b"%d" % n, target(n)) for n in range(3)]
    lab.lose(handles[1])
    assert storage.publish(handles) == [LANDED, LOST, LANDED]
    assert lab.files() == {target(0): b"0", target(2): b"2"}
    again = staged(storage, b"1", target(1))
    assert storage.publish([handles[0], again, handles[2]]) == [LANDED] * 3
    assert lab.files()[target(1)] == b"1"


def test_t3_two_publishers_of_one_file_both_see_it_landed(lab: Lab, storage: Storage) -> None:
    other = lab.open()
    for n in range(5):
        handle = staged(storage, b"rows" * 1000, target(n))
        landed = together(partial(storage.publish, [handle]), partial(other.publish, [handle]))
        assert landed == [[LANDED], [LANDED]]
    assert set(lab.files().values()) == {b"rows" * 1000}


def test_t3_of_two_staged_files_for_one_target_one_stays_whole(lab: Lab, storage: Storage) -> None:
    handles = [staged(storage, bytes([n]) * 100_000) for n in range(2)]
    landed = together(*(partial(storage.publish, [handle]) for handle in handles))
    assert landed == [[LANDED], [LANDED]]
    assert lab.files()[target()] in (b"\0" * 100_000, b"\1" * 100_000)


def test_t3_nothing_to_publish_is_fine(storage: Storage) -> None:
    assert storage.publish([]) == []


def test_t4_discard_removes_staged_bytes_and_only_those(lab: Lab, storage: Storage) -> None:
    kept, gone = staged(storage), staged(storage, path=target(1))
    storage.publish([kept])
    for handle in (gone, gone, kept):
        storage.discard(handle)
    assert storage.staged(JOURNAL) == []
    assert storage.publish([kept, gone]) == [LANDED, LOST]
    assert lab.files() == {target(): b"rows"}


def test_t4_abort_leaves_nothing_staged(lab: Lab, storage: Storage) -> None:
    writer = storage.stage(target(), DELIVERY)
    writer.write(b"x" * 6_000_000)
    writer.abort()
    writer.abort()
    assert storage.staged(JOURNAL) == []
    assert lab.files() == {}


def test_t4_staged_finds_what_a_dead_writer_left(lab: Lab, storage: Storage) -> None:
    writer = storage.stage(target(), DELIVERY)
    staged(storage, path=dead_name(OTHER, 0), delivery=OTHER)
    staged(storage, delivery=FOREIGN)
    later = lab.open()
    found = later.staged(JOURNAL)
    assert sorted(delivery for delivery, _ in found) == [DELIVERY, OTHER]
    for _, handle in found:
        later.discard(json.loads(json.dumps(handle)))
    assert later.staged(JOURNAL) == []
    assert [delivery for delivery, _ in later.staged(FOREIGN[:16])] == [FOREIGN]
    writer.abort()


def test_t4_published_files_are_not_staged_any_more(storage: Storage) -> None:
    storage.publish([staged(storage)])
    assert storage.staged(JOURNAL) == []


def test_t5_create_is_put_if_absent(lab: Lab, storage: Storage) -> None:
    path = "_rayflume/schema/1.json"
    assert storage.create(path, b"first") is True
    assert storage.create(path, b"second") is False
    assert lab.open().create(path, b"first") is False
    assert storage.read(path) == b"first"
    assert lab.files() == {path: b"first"}


def test_t5_of_many_creators_one_wins_and_all_read_it(lab: Lab, storage: Storage) -> None:
    others = [storage, *(lab.open() for _ in range(3))]
    path = "_rayflume/schema/2.json"
    won = together(*(partial(s.create, path, b"%d" % n) for n, s in enumerate(others)))
    assert sorted(map(bool, won)) == [False, False, False, True]
    assert [s.read(path) for s in others] == [b"%d" % won.index(True)] * 4


def test_t5_read_of_nothing_is_a_key_error(storage: Storage) -> None:
    for path in ("none", "no/such/folder/none"):
        with pytest.raises(KeyError):
            storage.read(path)


def test_t5_list_is_sorted_and_below_a_folder(lab: Lab, storage: Storage) -> None:
    for path in ("b/2", "b/1", "bc/3", "a", "_rayflume/schema/1.json"):
        assert storage.create(path, b"")
    staged(storage)
    assert storage.list("") == ["_rayflume/schema/1.json", "a", "b/1", "b/2", "bc/3"]
    assert storage.list("b") == storage.list("b/") == ["b/1", "b/2"]
    assert storage.list("_rayflume/schema") == ["_rayflume/schema/1.json"]
    assert storage.list("none") == []


def test_t7_sizes_are_of_visible_files_and_sorted(lab: Lab, storage: Storage) -> None:
    for path, size in {"b/2": 2, "b/1": 0, "bc/3": 70_000, "_rayflume/schema/1.json": 1}.items():
        assert storage.create(path, b"x" * size)
    staged(storage)
    assert list(storage.sizes("").items()) == [
        ("_rayflume/schema/1.json", 1), ("b/1", 0), ("b/2", 2), ("bc/3", 70_000),
    ]  # fmt: skip
    assert storage.sizes("b") == storage.sizes("b/") == {"b/1": 0, "b/2": 2}
    assert storage.sizes("none") == storage.sizes("_rayflume/staging") == {}


def test_t7_modified_knows_the_same_files(lab: Lab, storage: Storage) -> None:
    modified = getattr(storage, "modified", None)
    if modified is None:
        return
    storage.publish([staged(storage)])
    storage.create("b/1", b"x")
    assert list(modified("")) == list(storage.sizes(""))
    assert list(modified("b")) == ["b/1"]
    assert modified("b")["b/1"] > 1_600_000_000_000


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 7_000_000])
def test_t7_open_reads_at_any_place(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    storage.publish([staged(storage, data)])
    with contextlib.closing(storage.open(target())) as file:
        assert file.seek(0, os.SEEK_END) == size
        assert file.read(10) == b""
        for start, count in ((0, 1), (size // 2, 100_000), (size - 3, 3), (max(0, size - 9), 99)):
            assert file.seek(max(0, start)) == file.tell()
            assert file.read(count) == data[max(0, start) : max(0, start) + count]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(1 << 20) or b"", b"")) == data


def test_t7_parquet_is_read_through_open(storage: Storage) -> None:
    table = pa.table({"n": range(100_000), "text": [str(n) * 5 for n in range(100_000)]})
    writer = storage.stage(target(), DELIVERY)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=30_000)
    writer.write(sink.getvalue())
    storage.publish([writer.finish()])
    with contextlib.closing(storage.open(target())) as file:
        assert pq.ParquetFile(file).read() == table


def test_t7_open_of_nothing_is_a_key_error(storage: Storage) -> None:
    staged(storage)
    for path in ("none", "no/such/folder/none", target()):
        with pytest.raises(KeyError):
            storage.open(path)


def test_t8_remove_deletes_just_these_and_twice_is_once(lab: Lab, storage: Storage) -> None:
    paths = [f"p={n % 3}/{n}" for n in range(12)]
    for path in paths:
        storage.create(path, b"x")
    handle = staged(storage)
    storage.remove(paths[:5])
    storage.remove([*paths[2:6], "none", "no/such/folder/none", target()])
    storage.remove([])
    assert storage.list("") == sorted(paths[6:])
    assert sorted(lab.files()) == sorted(paths[6:])
    assert storage.publish([handle]) == [LANDED]
    storage.remove([target()])
    assert lab.open().publish([handle]) == [LOST]


def test_t8_staged_bytes_are_never_removed(lab: Lab, storage: Storage) -> None:
    handle = staged(storage)
    storage.create("a", b"x")
    hidden = str(handle.get("staged", "_rayflume/staging/x.staged"))
    for path in (hidden, "_rayflume/staging", "../a"):
        with pytest.raises(ValueError):
            storage.remove(["a", path])
    assert storage.list("") == ["a"]
    assert storage.publish([handle]) == [LANDED]


HOSTILE = [
    "", ".", "..", "/", "//", "a//b", "/etc/passwd", "a/", "../a", "a/..", "a/../b", "a/../../b",
    "./a", "a/.", "a/./b", "~/../a/..", "a\0b", "\0", "a\nb", "a\r", "\x1b[31m", "a/\x7f", "\t",
    "a/" + "b" * 256, "\u00e4" * 128, "\ud800", "a/\udfff/b", "x/" * 460 + "y", "../" * 40 + "etc",
    "dt=..\x00/a", "dt=1/../../../a", "..//..", "/..", "/.", "a/\x01", "a/\x1f/b",
    "a\\b", "..\\..\\a", "\\",
    "_rayflume/staging", "_rayflume/staging/x",
]  # fmt: skip


@pytest.mark.parametrize("lake", ["lake", "memory://t6", "s3://bucket/prefix", "hdfs://h/a"])
@pytest.mark.parametrize("folder", HOSTILE, ids=ascii)
def test_t6_paths_that_leave_the_lake_are_refused(folder: str, lake: str, context: Context) -> None:
    # Paths are judged before a store is asked, so S3 needs no server here.
    storage = storage_for(lake, {}, context)
    path = f"{folder}/{data_name(DELIVERY, 0)}"
    handle: dict[str, Json] = {
        "target": path, "staged": path, "upload": "u", "upload_id": "u", "size": 1,
        "parts": [{"n": 1, "etag": "e"}],
    }  # fmt: skip
    for call in (
        lambda: storage.stage(path, DELIVERY),
        lambda: storage.publish([handle]),
        lambda: storage.create(path, b""),
        lambda: storage.read(path),
        lambda: storage.open(path),
        lambda: storage.remove([path]),
    ):
        with pytest.raises(ValueError):
            call()
    if folder not in {"", "a/"} and not folder.startswith("_rayflume/staging"):
        with pytest.raises(ValueError):
            storage.list(folder)
        with pytest.raises(ValueError):
            storage.sizes(folder)
    storage.close()
    assert not (context.directory / "lake").exists()


def test_t6_a_target_must_carry_its_delivery(storage: Storage) -> None:
    for path in ("part-0.parquet", target(delivery=OTHER), f"x{DELIVERY}-0.parquet"):
        with pytest.raises(ValueError, match="does not carry its delivery"):
            storage.stage(path, DELIVERY)
    with pytest.raises(ValueError, match="not a delivery id"):
        storage.stage("part-x-0.parquet", "x")


def test_t6_harmless_names_pass_unchanged(lab: Lab, storage: Storage) -> None:
    folder = "q=a%2Fb c/\u00fc=\u65e5\u672c/dots...in..it/%2e%2e/+&?#'\"<>"
    path = f"{folder}/{data_name(DELIVERY, 0)}"
    assert storage.publish([staged(storage, path=path)]) == [LANDED]
    assert storage.list("") == [path]
    assert storage.read(path) == b"rows"
    assert list(lab.files()) == [path]


def test_handles_of_another_storage_are_refused(storage: Storage) -> None:
    for handle in ({}, {"target": target()}, {"target": 3}, {"size": "x", "upload": None}):
        with pytest.raises(ValueError):
            storage.publish([cast("dict[str, Json]", handle)])
