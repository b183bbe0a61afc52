"""The sinks `hdfs` and `file_roll`. Flume user guide, sections HDFS Sink and File Roll Sink."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rayflume.escapes import uses_time, without_unknown
from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import (
    flag,
    integer,
    millis,
    one_of,
    seconds,
    size,
    text,
    unless,
    whole,
)
from rayflume.flume.zones import known, zone

if TYPE_CHECKING:
    from rayflume.interfaces import Json

_CODECS = {
    "gzip": "gzip", "deflate": "deflate", "default": "deflate", "bzip2": "bzip2",
    "snappy": "snappy", "lz4": "lz4", "zstd": "zstd", "zstandard": "zstd",
}  # fmt: skip
_FILE_TYPES = ("SequenceFile", "DataStream", "CompressedStream", "Parquet")
_WRITE_FORMATS = {
    "Writable": "writable",
    "Text": "text",
    "org.apache.flume.sink.hdfs.HDFSWritableSerializer$Builder": "writable",
    "org.apache.flume.sink.hdfs.HDFSTextSerializer$Builder": "text",
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_ONE_SLASH = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)(?=/(?!/))")
_ROUND_MAX = {"second": 60, "minute": 60, "hour": 24}
_UNSEEN = (
    "what is being written lies in _rayflume of the base, which readers skip; files appear whole, "
    "under their last name"
)
_BATCH = "rows are taken in batches of bytes and committed with their file; remove it"


def _codec(value: str) -> Json:
    """Hadoop's name of a codec: its class, or that without `Codec`, in any case."""
    name = value.rpartition(".")[2].lower().removesuffix("codec")
    if name in ("lzo", "lzop"):
        raise ValueError(f"{value!r} needs a library under the GPL: take lz4, snappy or zstd")
    if name not in _CODECS:
        raise ValueError(f"{value!r} is no codec of rayflume; it has {', '.join(sorted(_CODECS))}")
    return _CODECS[name]


def _write_format(value: str) -> Json:
    if value not in _WRITE_FORMATS:
        raise ValueError(f"{value!r} is a Java class of your own; write Text or Writable")
    return _WRITE_FORMATS[value]


def _not_below_0(value: str) -> str:
    return "0" if whole(value) < 0 else value


def _count(value: str) -> Json:
    return whole(_not_below_0(value))


def _open_files(value: str) -> Json:
    """Without a positive number Flume closes each file as soon as the next one opens."""
    return max(1, integer(value))


def _call(value: str) -> Json:
    """0 and less: no end of a call. Here every call has one, the default."""
    return None if whole(value) <= 0 else millis(value)


def _seconds(value: str) -> Json:
    return seconds(_not_below_0(value))


def _size(value: str) -> Json:
    return size(_not_below_0(value))


def _zone(value: str) -> Json:
    return zone(value)


