"""Flume's names of the sinks hdfs and file_roll and their serializers: what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rayflume.component import lookup
from rayflume.flume import names, zones
from rayflume.flume.names import FlumePart, Prop, Remark, Severity

if TYPE_CHECKING:
    from rayflume.interfaces import Json

HDFS = "hdfs://nn/flume/%Y"


def part(kind: str, name: str) -> FlumePart:
    found = names.lookup(kind, name)
    assert found is not None
    return found


def put(options: dict[str, Json], path: tuple[str, ...], value: Json) -> None:
    for key in path[:-1]:
        inner = options.setdefault(key, {})
        assert isinstance(inner, dict)
        options = inner
    options[path[-1]] = value


def translated(
    kind: str, name: str, given: Mapping[str, str]
) -> tuple[dict[str, Json], list[Remark]]:
    """The options of a part with these properties, as the plan is made of them."""
    found, options = part(kind, name), dict[str, "Json"]()
    for prop in found.props:
        text = given.get(prop.name, prop.default)
        if prop.option and text is not None and not prop.nested:
            put(options, prop.path({}), prop.read(text))
        elif prop.nested and prop.name in given:
            options[prop.option] = {"type": part(prop.nested, given[prop.name]).type}
    remarks = list(found.finish(options, given)) if found.finish else []
    return options, remarks


def hdfs(**given: str) -> tuple[dict[str, Json], list[Remark]]:
    named = {f"hdfs.{name}": text for name, text in given.items()}
    options, remarks = translated("sink", "hdfs", {"hdfs.path": HDFS, **named})
    if not any(remark.severity is Severity.ERROR for remark in remarks):
        lookup("sink", "hdfs").model_validate(options)
    return options, remarks


def errors(remarks: list[Remark]) -> list[str]:
    return [remark.text for remark in remarks if remark.severity is Severity.ERROR]


def test_flumes_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Oslo")
    options, _ = hdfs()
    assert options == {
        "path": HDFS,
        "file_prefix": "FlumeData",
        "roll": {"age": "30s", "bytes": "1KiB", "rows": 10, "idle": "0ms"},
        "file_type": "SequenceFile",
        "write_format": "writable",
        "max_open_files": 5000,
        "time_zone": "Europe/Oslo",
        "use_local_time_stamp": False,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"round": "true", "roundValue": "10", "roundUnit": "minute"}, "10min"),
        ({"round": "true"}, "1s"),
        ({"round": "TRUE", "roundValue": "24", "roundUnit": "HOUR"}, "24h"),
        ({"round": "true", "roundUnit": "day"}, None),
        ({"roundValue": "10", "roundUnit": "minute"}, None),
    ],
)
def test_rounding_is_one_option(given: dict[str, str], expected: str | None) -> None:
    options, remarks = hdfs(**given)
    assert options.get("round") == expected
    assert errors(remarks) == []
    if expected is None:
        assert any(remark.name.startswith("hdfs.round") for remark in remarks)


@pytest.mark.parametrize(("value", "unit"), [("0", "hour"), ("25", "hour"), ("61", "minute")])
def test_rounding_out_of_range_drops_the_sink(value: str, unit: str) -> None:
    [error] = errors(hdfs(round="true", roundValue=value, roundUnit=unit)[1])
    assert "write 1 to" in error


@pytest.mark.parametrize(
    ("java", "name"),
    [
        ("gzip", "gzip"), ("GzipCodec", "gzip"), ("BZIP2", "bzip2"), ("SnappyCodec", "snappy"),
        ("org.apache.hadoop.io.compress.GzipCodec", "gzip"), ("DefaultCodec", "deflate"),
        ("org.apache.hadoop.io.compress.Lz4Codec", "lz4"), ("ZStandardCodec", "zstd"),
        ("none", None), ("NONE", None),
    ],
)  # fmt: skip
def test_codecs_by_hadoops_names(java: str, name: str | None) -> None:
    options, _ = hdfs(codeC=java)
    assert options.get("codec") == name


@pytest.mark.parametrize("java", ["lzo", "lzop", "com.hadoop.compression.lzo.LzopCodec", "rar"])
def test_codecs_that_are_not_there_say_what_is(java: str) -> None:
    prop = part("sink", "hdfs").find("hdfs.codeC")
    assert prop is not None
    with pytest.raises(ValueError, match="snappy"):
        prop.read(java)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"fileType": "datastream", "codeC": "gzip"}, "DataStream is not compressed"),
        ({"fileType": "CompressedStream"}, "needs hdfs.codeC"),
        ({"fileType": "CompressedStream", "codeC": "none"}, "needs hdfs.codeC"),
        ({"fileType": "CompressedStream", "codeC": "gzip"}, ""),
        ({"fileType": "Parquet", "rollSize": "0", "rollCount": "0"}, ""),
        ({"codeC": "snappy", "writeFormat": "Text"}, ""),
    ],
)
def test_file_types_and_codecs(given: dict[str, str], error: str) -> None:
    found = errors(hdfs(**given)[1])
    assert (error in found[0] if found else error == "") and len(found) <= 1


def test_negative_numbers_switch_rules_off_as_in_flume() -> None:
    options, _ = hdfs(rollInterval="-1", rollSize="-1", rollCount="-1", idleTimeout="0")
    assert options["roll"] == {"age": "0ms", "bytes": "0B", "rows": 0, "idle": "0ms"}


def test_files_that_nothing_ends_are_told() -> None:
    off = {"rollInterval": "0", "rollSize": "0", "rollCount": "0"}
    for given, told in (
        (off, True),
        ({**off, "idleTimeout": "60"}, False),
        ({**off, "rollCount": "100"}, False),
        ({**off, "rollSize": "1"}, False),
        ({}, False),
    ):
        assert any("no rule ends a file" in r.text for r in hdfs(**given)[1]) is told


def test_an_escape_that_flume_has_not_is_left_out_and_said() -> None:
    options, remarks = hdfs(path="hdfs://nn/a%q/%Y", filePrefix="x%_")
    assert (options["path"], options["file_prefix"]) == ("hdfs://nn/a/%Y", "x")
    said = [remark.text for remark in remarks]
    assert any("%q is no escape" in text for text in said)
    assert any("%_ is no escape" in text for text in said)


def test_a_path_without_scheme_is_where_hadoop_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    options, remarks = hdfs(path="/flume/%Y")
    assert options["path"] == "/flume/%Y"
    assert any("has no scheme" in r.text and r.severity is Severity.WARNING for r in remarks)
    for default, path in (
        ("hdfs://nn:8020", "hdfs:///flume/%Y"),
        ("s3a://bucket/", "s3a://bucket/flume/%Y"),
    ):
        (tmp_path / "core-site.xml").write_text(
            "<configuration><property><name>fs.defaultFS</name>"
            f"<value>{default}</value></property></configuration>"
        )
        monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
        options, remarks = hdfs(path="/flume/%Y")
        assert options["path"] == path
        assert any(default in r.text and r.severity is Severity.NOTE for r in remarks)


@pytest.mark.parametrize("damaged", ["", "<configuration>", "<a/>"])
def test_hadoops_configuration_may_say_nothing(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "core-site.xml").write_text(damaged)
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert hdfs(path="/flume/%Y")[0]["path"] == "/flume/%Y"


def test_kerberos_is_handed_to_the_storage_and_only_to_hdfs() -> None:
    login = {"kerberosPrincipal": "f@EXAMPLE", "kerberosKeytab": "/k"}
    options, _ = hdfs(**login, callTimeout="60000")
    assert options["storage"] == {
        "kerberos_principal": "f@EXAMPLE", "kerberos_keytab": "/k", "call_timeout": "1min",
    }  # fmt: skip
    assert hdfs(path="hdfs:/flume/%Y")[0]["path"] == "hdfs:///flume/%Y"
    options, remarks = hdfs(path="file:/data/%Y", **login)
    assert "storage" not in options
    assert options["path"] == "file:///data/%Y"
    assert sum("not on HDFS" in remark.text for remark in remarks) == 2


@pytest.mark.parametrize(
    ("java", "name"),
    [
        ("Europe/Oslo", "Europe/Oslo"), ("PST", "America/Los_Angeles"), ("UTC", "UTC"),
        ("GMT", "UTC"), ("GMT+8", "Etc/GMT-8"), ("GMT-03:00", "Etc/GMT+3"), ("GMT+0", "UTC"),
        ("CTT", "Asia/Shanghai"), ("GMT+05:30", "UTC"), ("Nowhere", "UTC"), ("../etc", "UTC"),
    ],
)  # fmt: skip
def test_javas_zones(java: str, name: str) -> None:
    assert zones.zone(java) == name
    assert zones.known(java) == (name != "UTC" or java in ("UTC", "GMT", "GMT+0"))


def test_a_zone_that_java_does_not_know_is_greenwich_and_said() -> None:
    options, remarks = hdfs(timeZone="Oslo")
    assert options["time_zone"] == "UTC"
    assert any("no time zone" in remark.text for remark in remarks)


def test_the_zone_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, name in ((":Asia/Tokyo", "Asia/Tokyo"), ("Asia/Tokyo", "Asia/Tokyo")):
        monkeypatch.setenv("TZ", text)
        assert zones.zone(zones.LOCAL) == name
    monkeypatch.setenv("TZ", "EST5EDT4,M3.2.0,M11.1.0")
    assert zones.zone(zones.LOCAL)


def test_file_roll() -> None:
    given = {
        "sink.directory": "/var/out", "sink.pathManager": "rolltime",
        "sink.pathManager.extension": "log", "sink.rollInterval": "0",
        "sink.serializer": "HEADER_AND_TEXT",
    }  # fmt: skip
    options, _ = translated("sink", "file_roll", given)
    assert options == {
        "directory": "/var/out", "path_manager": "rolltime", "extension": "log", "prefix": "",
        "roll": {"age": "0ms", "bytes": "0B"}, "serializer": {"type": "header_and_text"},
        "time_zone": zones.local_zone(),
    }  # fmt: skip
    lookup("sink", "file_roll").model_validate(options)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("TEXT", {"appendNewline": "false"}, {"append_newline": False}),
        ("header_and_text", {}, {"append_newline": True}),
        (
            "avro_event",
            {"compressionCodec": "snappy"},
            {"compression_codec": "snappy", "sync_interval_bytes": "2000KiB"},
        ),
        (
            "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
            {"schemaURL": "file:///x.avsc"},
            {
                "compression_codec": "null",
                "sync_interval_bytes": "2000KiB",
                "schema_url": "file:///x.avsc",
            },
        ),
    ],
)
def test_serializers(name: str, given: dict[str, str], expected: dict[str, Json]) -> None:
    options, remarks = translated("event_serializer", name, given)
    assert options == expected
    assert errors(remarks) == []
    lookup("serializer", part("event_serializer", name).type).model_validate(options)


def test_a_schema_on_the_network_is_told_with_what_to_do() -> None:
    name = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder"
    _, remarks = translated("event_serializer", name, {"schemaURL": "hdfs://nn/x.avsc"})
    assert any("copy the schema to a file" in remark.text for remark in remarks)
    assert errors(remarks) == []  # a SequenceFile ignores it; otherwise the serializer refuses it


@pytest.mark.parametrize("name", ["hdfs.proxyUser", "hdfs.minBlockReplicas", "hdfs.batchSize"])
def test_what_is_not_honoured_says_why(name: str) -> None:
    prop: Prop | None = part("sink", "hdfs").find(name)
    assert prop is not None and prop.why and not prop.option
