"""pandas, DuckDB and Polars read the lake that Spark reads (tests/integration/test_spark_reads.py):
the same rows, sums and types.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from lake_samples import (
    ROWS,
    WIDENED,
    country_of,
    micros,
    row,
    write_lake,
    write_samples,
    write_widened,
)

PARTITIONS = pa.schema([("dt", pa.string()), ("hour", pa.int32()), ("country", pa.string())])
GROWING = {"format": {"type": "json"}}
VERSION = b"rayflume.schema_version"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("readers") / "lake"
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three deliveries; a column and a field of a struct came with the second, one more with the
    third.
    """
    folder: Path = tmp_path_factory.mktemp("readers") / "grown"
    write_lake(folder, GROWING, [b'{"n":1,"who":{"id":1}}', b'{"n":2,"who":null}'])
    write_lake(folder, GROWING, [b'{"n":3,"who":{"id":3,"mail":"c"},"plan":"x"}'])
    write_lake(folder, GROWING, [b'{"n":4,"seen":[1.5]}'])
    return folder


def expected_sums() -> tuple[object, ...]:
    rows = [row(n) for n in range(ROWS)]
    return (
        ROWS,
        sum(r["n"] for r in rows),
        sum(r["small"] or 0 for r in rows),
        sum(r["amount"] or 0 for r in rows),
        pytest.approx(sum(r["price"] or 0.0 for r in rows)),
        sum(r["ts"] for r in rows),
    )


def expected_countries() -> Counter[str | None]:
    return Counter(country_of(n) for n in range(ROWS))


def test_files_are_what_spark_reads_without_options(lake: Path) -> None:
    """INT64 microseconds in UTC, no INT96, no nanoseconds, nothing unsigned, three-level lists."""
    for path in lake.rglob("*.parquet"):
        schema = pq.ParquetFile(path).schema
        columns = {column.path: column for column in map(schema.column, range(len(schema)))}
        assert {c.physical_type for c in columns.values()} == {
            "INT64", "INT32", "DOUBLE", "FLOAT", "BOOLEAN", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
        }  # fmt: skip
        for name in ("at", "ts"):
            kind = str(columns[name].logical_type)
            assert "isAdjustedToUTC=true, timeUnit=microseconds" in kind
        assert "items.list.element.sku" in columns
        assert "tags.list.element" in columns


def test_pandas_reads_the_lake(lake: Path) -> None:
    partitioning = ds.partitioning(PARTITIONS, flavor="hive")
    table = ds.dataset(lake, partitioning=partitioning).to_table()
    frame = table.to_pandas(
        types_mapper=None, date_as_object=True, coerce_temporal_nanoseconds=False
    )
    us = table["ts"].cast(pa.int64()).to_pandas()
    sums = [frame[name].sum() for name in ("n", "small", "amount", "price")]
    assert (len(frame), *sums, us.sum()) == expected_sums()
    assert Counter(table["country"].to_pylist()) == expected_countries()
    assert frame.set_index("n")["huge"].dropna().to_dict() == {
        n: row(n)["huge"] for n in range(ROWS) if row(n)["huge"] is not None
    }
    assert str(frame["ts"].dtype) == "datetime64[us, UTC]"
    by_n = {r["n"]: r for r in table.to_pylist()}
    assert [by_n[n]["who"] for n in range(ROWS)] == [row(n)["who"] for n in range(ROWS)]
    assert [by_n[n]["items"] for n in range(ROWS)] == [row(n)["items"] for n in range(ROWS)]


def test_duckdb_reads_the_lake(lake: Path) -> None:
    with duckdb.connect() as db:
        db.sql("set timezone = 'America/New_York'")
        rows = db.sql(
            f"""from read_parquet('{lake}/**/*.parquet', hive_partitioning = true,
                hive_types = {{dt: date, hour: int, country: varchar}})"""
        )
        kinds = dict(zip(rows.columns, map(str, rows.types), strict=True))
        rows.create_view("lake")
        [sums] = db.sql(
            """select count(*), sum(n), sum(small), sum(amount), sum(price), sum(epoch_us(ts))
               from lake"""
        ).fetchall()
        times = db.sql('select n, epoch_us("at") from lake order by n').fetchall()
        nested = db.sql(
            "select n, who, items, tags, raw, name, day, huge from lake order by n"
        ).fetchall()
        countries = db.sql("select country from lake").fetchall()
    assert sums == expected_sums()
    assert kinds["ts"] == kinds["at"] == "TIMESTAMP WITH TIME ZONE"
    assert kinds["who"] == "STRUCT(id BIGINT, home STRUCT(city VARCHAR, zip VARCHAR))"
    assert [at for _, at in times] == [row(n)["at"] for n in range(ROWS)]
    names = ("n", "who", "items", "tags", "raw", "name", "day", "huge")
    assert nested == [tuple(row(n)[name] for name in names) for n in range(ROWS)]
    assert Counter(value for (value,) in countries) == expected_countries()


