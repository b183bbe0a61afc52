"""Sources of files and of made-up rows: spooldir with its deserializers, TAILDIR, exec, seq and
StressSource. Flume user guide, sections Spooling Directory Source, Event Deserializers, Taildir
Source, Exec Source, Sequence Generator Source and Stress Source.

A batch size is the most rows of a put. It is kept where a file gives one; Flume's defaults (1 to
100) are not, because a put costs the same for one row as for ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import (
    charset,
    flag,
    integer,
    millis,
    one_of,
    pattern,
    positive,
    size,
    whole,
    words,
)

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_NOTE = Severity.NOTE
_BACKOFF_WHY = (
    "rayflume looks for new rows every 100 ms, which costs next to nothing and keeps rows fresh; "
    "remove it"
)
_LONG_MAX = str(2**63 - 1)
_BLOB_BYTES_MAX = 512 * 2**20
_BATCH_ROWS_MAX = 10_000_000


def _own_batch_size(options: dict[str, Json], given: Mapping[str, str]) -> None:
    if "batchSize" not in given:
        options.pop("batch_size", None)


def _bound(value: str) -> Json:
    """A number of events; negative, or Java's largest number: no end."""
    number = whole(value)
    return None if number < 0 or str(number) == _LONG_MAX else number


def _total(value: str) -> Json:
    """How many events seq gives; below 0 it gives none."""
    return _bound(str(max(0, whole(value))))


def _whatever_is_positive(value: str) -> int:
    """Turns of a file; beyond a billion they are none."""
    return max(1, min(whole(value), 10**9))


def _path_with_pattern(value: str) -> str:
    """A path whose last element is a pattern. Raises ValueError."""
    pattern(PurePosixPath(value).name)
    return value


# -- spooldir


def _blob_bytes(value: str) -> int:
    return min(positive(value), _BLOB_BYTES_MAX)


