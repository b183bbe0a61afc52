"""What events become in the files of the sinks `hdfs` and `file_roll`. Flume user guide, section
Event Serializers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import flag, integer, one_of, size

if TYPE_CHECKING:
    from rayflume.interfaces import Json

_SYNC_MIN, _SYNC_MAX = 32, 2**30
_SERIALIZERS = "org.apache.flume.serialization."


def _finish_avro(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    url = str(options.get("schema_url") or "")
    if "://" in url.removeprefix("file://"):
        # No error: a SequenceFile has no serializer. Where there is one the plan is refused.
        yield Remark(
            f"{url} is not fetched: copy the schema to a file on every host of the sink, and name "
            "that",
            Severity.WARNING,
            "schemaURL",
        )
    yield Remark(
        "the schema of an event is its header flume.avro.schema.literal, else schemaURL; events "
        "with only flume.avro.schema.url go to the dead letters, for nothing is fetched because "
        "an event says so",
        Severity.NOTE,
    )


def _sync(value: str) -> Json:
    """Bytes between the marks of an Avro file. Raises ValueError for what Avro does not take."""
    if not _SYNC_MIN <= integer(value) <= _SYNC_MAX:
        raise ValueError(f"{value!r} is out of range: Avro takes {_SYNC_MIN} to {_SYNC_MAX}")
    return size(value)


_AVRO_FILE = (
    Prop("syncIntervalBytes", "2048000", "sync_interval_bytes", _sync),
    Prop(
        "compressionCodec",
        "null",
        "compression_codec",
        one_of({n: n for n in ("null", "deflate", "snappy", "bzip2", "zstandard", "xz")}),
        lenient=True,
        why="a codec that Avro has not is ignored, as in Flume",
    ),
)

PARTS = (
    FlumePart(
        kind="sequencefile_serializer",
        types=("Writable",),
        java_class="org.apache.flume.sink.hdfs.HDFSWritableSerializer$Builder",
        type="writable",
    ),
    FlumePart(
        kind="sequencefile_serializer",
        types=("Text",),
        java_class="org.apache.flume.sink.hdfs.HDFSTextSerializer$Builder",
        type="text",
    ),
    FlumePart(
        kind="event_serializer",
        types=("text",),
        java_class=f"{_SERIALIZERS}BodyTextEventSerializer$Builder",
        type="text",
        props=(Prop("appendNewline", "true", "append_newline", flag),),
    ),
    FlumePart(
        kind="event_serializer",
        types=("header_and_text",),
        java_class=f"{_SERIALIZERS}HeaderAndBodyTextEventSerializer$Builder",
        type="header_and_text",
        props=(Prop("appendNewline", "true", "append_newline", flag),),
    ),
    FlumePart(
        kind="event_serializer",
        types=("avro_event",),
        java_class=f"{_SERIALIZERS}FlumeEventAvroEventSerializer$Builder",
        type="avro_event",
        props=_AVRO_FILE,
    ),
    FlumePart(
        kind="event_serializer",
        types=(),
        java_class="org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
        type="avro",
        props=(*_AVRO_FILE, Prop("schemaURL", option="schema_url")),
        finish=_finish_avro,
    ),
)
