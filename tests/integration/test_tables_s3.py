"""Tables on S3 over HTTP: the log's entries are made with `If-None-Match`, and two who commit at
once do not lose or double anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from fakes import context
from pyiceberg.catalog.sql import SqlCatalog
from servers import S3Server
from table_worlds import publish_from_two

from rayflume.component import lookup
from rayflume.sinks.parquet import ParquetSink

pytestmark = pytest.mark.s3
COUNT = 6


class Bucket:
    """A lake in a new bucket, as a table of one kind."""

    def __init__(self, server: S3Server, base: Path, kind: str) -> None:
        self.base = base
        self.kind = kind
        self.name = server.bucket()
        self.server = server
        self.uri = f"sqlite:///{base}/catalog.db"
        self.sinks: list[ParquetSink] = []

    def sink(self) -> ParquetSink:
        table: dict[str, object] = {"type": self.kind}
        if self.kind == "iceberg":
            table |= {"name": "web.rows", "catalog": {"type": "sql", "uri": self.uri}}
        options = {
            "path": f"s3a://{self.name}/clicks",
            "storage": self.server.options,
            "format": {"type": "json", "schema": {"n": "int64"}},
            "partition_by": ["k=%{k}"],
            "table": table,
        }
        part = lookup("sink", "parquet").model_validate(options)
        assert part.check(context(self.base, "lake")) == []
        sink: ParquetSink = part.build(context(self.base, "lake"))
        sink.open()
        self.sinks.append(sink)
        return sink

    def numbers(self) -> list[int]:
        options = {name: str(value) for name, value in self.server.options.items()}
        if self.kind == "delta":
            table = DeltaTable(
                f"s3://{self.name}/clicks",
                storage_options={
                    "aws_endpoint": options["endpoint"],
                    "aws_allow_http": "true",
                    "aws_region": "us-east-1",
                    "aws_access_key_id": options["access_key"],
                    "aws_secret_access_key": options["secret_key"],
                },
            )
            return sorted(table.to_pyarrow_table()["n"].to_pylist())
        catalog = SqlCatalog(
            "default",
            **{
                "uri": self.uri,
                "s3.endpoint": options["endpoint"],
                "s3.access-key-id": options["access_key"],
                "s3.secret-access-key": options["secret_key"],
            },
        )
        with catalog:
            found: Any = catalog.load_table("web.rows").scan().to_arrow()
            return sorted(found["n"].to_pylist())


@pytest.mark.parametrize("server", ["moto_s3", "weed_s3"])
@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_two_who_publish_everything_at_once(
    kind: str, server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket = Bucket(request.getfixturevalue(server), tmp_path, kind)
    sinks = [bucket.sink(), bucket.sink()]
    manifests = publish_from_two(sinks, COUNT)
    assert bucket.numbers() == list(range(1, COUNT + 1))
    table = sinks[0]._table
    assert table is not None
    done = table._table.compact(1 << 30)
    assert (done.removed, done.added) == (COUNT, 3)
    assert bucket.numbers() == list(range(1, COUNT + 1))
    for sink in sinks:
        assert [sink.publish(manifest) for manifest in manifests] == [[]] * COUNT
    assert bucket.numbers() == list(range(1, COUNT + 1))
    for sink in sinks:
        sink.close()