def _finish_hdfs(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    yield from _escapes(options)
    yield from _rounding(options, given)
    yield from _times(options, given)
    yield from _file_type(options, given)
    yield from _place(options, given)
    yield from _never_ending(options)


def _escapes(options: dict[str, Json]) -> Iterator[Remark]:
    for name, option in (("hdfs.path", "path"), ("hdfs.filePrefix", "file_prefix")):
        kept, unknown = without_unknown(str(options.get(option, "")))
        if unknown:
            options[option] = kept
            gone = " ".join(unknown)
            yield Remark(f"{gone} is no escape: Flume writes nothing for it, and so it is left out")
            yield Remark(f"write %% for a percent sign in {name}", Severity.NOTE, name)


def _rounding(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    found = options.pop("round", None)
    rounding = found if isinstance(found, dict) else {}
    unit, value = str(rounding.get("unit", "second")).lower(), rounding.get("value", 1)
    if not rounding.get("on"):
        for name in ("hdfs.roundValue", "hdfs.roundUnit"):
            if name in given:
                yield Remark("has no effect without hdfs.round = true", name=name)
    elif unit not in _ROUND_MAX:
        yield Remark(
            f"{unit!r} is none of second, minute, hour: times are not rounded, as in Flume",
            name="hdfs.roundUnit",
        )
    elif not isinstance(value, int) or not 1 <= value <= _ROUND_MAX[unit]:
        yield Remark(
            f"write 1 to {_ROUND_MAX[unit]} for {unit}s", Severity.ERROR, "hdfs.roundValue"
        )
    else:
        options["round"] = f"{value}{ {'second': 's', 'minute': 'min', 'hour': 'h'}[unit] }"


def _times(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    pattern = f"{options.get('path', '')}/{options.get('file_prefix', '')}"
    if not uses_time(pattern):
        options.pop("time_zone", None)
        return
    asked = given.get("hdfs.timeZone")
    if asked is None:
        here = f"the times in paths are those of the zone {options.get('time_zone')}, this host's"
        yield Remark(here, Severity.NOTE, "hdfs.timeZone")
    elif not known(asked):
        yield Remark(
            f"{asked!r} is no time zone: Java takes GMT, and so does rayflume; write a name such "
            "as Europe/Oslo",
            name="hdfs.timeZone",
        )


def _never_ending(options: dict[str, Json]) -> Iterator[Remark]:
    rules = _mapping(options.get("roll"))
    if not any(str(value).strip("msB0") for value in rules.values()):
        yield Remark(
            "no rule ends a file, so none is seen before a delivery has 1 GiB or the channel is "
            "full: set hdfs.rollInterval",
        )


def _file_type(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    kind, codec = options.get("file_type"), options.get("codec")
    if options.get("codec") is None:
        options.pop("codec", None)
    if kind == "SequenceFile":
        options.pop("serializer", None)
        if "serializer" in given:
            yield Remark("a SequenceFile has none, as in Flume; remove it", name="serializer")
    else:
        options.pop("write_format", None)
    if kind == "Parquet":
        options.pop("serializer", None)
    if kind == "DataStream" and codec:
        yield Remark(
            "DataStream is not compressed: write hdfs.fileType = CompressedStream, or remove "
            "hdfs.codeC (Flume drops the sink)",
            Severity.ERROR,
            "hdfs.codeC",
        )
    if kind == "CompressedStream" and not codec:
        yield Remark(
            "CompressedStream needs hdfs.codeC, such as gzip (Flume drops the sink)",
            Severity.ERROR,
            "hdfs.codeC",
        )


def _place(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    path = str(options.get("path", ""))
    if path and not _SCHEME.match(path):
        yield from _without_scheme(options, path)
    else:  # Hadoop takes hdfs:/path and hdfs:///path for the same
        options["path"] = _ONE_SLASH.sub(r"\1//", path)
    storage = options.get("storage")
    if not isinstance(storage, dict):
        return
    if "hdfs.callTimeout" not in given:
        storage.pop("call_timeout", None)
    if not str(options.get("path")).startswith(("hdfs:", "viewfs:")):
        for name in ("hdfs.kerberosPrincipal", "hdfs.kerberosKeytab", "hdfs.callTimeout"):
            if name in given:
                yield Remark("has no meaning for this path, which is not on HDFS", name=name)
        for option in ("kerberos_principal", "kerberos_keytab", "call_timeout"):
            storage.pop(option, None)
    if not storage:
        options.pop("storage", None)


def _without_scheme(options: dict[str, Json], path: str) -> Iterator[Remark]:
    """Flume's path is on the file system that Hadoop's configuration names."""
    default = default_file_system()
    if default and path.startswith("/"):
        hdfs = default.startswith("hdfs:")
        options["path"] = f"hdfs://{path}" if hdfs else default.rstrip("/") + path
        yield Remark(
            f"has no scheme: it is on {default}, the fs.defaultFS of this host's core-site.xml",
            Severity.NOTE,
            "hdfs.path",
        )
        return
    yield Remark(
        "has no scheme: Flume takes the fs.defaultFS of Hadoop's core-site.xml, and there is none "
        "here (HADOOP_CONF_DIR, HADOOP_HOME), so it is a local directory; write "
        "hdfs://name-node:port/path",
        name="hdfs.path",
    )


def default_file_system() -> str:
    """The fs.defaultFS of Hadoop's configuration on this host; "" if there is none."""
    folder = os.environ.get("HADOOP_CONF_DIR")
    if not folder and os.environ.get("HADOOP_HOME"):
        folder = f"{os.environ['HADOOP_HOME']}/etc/hadoop"
    if not folder:
        return ""
    try:
        root = ElementTree.parse(Path(folder) / "core-site.xml").getroot()
    except (OSError, ElementTree.ParseError):
        return ""
    found = {p.findtext("name", "").strip(): p.findtext("value", "") for p in root.iter("property")}
    return (found.get("fs.defaultFS") or found.get("fs.default.name") or "").strip()


def _finish_roll(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    if options.get("path_manager") != "rolltime":
        options.pop("time_zone", None)
    else:
        options["time_zone"] = zone("local time")
    # Flume's files end by time alone.
    options["roll"] = {"bytes": "0B", **_mapping(options.get("roll"))}
    yield Remark(
        "files are named <prefix><time>-<delivery>-<n>, so that no two have one name, and are not "
        "made when there are no events",
        Severity.NOTE,
    )


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


_NAMES = (
    Prop("prefix", "", "prefix"),
    Prop("extension", "", "extension"),
)
_HDFS = (
    Prop("hdfs.path", option="path", required=True),
    Prop("hdfs.filePrefix", "FlumeData", "file_prefix"),
    Prop("hdfs.fileSuffix", option="file_suffix"),
    Prop("hdfs.inUsePrefix", "", why=_UNSEEN, severity=Severity.NOTE),
    Prop("hdfs.inUseSuffix", ".tmp", why=_UNSEEN, severity=Severity.NOTE),
    Prop("hdfs.emptyInUseSuffix", "false", why=_UNSEEN, severity=Severity.NOTE),
    Prop(
        "hdfs.rollInterval",
        "30",
        "roll.age",
        _seconds,
        why="all files of a delivery end together, so many seconds after its first event",
    ),
    Prop("hdfs.rollSize", "1024", "roll.bytes", _size),
    Prop("hdfs.rollCount", "10", "roll.rows", _count),
    Prop(
        "hdfs.idleTimeout",
        "0",
        "roll.idle",
        _seconds,
        why="counts from the last event of all files, not of one",
    ),
    Prop("hdfs.batchSize", "100", why=_BATCH, severity=Severity.NOTE),
    Prop("hdfs.codeC", option="codec", read=unless("none", _codec)),
    Prop(
        "hdfs.fileType",
        "SequenceFile",
        "file_type",
        one_of({name: name for name in _FILE_TYPES}),
    ),
    Prop("hdfs.maxOpenFiles", "5000", "max_open_files", _open_files),
    Prop(
        "hdfs.minBlockReplicas",
        severity=Severity.NOTE,
        why="HDFS copies blocks again by itself; files do not end because a copy is missing",
    ),
    Prop("hdfs.writeFormat", "Writable", "write_format", _write_format),
    Prop(
        "hdfs.threadsPoolSize",
        "10",
        severity=Severity.NOTE,
        why="rayflume chooses its threads; remove it",
    ),
    Prop(
        "hdfs.rollTimerPoolSize",
        "1",
        severity=Severity.NOTE,
        why="no thread waits for files to end; remove it",
    ),
    Prop("hdfs.kerberosPrincipal", option="storage.kerberos_principal"),
    Prop("hdfs.kerberosKeytab", option="storage.kerberos_keytab"),
    Prop(
        "hdfs.proxyUser",
        severity=Severity.ERROR,
        why="rayflume writes as itself: run it as that user, set HADOOP_USER_NAME without "
        "Kerberos, or give hdfs.kerberosPrincipal and hdfs.kerberosKeytab of that user",
    ),
    Prop("hdfs.round", "false", "round.on", flag, why="the three of them are one option, `round`"),
    Prop("hdfs.roundValue", "1", "round.value", whole),
    Prop("hdfs.roundUnit", "second", "round.unit", text),
    Prop("hdfs.timeZone", "local time", "time_zone", _zone),
    Prop("hdfs.useLocalTimeStamp", "false", "use_local_time_stamp", flag),
    Prop(
        "hdfs.closeTries",
        "0",
        severity=Severity.NOTE,
        why="what fails is tried until it is done, and no event is lost or doubled; remove it",
    ),
    Prop(
        "hdfs.retryInterval",
        "180",
        severity=Severity.NOTE,
        why="what fails is tried again with growing pauses; remove it",
    ),
    Prop("hdfs.callTimeout", "30000", "storage.call_timeout", _call),
    Prop(
        "hdfs.useRawLocalFileSystem",
        "false",
        severity=Severity.NOTE,
        why="local files have no checksum file beside them; remove it",
    ),
    Prop(
        "writeFormat.*",
        why="belongs to a Java class of your own that makes keys and values; rayflume has "
        "Writable and Text",
    ),
    Prop("serializer", "TEXT", "serializer", nested="event_serializer"),
)
_ROLL = (
    Prop("sink.directory", option="directory", required=True),
    Prop(
        "sink.pathManager",
        "DEFAULT",
        "path_manager",
        one_of(
            {
                "DEFAULT": "default",
                "ROLLTIME": "rolltime",
                "org.apache.flume.formatter.output.DefaultPathManager$Builder": "default",
                "org.apache.flume.formatter.output.RollTimePathManager$Builder": "rolltime",
            }
        ),
    ),
    Prop("sink.pathManager.extension", "", "extension"),
    Prop("sink.pathManager.prefix", "", "prefix"),
    Prop("sink.rollInterval", "30", "roll.age", _seconds),
    Prop("sink.serializer", "TEXT", "serializer", nested="event_serializer"),
    Prop("sink.batchSize", "100", why=_BATCH, severity=Severity.NOTE),
)

PARTS = (
    FlumePart(
        kind="sink",
        types=("hdfs",),
        java_class="org.apache.flume.sink.hdfs.HDFSEventSink",
        type="hdfs",
        props=_HDFS,
        batch="hdfs.batchSize",
        finish=_finish_hdfs,
    ),
    FlumePart(
        kind="sink",
        types=("file_roll",),
        java_class="org.apache.flume.sink.RollingFileSink",
        type="file_roll",
        props=_ROLL,
        batch="sink.batchSize",
        finish=_finish_roll,
    ),
    FlumePart(
        kind="path_manager",
        types=("DEFAULT",),
        java_class="org.apache.flume.formatter.output.DefaultPathManager$Builder",
        type="default",
        props=_NAMES,
    ),
    FlumePart(
        kind="path_manager",
        types=("ROLLTIME",),
        java_class="org.apache.flume.formatter.output.RollTimePathManager$Builder",
        type="rolltime",
        props=_NAMES,
    ),
)