def test_polars_reads_the_lake(lake: Path) -> None:
    frame = pl.scan_parquet(
        f"{lake}/**/*.parquet",
        hive_partitioning=True,
        hive_schema={"dt": pl.Date, "hour": pl.Int32, "country": pl.String},
    ).collect()
    us = frame["ts"].dt.epoch("us")
    sums = [frame[name].sum() for name in ("n", "small", "amount", "price")]
    assert (len(frame), *sums, us.sum()) == expected_sums()
    assert frame.schema["at"] == pl.Datetime("us", "UTC")
    assert Counter(frame["country"].to_list()) == expected_countries()
    ordered = frame.sort("n")
    assert ordered["at"].dt.epoch("us").to_list() == [row(n)["at"] for n in range(ROWS)]
    assert ordered["huge"].to_list() == [row(n)["huge"] for n in range(ROWS)]
    assert ordered["who"].to_list() == [row(n)["who"] for n in range(ROWS)]
    assert ordered["tags"].to_list() == [row(n)["tags"] for n in range(ROWS)]


def test_partitions_are_pruned(lake: Path) -> None:
    day = datetime(2026, 11, 22, tzinfo=UTC)
    wanted = [n for n in range(ROWS) if micros(day) <= row(n)["ts"] < micros(day) + 86_400_000_000]
    partitioning = ds.partitioning(PARTITIONS, flavor="hive")
    found = ds.dataset(lake, partitioning=partitioning).to_table(
        filter=ds.field("dt") == "2026-11-22"
    )
    assert sorted(found["n"].to_pylist()) == wanted
    with duckdb.connect() as db:
        sql = f"""from read_parquet('{lake}/**/*.parquet', hive_partitioning=true)
                  select n where dt = '2026-11-22'"""
        assert sorted(n for (n,) in db.sql(sql).fetchall()) == wanted
        plan = "".join(text for _, text in db.sql(f"explain {sql}").fetchall())
    files, all_files = (
        len(list(lake.glob("dt=2026-11-22/**/*.parquet"))),
        len(list(lake.rglob("*.parquet"))),
    )
    assert f"{files}/{all_files}" in plan


GROWN = {
    1: ({"id": 1, "mail": None}, None, None),
    2: (None, None, None),
    3: ({"id": 3, "mail": "c"}, "x", None),
    4: (None, None, [1.5]),
}


def test_pandas_merges_schemas(grown: Path) -> None:
    files = ds.dataset(grown).files
    merged = pa.unify_schemas(map(pq.read_schema, files), promote_options="permissive")
    assert merged.names == ["n", "who", "plan", "seen"]
    rows = ds.dataset(grown, schema=merged).to_table().to_pylist()
    assert {r["n"]: (r["who"], r["plan"], r["seen"]) for r in rows} == GROWN


def test_duckdb_merges_schemas(grown: Path) -> None:
    with duckdb.connect() as db:
        rows = db.read_parquet(f"{grown}/**/*.parquet", union_by_name=True)
        found = rows.select("n, who, plan, seen").fetchall()
    assert {n: tuple(rest) for n, *rest in found} == GROWN


def test_polars_merges_schemas(grown: Path) -> None:
    files = sorted(grown.rglob("*.parquet"))
    newest = max(files, key=lambda path: int(pq.read_metadata(path).metadata[VERSION]))
    rows = pl.scan_parquet(
        f"{grown}/**/*.parquet",
        schema=pl.read_parquet_schema(newest),
        missing_columns="insert",
        cast_options=pl.ScanCastOptions(missing_struct_fields="insert"),
    ).collect()
    assert {r["n"]: (r["who"], r["plan"], r["seen"]) for r in rows.to_dicts()} == GROWN


def test_decimals_that_got_more_digits_are_read_together(tmp_path: Path) -> None:
    write_widened(tmp_path)
    files = sorted(map(str, tmp_path.glob("*.parquet")))
    merged = pa.unify_schemas(map(pq.read_schema, files), promote_options="permissive")
    assert merged.field("amount").type == pa.decimal128(24, 2)
    rows = ds.dataset(files, schema=merged).to_table().to_pylist()
    assert {r["n"]: r["amount"] for r in rows} == WIDENED
    with duckdb.connect() as db:
        found = db.read_parquet(files, union_by_name=True).select("n, amount").fetchall()
    assert dict(found) == WIDENED
