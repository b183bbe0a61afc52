"""The Parquet sink with `table`: which options go together, and what becomes of awkward rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from deltalake import DeltaTable, write_deltalake
from fakes import context
from pydantic import TypeAdapter, ValidationError
from pyiceberg.catalog.sql import SqlCatalog
from table_worlds import DeltaWorld, Faults, IcebergWorld

from rayflume.batch import EventBatch, Extent
from rayflume.component import lookup
from rayflume.errors import (
    LakeDamaged,
    OptionError,
    PublishUnknown,
    Retry,
    StorageUnavailable,
    TableRefused,
)
from rayflume.interfaces import Manifest
from rayflume.lake import storage_options
from rayflume.sinks.parquet import Parquet, ParquetSink
from rayflume.table import described
from rayflume.tables._stores import delta_options

JOURNAL = "00aa11bb22cc33dd"
ICEBERG: dict[str, object] = {"type": "iceberg", "name": "web.rows"}


def options(base: Path, kind: str = "delta", **more: object) -> dict[str, object]:
    table: dict[str, object] = {"type": kind}
    if kind == "iceberg":
        uri = f"sqlite:///{base}/catalog.db"
        table = {**ICEBERG, "catalog": {"type": "sql", "uri": uri}}
    return {"path": "lake", "format": {"type": "json"}, "table": table, **more}


@pytest.fixture(params=["delta", "iceberg"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Lake:
    def __init__(self, base: Path, kind: str, **more: object) -> None:
        self.base = base
        self.kind = kind
        part = Parquet.model_validate(options(base, kind, **more))
        self.sink: ParquetSink = part.build(context(base, "lake"))
        self.sink.open()

    def deliver(
        self, number: int, bodies: list[Any], headers: dict[str, str] | None = None
    ) -> Manifest:
        raw = [b if isinstance(b, bytes) else json.dumps(b).encode() for b in bodies]
        extents = (Extent("s", number * 100, number * 100 + len(raw), len(raw)),)
        batch = EventBatch.from_events(raw, [headers or {}] * len(raw), extents)
        writer = self.sink.begin(f"{JOURNAL}-1-{number}")
        writer.write(batch, number * 100)
        manifest = writer.stage()
        assert self.sink.publish(manifest) == []
        return manifest

    def read(self) -> list[dict[str, Any]]:
        if self.kind == "delta":
            rows = DeltaTable(str(self.base / "lake")).to_pyarrow_table().to_pylist()
        else:
            with SqlCatalog("default", uri=f"sqlite:///{self.base}/catalog.db") as catalog:
                rows = catalog.load_table("web.rows").scan().to_arrow().to_pylist()
        return sorted(rows, key=lambda row: row["n"])


def test_a_delivery_with_dead_letters_alone_commits_nothing(kind: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path, kind)
    manifest = lake.deliver(1, [b"no json", b"{"])
    assert (manifest.dead, manifest.written) == (2, 0)
    assert lake.sink.publish(manifest) == []
    lake.deliver(2, [{"n": 1}, b"no json"])
    assert lake.read() == [{"n": 1}]
    assert len(list(tmp_path.rglob("*.dead"))) == 2
    lake.sink.close()


def test_a_row_with_a_field_of_a_partitions_name_is_a_dead_letter(
    kind: str, tmp_path: Path
) -> None:
    lake = Lake(tmp_path, kind, partition_by=["day=%{day}"])
    lake.deliver(1, [{"n": 1}, {"n": 2, "day": 7}], {"day": "monday"})
    assert lake.deliver(2, [{"n": 3, "Day": {"a": 1}}], {"day": "tuesday"}).dead == 1
    assert lake.read() == [{"n": 1, "day": "monday"}]
    lake.sink.close()


def test_a_table_that_was_there_gives_the_lake_its_types(kind: str, tmp_path: Path) -> None:
    """A value that does not fit is a dead letter from the first row on, not an obstacle later."""
    there = pa.schema([("n", pa.int64()), ("x", pa.string()), ("odd", pa.int8())])
    if kind == "delta":
        write_deltalake(str(tmp_path / "lake"), there.empty_table())
    else:
        there = there.remove(2)
        with SqlCatalog("default", uri=f"sqlite:///{tmp_path}/catalog.db") as catalog:
            catalog.create_namespace("web")
            catalog.create_table("web.rows", there, location=f"file://{tmp_path}/lake")
    lake = Lake(tmp_path, kind)
    manifest = lake.deliver(1, [{"n": 1, "x": "a"}, {"n": "x"}])
    assert (manifest.written, manifest.dead) == (1, 1)
    [row] = lake.read()
    assert (row["n"], row["x"]) == (1, "a")
    lake.sink.close()


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    def problem(**more: object) -> str:
        part = Parquet.model_validate(options(tmp_path, **more))  # type: ignore[arg-type]
        [found] = part.check(context(tmp_path, "lake"))
        with pytest.raises(OptionError):
            part.build(context(tmp_path, "lake"))
        return found

    assert "'%Y' has none: write name=pattern" in problem(partition_by=["dt=%Y-%m", "%Y"])
    assert "a Delta table cannot be on 'memory'" in problem(path="memory://x")
    assert "an Iceberg table cannot be on 'memory'" in problem(path="memory://x", kind="iceberg")
    assert "choose a path without `#`, `?` and `%`" in problem(path="a#b", kind="iceberg")
    format_ = {"type": "json", "schema": {"day": "string"}}
    assert "'day' is also a column" in problem(format=format_, partition_by=["day=%Y"])


@pytest.mark.parametrize(
    ("kind", "storage", "text"),
    [
        ("delta", {"profile": "p"}, "storage.profile: .* set AWS_PROFILE for the agent"),
        ("iceberg", {"server_side_encryption": "AES256"}, "the bucket's default encryption"),
        ("iceberg", {"requester_pays": True}, "storage.requester_pays"),
    ],
)
def test_options_that_the_tables_client_does_not_know(
    kind: str, storage: dict[str, object], text: str, tmp_path: Path
) -> None:
    part = Parquet.model_validate(options(tmp_path, kind, path="s3://lake/x", storage=storage))
    with pytest.raises(OptionError, match=text):
        part.build(context(tmp_path, "lake"))


def test_options_of_the_storage_reach_delta() -> None:
    given = {
        "endpoint": "http://s3.example.org",
        "access_key": "key",
        "secret_key": "hunter2",
        "server_side_encryption": "aws:kms",
        "kms_key_id": "k",
        "requester_pays": True,
        "path_style": False,
        "call_timeout": "7s",
        "connect_timeout": "300ms",
        "retries": 2,
    }
    assert delta_options(storage_options("s3://lake/x", given)) == {
        "aws_endpoint": "http://s3.example.org",
        "aws_allow_http": "true",
        "aws_access_key_id": "key",
        "aws_secret_access_key": "hunter2",
        "aws_server_side_encryption": "aws:kms",
        "aws_sse_kms_key_id": "k",
        "aws_request_payer": "true",
        "aws_virtual_hosted_style_request": "true",
        "aws_conditional_put": "etag",
        "connect_timeout": "1s",
        "timeout": "7s",
        "retry_timeout": "7s",
        "max_retries": "2",
    }


def test_an_iceberg_table_needs_a_namespace() -> None:
    with pytest.raises(ValidationError, match="write a namespace and a name"):
        lookup("table", "iceberg").model_validate({"name": "clicks"})


def test_no_text_shows_a_value_of_the_catalog(tmp_path: Path) -> None:
    table = {
        **ICEBERG,
        "catalog": {"type": "rest", "uri": "http://127.0.0.1:9", "token": "hunter2"},
    }
    part = Parquet.model_validate({**options(tmp_path), "table": table})
    assert "hunter2" not in repr(part) + str(part.model_dump())
    sink: ParquetSink = part.build(context(tmp_path, "lake"))
    with pytest.raises(Retry) as caught:
        sink.open()
    assert "cannot read the Iceberg table web.rows now" in caught.value.message
    assert "hunter2" not in caught.value.message
    sink.close()
    shown = described(OSError("no: hunter2\n\x1b[31mat s3"), {"token": "hunter2"})
    assert shown == "OSError: no: *** at s3"


def test_a_changed_mark_is_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path, "iceberg")
    manifest = lake.deliver(1, [{"n": 1}])
    with SqlCatalog("default", uri=f"sqlite:///{tmp_path}/catalog.db") as catalog:
        table = catalog.load_table("web.rows")
        with table.transaction() as change:
            change.set_properties({f"rayflume.committed.{JOURNAL}": "all of them"})
    with pytest.raises(TableRefused, match="somebody changed its property"):
        lake.sink.publish(manifest)
    lake.sink.close()


def test_other_partitions_than_the_delivery_was_written_with(kind: str, tmp_path: Path) -> None:
    first = Lake(tmp_path, kind)
    writer = first.sink.begin(f"{JOURNAL}-1-1")
    writer.write(EventBatch.from_events([b'{"n":1}'], [], (Extent("s", 0, 1, 1),)), 0)
    manifest = writer.stage()
    second = Lake(tmp_path, kind, partition_by=["k=%{k}"])
    with pytest.raises(TableRefused, match="written with another `partition_by` than k"):
        second.sink.publish(manifest)
    for lake in (first, second):
        lake.sink.close()


@pytest.mark.parametrize("world_type", [DeltaWorld, IcebergWorld])
def test_a_store_that_is_down_is_asked_a_few_times_and_then_the_lane_goes_on(
    world_type: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(1, ("before",))
    world = world_type(tmp_path, faults, monkeypatch)
    with faults.quiet():
        [first, second] = [world.stage(number) for number in (2, 4)]
        world.sinks[0].publish(first)
    with pytest.raises(PublishUnknown, match="is not in it yet"):
        world.sinks[0].publish(second)
    assert faults.met["before"] == 5
    with faults.quiet():
        assert world.sinks[1].publish(second) == []
    world.judge()
    world.close()


def proxy_page() -> None:
    TypeAdapter(dict[str, int]).validate_json("<html>502</html>")


def cut_answer() -> None:
    json.loads('{"metadata": {')


def cut_answer_to_requests() -> None:
    raise requests.exceptions.JSONDecodeError("Expecting value", "<html>", 0)


def no_manifest() -> None:
    raise pa.ArrowInvalid("not a file")


def no_text() -> None:
    b"\xff".decode()


@pytest.mark.parametrize(
    "answer", [proxy_page, cut_answer, cut_answer_to_requests, no_manifest, no_text]
)
def test_an_answer_that_cannot_be_read_after_a_commit_that_landed(
    answer: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is looked at again, and has it: no operator is needed."""
    lake = Lake(tmp_path, "iceberg")
    lake.deliver(1, [{"n": 1}])
    whole = SqlCatalog.commit_table

    def commit_table(*args: Any) -> Any:
        whole(*args)
        answer()

    monkeypatch.setattr(SqlCatalog, "commit_table", commit_table)
    lake.deliver(2, [{"n": 2}])
    assert [row["n"] for row in lake.read()] == [1, 2]
    monkeypatch.setattr(SqlCatalog, "load_table", lambda *_: answer())
    with pytest.raises(StorageUnavailable, match="cannot read the Iceberg table"):
        lake.deliver(3, [{"n": 3}])
    lake.sink.close()


@pytest.mark.parametrize("damage", ["cut", "no footer"])
def test_a_published_file_whose_footer_cannot_be_read(damage: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "delta")
    table = lake.sink._table
    assert table is not None
    manifest = lake.deliver(1, [{"n": 1}])
    [file] = manifest.files
    path = tmp_path / "lake" / file.target
    raw = path.read_bytes()
    size = int.from_bytes(raw[-8:-4], "little")
    path.write_bytes(raw[:9] if damage == "cut" else raw[: -8 - size] + b"\xff" * size + raw[-8:])
    with pytest.raises(LakeDamaged, match=f"{file.target} was published and has no footer"):
        table.add(manifest)
    lake.sink.close()
