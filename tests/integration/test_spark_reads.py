"""Spark reads what the Parquet sink wrote: rows, types, plans, schemas that grow, and a stream that
follows the lake while its writer is killed; and Hadoop what the sink `hdfs` wrote.
"""

from __future__ import annotations

import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from lake_samples import (
    EPOCH,
    ROWS,
    WIDENED,
    country_of,
    micros,
    row,
    write_lake,
    write_samples,
    write_widened,
)
from spark_session import Scan, require_java, spark_session

from rayflume.batch import EventBatch, Extent
from rayflume.clock import SystemClock
from rayflume.component import Context, lookup
from rayflume.metrics import Metrics
from rayflume.naming import RESERVED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
STRUCT = "struct<id:bigint,home:struct<city:string,zip:string>>"
TYPES = {
    "n": "bigint",
    "small": "int",
    "price": "double",
    "ratio": "float",
    "amount": "decimal(18,4)",
    "huge": "decimal(38,10)",
    "ok": "boolean",
    "name": "string",
    "raw": "binary",
    "day": "date",
    "at": "timestamp",
    "ts": "timestamp",
    "tags": "array<string>",
    "who": STRUCT,
    "items": "array<struct<sku:string,qty:bigint>>",
    "host": "string",
    "dt": "date",
    "hour": "int",
    "country": "string",
}
DAY = "2026-11-22"


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    require_java()
    with spark_session(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("lakes") / "samples"
    write_samples(folder)
    return folder


@pytest.fixture
def rows(spark: SparkSession, lake: Path) -> DataFrame:
    """The lake with nothing said but its path."""
    return spark.read.parquet(str(lake))


def files_of(lake: Path, pattern: str = "**/*.parquet") -> list[Path]:
    return sorted(path for path in lake.glob(pattern) if RESERVED not in path.parts)


def on_day(n: int) -> bool:
    return (EPOCH + timedelta(microseconds=row(n)["ts"])).date().isoformat() == DAY


# -- rows and types --------------------------------------------------------------------------------


def test_types_are_inferred_from_files_and_directories(rows: DataFrame) -> None:
    assert dict(rows.dtypes) == TYPES


def test_every_row_is_read_as_it_was_sent(rows: DataFrame) -> None:
    """Nulls, empty strings, nested values; times as microseconds, because Python would shift
    them.
    """
    times = ["unix_micros(at) at", "unix_micros(ts) ts"]
    names = [name for name in TYPES if name not in ("at", "ts", "dt", "hour", "country")]
    found = rows.selectExpr(*names, *times).collect()
    assert len(found) == ROWS
    seen = {one.n: plain(one) for one in found}
    wrong = [(row(n), seen.get(n)) for n in range(ROWS) if seen.get(n) != row(n)]
    assert wrong == []


def plain(value: Any) -> Any:
    """Spark's rows as dictionaries, binary as bytes, a float as the double it stands for."""
    if hasattr(value, "asDict"):
        return {name: plain(inner) for name, inner in value.asDict().items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return bytes(value) if isinstance(value, bytearray) else value


def test_partition_values_are_what_was_in_the_header(rows: DataFrame) -> None:
    """Null in __HIVE_DEFAULT_PARTITION__; blanks, slashes, percent signs, what is not ASCII."""
    found = rows.select("n", "country", "dt", "hour").collect()
    assert {one.n: one.country for one in found} == {n: country_of(n) for n in range(ROWS)}
    for one in found:
        at = EPOCH + timedelta(microseconds=row(one.n)["ts"])
        assert (one.dt, one.hour) == (at.date(), at.hour)


def test_values_that_spark_searches_by(rows: DataFrame) -> None:
    for value in ("a/b=c %41", "x:y*\\", "日本", "d\u00a0e"):
        expected = sum(country_of(n) == value for n in range(ROWS))
        assert rows.where(rows.country == value).count() == expected > 0
    nulls = rows.where(rows.country.isNull())
    assert nulls.count() == sum(country_of(n) is None for n in range(ROWS))


@pytest.mark.parametrize("zone", ZONES)
def test_times_are_equal_to_the_microsecond_in_every_session_time_zone(
    spark: SparkSession, lake: Path, zone: str
) -> None:
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        shown = "date_format(at, 'yyyy-MM-dd HH:mm:ss.SSSSSS') shown"
        frame = spark.read.parquet(str(lake)).where("at is not null")
        found = frame.selectExpr("n", "unix_micros(at) us", shown, "dt", "hour").collect()
        day = spark.read.parquet(str(lake)).where(f"dt = '{DAY}'").count()
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert {one.n: one.us for one in found} == {
        n: row(n)["at"] for n in range(ROWS) if row(n)["at"] is not None
    }
    modern = micros(datetime(1900, 1, 1, tzinfo=UTC)), micros(datetime(9999, 1, 1, tzinfo=UTC))
    local = [one for one in found if modern[0] < one.us < modern[1]]
    assert len(local) > 200
    for one in local:
        at = (EPOCH + timedelta(microseconds=one.us)).astimezone(ZoneInfo(zone))
        assert one.shown == f"{at:%Y-%m-%d %H:%M:%S.%f}"
    assert day == sum(map(on_day, range(ROWS)))


def test_sums_and_groups(rows: DataFrame) -> None:
    found = {
        one.country: (one.rows, one.total)
        for one in rows.groupBy("country")
        .agg({"*": "count", "n": "sum"})
        .toDF("country", "rows", "total")
        .collect()
    }
    rows_of = Counter(country_of(n) for n in range(ROWS))
    sums = Counter[str | None]()
    for n in range(ROWS):
        sums[country_of(n)] += n
    assert found == {key: (count, sums[key]) for key, count in rows_of.items()}


# -- plans -----------------------------------------------------------------------------------------


def test_only_the_asked_partitions_are_read(
    spark: SparkSession, lake: Path, tmp_path: Path
) -> None:
    """The plan says so, the counters of the scan say so, and every other file is no Parquet."""
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    schema = spark.read.parquet(str(copy)).schema
    for path in files_of(copy):
        if not (f"dt={DAY}" in path.parts and "country=no" in path.parts):
            path.write_bytes(b"not a Parquet file")
    asked = (
        spark.read.schema(schema)
        .parquet(str(copy))
        .where(f"dt = '{DAY}' and country = 'no' and n >= 0")
        .select("n")
    )
    found = sorted(one.n for one in asked.collect())
    assert found == [n for n in range(ROWS) if on_day(n) and country_of(n) == "no"]
    scan = Scan(asked)
    assert scan.line("PartitionFilters") == filters_of(scan, "dt", "country")
    assert DAY in scan.line("PartitionFilters") and "= no)" in scan.line("PartitionFilters")
    assert "GreaterThanOrEqual(n,0)" in scan.line("PushedFilters")
    wanted = files_of(copy, f"dt={DAY}/*/country=no/*.parquet")
    assert scan.files == len(wanted) < len(files_of(copy)) / 10
    assert scan.partitions == len({path.parent for path in wanted})
    with pytest.raises(Exception, match="not a Parquet file"):
        spark.read.schema(schema).parquet(str(copy)).where("n >= 0").count()


def filters_of(scan: Scan, *columns: str) -> str:
    """The partition filters, if they name these columns and no other."""
    text = scan.line("PartitionFilters")
    named = {part.partition("#")[0].split("(")[-1] for part in text.split(",")}
    return text if {name.strip(" [") for name in named} == set(columns) else f"{named}"


def test_only_the_asked_columns_are_read(rows: DataFrame) -> None:
    asked = rows.select("who.home.city", "price", "items.sku").where("hour < 12")
    assert len(asked.collect()) > 0
    scan = Scan(asked)
    assert scan.line("ReadSchema") == (
        "struct<price:double,who:struct<home:struct<city:string>>,items:array<struct<sku:string>>>"
    )


def test_row_groups_are_skipped_by_their_statistics(rows: DataFrame, lake: Path) -> None:
    asked = rows.where("n < 0 or ts > timestamp'2030-01-01'").select("n")
    assert asked.collect() == []
    scan = Scan(asked)
    assert "LessThan(n,0)" in scan.line("PushedFilters")
    assert "GreaterThan(ts," in scan.line("PushedFilters")
    assert (scan.files, scan.rows) == (len(files_of(lake)), 0)


def test_every_codec_is_read(spark: SparkSession, tmp_path: Path) -> None:
    codecs = ("snappy", "zstd", "lz4", "gzip", "none")
    for codec in codecs:
        bodies = [f'{{"codec":"{codec}","pad":"{"ab" * 500}"}}'.encode()] * 100
        write_lake(tmp_path / "lake", {"format": {"type": "json"}, "codec": codec}, bodies)
    found = spark.read.parquet(str(tmp_path / "lake")).groupBy("codec").count().collect()
    assert {one["codec"]: one["count"] for one in found} == dict.fromkeys(codecs, 100)


# -- what is not the lake's rows -------------------------------------------------------------------


def test_nothing_below_rayflume_is_read(rows: DataFrame, lake: Path) -> None:
    """Staged files and dead letters are Parquet inside, and are there."""
    reserved = [path for path in (lake / RESERVED).rglob("*") if path.is_file()]
    assert {path.suffix for path in reserved} == {".json", ".dead", ".staged"}
    read = {one.path for one in rows.selectExpr("_metadata.file_name path").distinct().collect()}
    assert read == {path.name for path in files_of(lake)}
    assert rows.where(f"n >= {ROWS}").count() == 0


def test_markers_of_complete_partitions_are_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    for number in range(2):
        place = tmp_path / f"dt=2026-11-{22 + number}"
        place.mkdir()
        pq.write_table(
            pa.table({"n": [number]}), place / f"part-0123456789abcdef-1-{number}-0.parquet"
        )
        (place / "_SUCCESS").write_text('{"rows": 1}')
        (place / "_SUCCESS.late-0123456789abcdef-1-2").write_text('{"rows": 1}')
    frame = spark.read.parquet(str(tmp_path))
    assert sorted(row.n for row in frame.collect()) == [0, 1]
    assert frame.where("dt = '2026-11-23'").count() == 1


def test_dead_letters_are_read_when_they_are_named(spark: SparkSession, lake: Path) -> None:
    dead = spark.read.parquet(*map(str, (lake / RESERVED / "dead_letters").glob("*.dead")))
    found = dead.selectExpr("cast(body as string) body", "reason", "stream").collect()
    assert [one.body for one in found] == ['{"n":"no number"}'] * 3
    assert all("n" in one.reason and one.stream == "s" for one in found)


# -- schemas that grow -----------------------------------------------------------------------------

GROWING: dict[str, object] = {"format": {"type": "json"}, "partition_by": ["kind=%{kind}"]}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four deliveries. The second brings a column and a field inside a struct, the third a list,
    the fourth a field inside a struct in that list.
    """
    folder: Path = tmp_path_factory.mktemp("lakes") / "grown"
    deliveries = [
        [b'{"n":1,"who":{"id":1}}', b'{"n":2,"who":null}', b'{"n":3,"who":{"id":null}}'],
        [b'{"n":4,"who":{"id":4,"mail":"d@x"},"plan":"pro"}', b'{"n":5,"plan":""}'],
        [b'{"n":6,"items":[{"sku":"a"},{"sku":null}]}'],
        [b'{"n":7,"items":[{"sku":"b","qty":2}],"who":{"mail":"g@x"}}'],
    ]
    for number, bodies in enumerate(deliveries):
        kinds = [{"kind": "ab"[number % 2]}] * len(bodies)
        assert write_lake(folder, GROWING, bodies, kinds).dead == 0
    return folder


GROWN_TYPES = {
    "n": "bigint",
    "who": "struct<id:bigint,mail:string>",
    "plan": "string",
    "items": "array<struct<sku:string,qty:bigint>>",
    "kind": "string",
}


def test_schemas_merge_across_files(spark: SparkSession, grown: Path) -> None:
    merged = spark.read.option("mergeSchema", "true").parquet(str(grown))
    assert dict(merged.dtypes) == GROWN_TYPES
    found = {one.n: plain(one) for one in merged.drop("kind").collect()}
    nothing = {"who": None, "plan": None, "items": None}
    assert found == {
        1: {**nothing, "n": 1, "who": {"id": 1, "mail": None}},
        2: {**nothing, "n": 2},
        3: {**nothing, "n": 3, "who": {"id": None, "mail": None}},
        4: {**nothing, "n": 4, "who": {"id": 4, "mail": "d@x"}, "plan": "pro"},
        5: {**nothing, "n": 5, "plan": ""},
        6: {**nothing, "n": 6, "items": [{"sku": "a", "qty": None}, {"sku": None, "qty": None}]},
        7: {
            **nothing,
            "n": 7,
            "who": {"id": None, "mail": "g@x"},
            "items": [{"sku": "b", "qty": 2}],
        },
    }
    assert [one.n for one in merged.where("plan is null").sort("n").collect()] == [1, 2, 3, 6, 7]
    mails = merged.select("n", "who.mail").where("mail is not null").sort("n").collect()
    assert [(one.n, one.mail) for one in mails] == [(4, "d@x"), (7, "g@x")]


def test_a_field_that_is_new_in_a_struct_leaves_the_struct_of_old_rows_as_it_was(
    spark: SparkSession, grown: Path
) -> None:
    merged = spark.read.option("mergeSchema", "true").parquet(str(grown))
    asked = merged.selectExpr("n", "who.mail is null no_mail", "who is null nobody").sort("n")
    assert [one.n for one in asked.collect() if one.nobody] == [2, 5, 6]


def test_a_schema_that_is_given_spares_the_merge(spark: SparkSession, grown: Path) -> None:
    schema = ", ".join(f"{name} {kind}" for name, kind in GROWN_TYPES.items())
    given = spark.read.schema(schema).parquet(str(grown))
    merged = spark.read.option("mergeSchema", "true").parquet(str(grown))
    assert given.sort("n").collect() == merged.select(given.columns).sort("n").collect()


def test_decimals_that_got_more_digits_are_read_together(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_widened(tmp_path / "lake")
    merged = spark.read.option("mergeSchema", "true").parquet(str(tmp_path / "lake"))
    assert dict(merged.dtypes) == {"n": "bigint", "amount": "decimal(24,2)"}
    assert {one.n: one.amount for one in merged.collect()} == WIDENED
    assert merged.where("amount > 5").count() == 2


def test_a_row_that_spells_a_column_otherwise_does_not_make_the_lake_unreadable(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Spark answered [COLUMN_ALREADY_EXISTS] to every query of such a lake."""
    bodies = [
        b'{"n":1,"url":"a","who":{"id":1}}', b'{"n":2,"URL":"b"}', b'{"n":3,"who":{"ID":3}}',
        b'{"n":4,"kind":5}', b'{"n":5,"a b":1,"c.d":2,"e,f;(g)":3}',
    ]  # fmt: skip
    manifest = write_lake(tmp_path / "lake", GROWING, bodies, [{"kind": "x"}] * 5)
    assert (manifest.written, manifest.dead) == (2, 3)
    found = spark.read.parquet(str(tmp_path / "lake")).sort("n").collect()
    assert [one.n for one in found] == [1, 5]
    assert [found[1][name] for name in ("a b", "c.d", "e,f;(g)", "kind")] == [1, 2, 3, "x"]


# -- the documentation ----------------------------------------------------------------------------

DOC = Path(__file__).parents[2] / "docs" / "lake.md"


def test_the_worked_example_of_the_documentation_runs(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command and every piece of Python in docs/lake.md, in order, as a reader would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```(sh|yaml|python)\n(.*?)^```$", DOC.read_text(), re.M | re.S)
    assert len(blocks) > 10
    for kind, text in blocks:
        if kind == "sh":
            subprocess.run(["bash", "-euc", text], check=True, stdin=subprocess.DEVNULL)
        elif kind == "yaml":
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
        else:
            run_python(text, names)
    assert (names["orders"].count(), names["dead"].count(), names["copied"]) == (3, 1, 4)
    assert [one.price for one in names["day"].collect()] == [3.0]
    assert names["merged"].where("coupon = 'X' and who.phone = '123'").count() == 1
    assert sorted(names["frame"]["order"]) == [2, 3]
    assert names["everything"]["coupon"].dropna().tolist() == ["X"]
    assert names["found"] == [("no", 2, 13.5), ("se", 1, 3.0), (None, 1, 8.25)]
    assert names["table"]["coupon"].drop_nulls().to_list() == ["X"]
    assert names["table"]["order"].sum() == 11


def run_python(text: str, names: dict[str, Any]) -> None:
    script = Path("block.py")
    # The Java process of the session stays in the folder it was started in.
    script.write_text(re.sub(r"""(?<=["'])shop/""", f"{Path.cwd()}/shop/", text))
    names.update(runpy.run_path(str(script), init_globals=names))


# -- a stream, while the writer is killed ----------------------------------------------------------

KILLS, PACE_S, CHUNK = 3, 0.02, 40
LIFE_S, END_S = 60, 120
STREAM_TYPES = "n bigint, ts timestamp, pad string, hour int, kind string"


class Feed(threading.Thread):
    """Appends numbered rows to a few files until told to stop. `rows`: how many there are."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        folder.mkdir(parents=True)
        self._paths = [folder / f"{i}.jsonl" for i in range(3)]
        self._enough = threading.Event()
        self.rows = 0
        self.start()

    def run(self) -> None:
        while not self._enough.wait(PACE_S):
            lines = [self._line(n) for n in range(self.rows, self.rows + CHUNK)]
            with self._paths[self.rows // CHUNK % 3].open("a") as file:
                file.write("".join(lines))
            self.rows += CHUNK

    @staticmethod
    def _line(n: int) -> str:
        ts = 1_700_000_000_000 + n * 1_500
        return f'{{"n":{n},"ts":{ts},"pad":"{"x" * (n % 50)}","sort":"{"ab"[n % 2]}"}}\n'

    def end(self) -> None:
        self._enough.set()
        self.join(30)


def configuration(folder: Path) -> Path:
    """taildir -> file channel -> Parquet, with many small deliveries into partitions that come up
    while it runs.
    """
    lake = {
        "type": "parquet",
        "channel": "wal",
        "path": "lake",
        "format": {
            "type": "json",
            "schema": {"n": "int64", "ts": "timestamp_ms", "pad": "string", "sort": "string"},
        },
        "event_time": "ts",
        "partition_by": ["hour=%H", "kind=%{sort}"],
        "delivery_bytes": "32KiB",
        "roll": {"age": "300ms"},
    }
    conf = {
        "agent": "streamed",
        "guarantee": "exactly_once",
        "state_dir": "state",
        "sources": {"files": {"type": "taildir", "paths": ["in/*.jsonl"], "channels": ["wal"]}},
        "channels": {"wal": {"type": "file", "directory": "state/wal"}},
        "sinks": {"lake": lake},
    }
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(conf))
    return path


def start(conf: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rayflume", "run", str(conf), "--inline", *more]
    with (conf.parent / "agent.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def kill_in_full_swing(conf: Path, moment_s: float) -> None:
    """A life of the agent: until it has published, and a moment more, so that SIGKILL meets it
    anywhere between two deliveries.
    """
    lake, before = conf.parent / "lake", len(files_of(conf.parent / "lake"))
    agent = start(conf)
    try:
        deadline = SystemClock().monotonic_ms() + LIFE_S * 1000
        while len(files_of(lake)) < before + 4:
            assert agent.poll() is None, (conf.parent / "agent.log").read_text()
            assert SystemClock().monotonic_ms() < deadline, "the agent delivers nothing"
            threading.Event().wait(0.05)
        threading.Event().wait(moment_s)
    finally:
        agent.send_signal(signal.SIGKILL)
        assert agent.wait(30) == -signal.SIGKILL


def test_a_stream_counts_every_row_once_while_the_writer_is_killed(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The stream lists the lake again and again without a pause, and fails for a file that is not
    whole or not there any more. A batch query after each kill does the same.
    """
    conf, lake = configuration(tmp_path), tmp_path / "lake"
    lake.mkdir()
    moments = random.Random(5)
    feed = Feed(tmp_path / "in")
    source = spark.readStream.schema(STREAM_TYPES).parquet(str(lake))
    query = source.writeStream.format("memory").queryName("streamed").start()
    try:
        counts = []
        for _ in range(KILLS):
            kill_in_full_swing(conf, moments.uniform(0, 0.5))
            counts.append(spark.read.schema(STREAM_TYPES).parquet(str(lake)).count())
        early = sum(progress.numInputRows for progress in query.recentProgress)
        feed.end()
        last = start(conf, "--until-drained")
        assert last.wait(END_S) == 0, (tmp_path / "agent.log").read_text()
        query.processAllAvailable()
        assert query.exception() is None
        batches = [p for p in query.recentProgress if p.numInputRows]
    finally:
        feed.end()
        query.stop()
    total = "count(*) rows, count(distinct n) ids, min(n) low, max(n) high, sum(n) total"
    seen = spark.sql(f"select {total} from streamed").first()
    wrong = spark.sql("select n from streamed where kind <> if(n % 2 = 0, 'a', 'b')").count()
    assert seen is not None
    assert tuple(seen) == (feed.rows, feed.rows, 0, feed.rows - 1, sum(range(feed.rows)))
    assert wrong == 0
    assert counts == sorted(counts) and counts[0] > 0 and counts[-1] < feed.rows
    assert early > 0 and len(batches) > KILLS, "Spark did not read while rows came"
    assert ds.dataset(files_of(lake)).count_rows() == feed.rows


HADOOP = "org.apache.hadoop.io."
CODECS = ("gzip", "deflate", "bzip2", "snappy", "lz4")
"""Those that Hadoop has in Java; its zstd needs a library of the system."""


def events(count: int) -> list[tuple[int, bytes]]:
    """Times and bodies, most of them short, a few larger than a buffer of Hadoop's codecs."""
    rng = random.Random(6)
    sizes = [rng.choice([0, 1, 127, 128, 200, 255, 256]) for _ in range(count)]
    sizes[7], sizes[count // 2] = 70_000, 400_000
    return [(1_763_820_000_000 + n, rng.randbytes(size // 2).hex().encode())
            for n, size in enumerate(sizes)]  # fmt: skip


def write_events(base: Path, rows: list[tuple[int, bytes]], **options: object) -> str:
    """One file of the sink `hdfs`, written in two pieces; its directory."""
    directory = base / "-".join(map(str, options.values()))
    part = lookup("sink", "hdfs").model_validate({"path": str(directory), **options})
    sink = part.build(Context("a", "out", SystemClock(), Metrics(), base))
    sink.open()
    writer, half = sink.begin("0123456789abcdef-1-1"), len(rows) // 3
    for at, some in ((0, rows[:half]), (half, rows[half:])):
        headers = [{"timestamp": str(ms)} for ms, _ in some]
        extents = (Extent("s", at, at + len(some), len(some)),)
        writer.write(EventBatch.from_events([body for _, body in some], headers, extents), at)
    assert sink.publish(writer.stage()) == []
    sink.close()
    return str(directory)


def test_hadoop_reads_sequence_files(spark: SparkSession, tmp_path: Path) -> None:
    rows = events(1_500)
    kinds = {"writable": ("BytesWritable", (None, *CODECS)), "text": ("Text", (None, "snappy"))}
    for values, (kind, codecs) in kinds.items():
        for codec in codecs:
            place = write_events(
                tmp_path, rows, file_type="SequenceFile", codec=codec, write_format=values
            )
            # Several splits: readers begin in the middle and look for a sync marker.
            read: Any = spark.sparkContext.sequenceFile(
                place, f"{HADOOP}LongWritable", f"{HADOOP}{kind}", minSplits=3
            )
            assert read.getNumPartitions() > 1
            found = [
                (key, value.encode() if isinstance(value, str) else bytes(value))
                for key, value in read.collect()
            ]
            assert sorted(found) == rows, (values, codec)


def test_hadoop_reads_compressed_streams(spark: SparkSession, tmp_path: Path) -> None:
    rows = events(1_500)
    for codec in CODECS:
        place = write_events(tmp_path, rows, file_type="CompressedStream", codec=codec)
        lines = spark.sparkContext.textFile(place).collect()
        assert [line.encode() for line in lines] == [body for _, body in rows], codec