def _spooldir(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """What Flume does and YAML has otherwise: empty files are events, returns are of the line.

    An old name of the line length is copied to the deserializer, as Flume does.
    """
    _own_batch_size(options, given)
    options["empty_file_row"] = True
    deserializer = options.get("deserializer")
    if isinstance(deserializer, dict) and deserializer.get("type") != "line":
        options.pop("decode_error_policy", None)
        if "decodeErrorPolicy" in given:
            text = "is not used: only the deserializer LINE decodes anything"
            yield Remark(text, _NOTE, "decodeErrorPolicy")
        if whole(given.get("deserializer.maxBlobLength", "0")) > _BLOB_BYTES_MAX:
            yield Remark(
                "a row has at most 512 MiB, for it is in memory as a whole; a longer file gives "
                "several rows, as in Flume",
                Severity.WARNING,
                "deserializer.maxBlobLength",
            )
        return
    options["strip_carriage_return"] = False
    old = given.get("bufferMaxLineLength")
    if old is not None and "deserializer.maxLineLength" not in given:
        line = deserializer if isinstance(deserializer, dict) else {"type": "line"}
        options["deserializer"] = {**line, "max_line_length": positive(old)}


_SPOOLDIR = FlumePart(
    kind="source",
    types=("spooldir",),
    java_class="org.apache.flume.source.SpoolDirectorySource",
    type="spooldir",
    batch="batchSize",
    finish=_spooldir,
    props=(
        Prop("spoolDir", option="spool_dir", required=True),
        Prop("fileSuffix", ".COMPLETED", "file_suffix"),
        Prop(
            "deletePolicy", "never", "delete_policy",
            one_of({"never": "never", "immediate": "immediate"}),
        ),
        Prop("fileHeader", "false", "file_header", flag),
        Prop("fileHeaderKey", "file", "file_header_key"),
        Prop("basenameHeader", "false", "basename_header", flag),
        Prop("basenameHeaderKey", "basename", "basename_header_key"),
        Prop("includePattern", "^.*$", "include_pattern", pattern),
        Prop("ignorePattern", "^$", "ignore_pattern", pattern),
        Prop(
            "trackerDir", ".flumespool", "tracker_dir",
            why="markers of finished files; a file that Flume was reading goes on where it stood, "
            "and from then on the channel knows how far files are read",
        ),
        Prop(
            "trackingPolicy", "rename", "tracking_policy",
            one_of({"rename": "rename", "tracker_dir": "tracker_dir"}),
        ),
        Prop(
            "consumeOrder", "oldest", "consume_order",
            one_of({"oldest": "oldest", "youngest": "youngest", "random": "random"}),
        ),
        Prop("pollDelay", "500", "poll_delay", millis),
        Prop("recursiveDirectorySearch", "false", "recursive_directory_search", flag),
        Prop(
            "maxBackoff", "4000", severity=_NOTE,
            why="a source waits for room in the channel at most about a second between two tries, "
            "and loses nothing; remove it",
        ),
        Prop("batchSize", "100", "batch_size", positive),
        Prop("inputCharset", "UTF-8", "input_charset", charset),
        Prop(
            "decodeErrorPolicy", "FAIL", "decode_error_policy",
            one_of({"FAIL": "fail", "REPLACE": "replace", "IGNORE": "ignore"}),
        ),
        Prop("deserializer", "LINE", "deserializer", nested="event_deserializer"),
        Prop(
            "bufferMaxLines", severity=_NOTE,
            why="Flume ignores it too; remove it",
        ),
        Prop(
            "bufferMaxLineLength", "5000", severity=_NOTE,
            why="as an option of its own: with the deserializer LINE it counts as "
            "deserializer.maxLineLength, which is what to write",
        ),
    ),
)  # fmt: skip

_DESERIALIZERS = (
    FlumePart(
        kind="event_deserializer",
        types=("LINE",),
        java_class="org.apache.flume.serialization.LineDeserializer$Builder",
        type="line",
        props=(
            Prop("maxLineLength", "2048", "max_line_length", positive),
            Prop("outputCharset", "UTF-8", "output_charset", charset),
        ),
    ),
    FlumePart(
        kind="event_deserializer",
        types=("AVRO",),
        java_class="org.apache.flume.serialization.AvroEventDeserializer$Builder",
        type="avro",
        props=(
            Prop(
                "schemaType", "HASH", "schema_type",
                one_of({"HASH": "hash", "LITERAL": "literal"}),
            ),
        ),
    ),
    FlumePart(
        kind="event_deserializer",
        types=(),
        java_class="org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder",
        type="blob",
        props=(Prop("maxBlobLength", "100000000", "max_blob_length", _blob_bytes),),
    ),
)  # fmt: skip


# -- TAILDIR


def _no_group_yet(value: str) -> Json:
    """The list of groups: it says which of those that follow count, which is seen at the end."""
    return {}


def _taildir(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """Groups that are not listed do not count; a last line without its end waits for idleTimeout.

    Java has no limit to a line; here it is the largest that a batch can hold.
    """
    _own_batch_size(options, given)
    listed = words(given.get("filegroups", ""))
    assert isinstance(listed, list)
    groups, headers = options.get("filegroups"), options.get("headers")
    wanted: dict[str, Json] = {}
    missing = []
    for name in map(str, listed):
        if isinstance(groups, dict) and name in groups:
            wanted[name] = groups[name]
        else:
            missing.append(name)
    for name in missing:
        yield Remark(
            f"the file group {name!r} is listed, but there is no filegroups.{name}",
            Severity.WARNING if wanted else Severity.ERROR,
            "filegroups",
        )
    for name in groups if isinstance(groups, dict) else ():
        if name not in wanted:
            yield Remark(
                f"the file group {name!r} is not in `filegroups`, so its files are not read",
                Severity.WARNING,
                f"filegroups.{name}",
            )
    options["filegroups"] = wanted
    if isinstance(headers, dict):
        options["headers"] = {name: value for name, value in headers.items() if name in wanted}
    if "maxBatchCount" not in given:
        options.pop("max_batch_count", None)  # no bound lets one busy file starve all others
    options["unterminated_timeout"] = options.get("idle_timeout", "2min")
    options["max_line_bytes"] = "512MiB"


_TAILDIR = FlumePart(
    kind="source",
    types=("TAILDIR",),
    java_class="org.apache.flume.source.taildir.TaildirSource",
    type="taildir",
    batch="batchSize",
    finish=_taildir,
    props=(
        Prop("filegroups", option="filegroups", read=_no_group_yet, required=True),
        Prop(
            "filegroups.<group>", option="filegroups.<group>", read=_path_with_pattern,
            required=True,
        ),
        Prop(
            "positionFile", "~/.flume/taildir_position.json", "position_file",
            why="read once, to go on where Flume stood; from then on the channel knows how far "
            "files are read, and the file is not written",
        ),
        Prop("headers.<group>.<headerKey>", option="headers.<group>.<headerKey>"),
        Prop("byteOffsetHeader", "false", "byte_offset_header", flag),
        Prop("skipToEnd", "false", "skip_to_end", flag),
        Prop("idleTimeout", "120000", "idle_timeout", millis),
        Prop(
            "writePosInterval", "3000", severity=_NOTE,
            why="positions are in the channel, with the rows, and never late; remove it",
        ),
        Prop("batchSize", "100", "batch_size", positive),
        Prop("maxBatchCount", _LONG_MAX, "max_batch_count", _whatever_is_positive),
        Prop("backoffSleepIncrement", "1000", severity=_NOTE, why=_BACKOFF_WHY),
        Prop("maxBackoffSleep", "5000", severity=_NOTE, why=_BACKOFF_WHY),
        Prop(
            "cachePatternMatching", "true", severity=_NOTE,
            why="directories are listed once a second, and less often if that takes long; remove "
            "it, or set `scan_interval` in YAML",
        ),
        Prop("fileHeader", "false", "file_header", flag),
        Prop("fileHeaderKey", "file", "file_header_key"),
    ),
)  # fmt: skip


# -- exec, seq, stress


def _exec(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    _own_batch_size(options, given)
    options["dangerously_allow_command"] = True
    yield Remark(
        "the command runs with the rights of the agent; what it wrote and no channel has yet is "
        "lost when the agent dies (TAILDIR follows files without loss)",
        _NOTE,
        "command",
    )


def _counter(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """A put of more than ten million rows is two."""
    _own_batch_size(options, given)
    rows = options.get("batch_size")
    if isinstance(rows, int):
        options["batch_size"] = min(rows, _BATCH_ROWS_MAX)
    return ()


def _row_bytes(value: str) -> Json:
    return size(str(integer(value)))


def _rate(value: str) -> int:
    """Rows a second; without a positive number as many as go."""
    return max(0, integer(value))


_EXEC = FlumePart(
    kind="source",
    types=("exec",),
    java_class="org.apache.flume.source.ExecSource",
    type="exec",
    batch="batchSize",
    finish=_exec,
    props=(
        Prop("command", option="command", required=True),
        Prop("shell", option="shell"),
        Prop("restartThrottle", "10000", "restart_throttle", millis),
        Prop("restart", "false", "restart", flag),
        Prop("logStdErr", "false", "log_std_err", flag),
        Prop("batchSize", "20", "batch_size", positive),
        Prop("batchTimeout", "3000", "batch_timeout", millis),
        Prop("charset", "UTF-8", "charset", charset),
    ),
)

_SEQ = FlumePart(
    kind="source",
    types=("seq",),
    java_class="org.apache.flume.source.SequenceGeneratorSource",
    type="seq",
    batch="batchSize",
    finish=_counter,
    props=(
        Prop("batchSize", "1", "batch_size", positive),
        Prop("totalEvents", _LONG_MAX, "total_events", _total),
        Prop("backoffSleepIncrement", "1000", severity=_NOTE, why=_BACKOFF_WHY),
        Prop("maxBackoffSleep", "5000", severity=_NOTE, why=_BACKOFF_WHY),
    ),
)

_STRESS = FlumePart(
    kind="source",
    types=(),
    java_class="org.apache.flume.source.StressSource",
    type="stress",
    batch="batchSize",
    finish=_counter,
    props=(
        Prop("size", "500", "size", _row_bytes),
        Prop(
            "maxTotalEvents", "-1", "max_total_events", _bound,
            why="a row that finds no room is offered again, so none fails",
        ),
        Prop("maxSuccessfulEvents", "-1", "max_successful_events", _bound),
        Prop("batchSize", "1", "batch_size", positive),
        Prop("maxEventsPerSecond", "0", "max_events_per_second", _rate),
        Prop("backoffSleepIncrement", "1000", severity=_NOTE, why=_BACKOFF_WHY),
        Prop("maxBackoffSleep", "5000", severity=_NOTE, why=_BACKOFF_WHY),
    ),
)  # fmt: skip

PARTS = (_SPOOLDIR, *_DESERIALIZERS, _TAILDIR, _EXEC, _SEQ, _STRESS)
