"""Serializer `avro`: bodies that are Avro data already, as Flume's
`org.apache.flume.sink.hdfs.AvroEventSerializer` writes them.

Flume takes the schema of a file from its first event and would fetch it from any URL that an event
names. Here each schema has files of its own, and nothing is fetched because an event says so (S17).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from rayflume.batch import EventBatch
from rayflume.component import LOCAL_PATH, Component, Context, component, option
from rayflume.errors import OptionError
from rayflume.interfaces import Decoded
from rayflume.serializer import PLAIN, Data, Encoder, Serializer, bodies, framed
from rayflume.serializers._avro import (
    SYNC_INTERVAL_MAX,
    SYNC_INTERVAL_MIN,
    Codec,
    Container,
)
from rayflume.units import ByteSize

LITERAL, URL = "flume.avro.schema.literal", "flume.avro.schema.url"
SCHEMA = ":schema"
_SCHEMAS_MAX = 1000
_KEPT_MAX = 4 * _SCHEMAS_MAX
_TOO_MANY = f"names one schema of more than {_SCHEMAS_MAX} in one batch"
_NO_SCHEMA = f"no Avro schema: neither the header {LITERAL} nor schema_url of the sink"
_NOT_FETCHED = f"the header {URL} names a schema, and nothing is fetched for an event: give it as "
_NOT_FETCHED += f"the header {LITERAL}, or as schema_url of the sink"


@component
class Avro(Component):
    """An Avro container file of bodies that are Avro data already. The schema of an event is that
    of its header `flume.avro.schema.literal`, else that of `schema_url`; what does not fit its
    schema goes to the dead letters. Needs rayflume[avro].
    """

    compression_codec: Codec = option("Compression of the blocks.", default="null")
    sync_interval_bytes: ByteSize = option(
        "A block ends with the record that brings it to so many bytes, as Avro counts them.",
        default=2_048_000,
        ge=SYNC_INTERVAL_MIN,
        le=SYNC_INTERVAL_MAX,
    )
    schema_url: str | None = option(
        "File with the schema of events whose headers name none, on every host where the sink "
        "runs. Events whose header `flume.avro.schema.url` says the same have this schema, too.",
        default=None,
        example="conf/click.avsc",
        json_schema_extra=LOCAL_PATH,
    )

    @field_validator("schema_url")
    @classmethod
    def _local(cls, value: str | None) -> str | None:
        if value is not None and "://" in value.removeprefix("file://"):
            raise ValueError("copy the schema to a file on every host of the sink, and name that")
        return value

    def check(self, context: Context) -> list[str]:
        try:
            self.build(context)
        except OptionError as error:
            return [error.message]
        return []

    def build(self, context: Context) -> Serializer:
        """Raises OptionError for a schema file that is missing or wrong."""
        default = ""
        if self.schema_url is not None:
            path = context.path(self.schema_url.removeprefix("file://").removeprefix("file:"))
            default = _read(path)
        return AvroSerializer(self, default)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OptionError(f"schema_url: {path} cannot be read: {error}") from error
    problem = _problem(text)
    if problem:
        raise OptionError(f"schema_url: {path} {problem}")
    return text


def _problem(text: str) -> str:
    """Why a text is no Avro schema, "" if it is one."""
    try:
        fastavro.parse_schema(json.loads(text))
    except RecursionError:
        return "is no Avro schema: it is nested too deep"
    except Exception as error:  # fastavro raises KeyError and more for what is no schema
        return f"is no Avro schema: {error}"
    return ""


class AvroSerializer:
    """A Serializer: a frame is a body. Column SCHEMA: the hash of its schema. Thread-safe."""

    schema = pa.schema([*PLAIN, pa.field(SCHEMA, pa.string())])
    apart = (SCHEMA,)

    def __init__(self, options: Avro, default: str) -> None:
        self._options = options
        self._default = default
        self._schemas: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def serialize(self, batch: EventBatch) -> Decoded:
        body = bodies(batch)
        literals = batch.header(LITERAL)
        urls = batch.header(URL) if URL in batch.header_names() else None
        if self._default and urls is not None:
            same = pc.fill_null(pc.equal(urls, self._options.schema_url), True)
            literals = pc.if_else(same, pc.fill_null(literals, self._default), literals)
        elif self._default:
            literals = pc.fill_null(literals, self._default)
        encoded = pc.dictionary_encode(literals)
        codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
        reasons: dict[int, str] = {}
        for row in np.flatnonzero(codes < 0).tolist():
            named = urls is not None and urls[row].is_valid
            reasons[row] = _NOT_FETCHED if named else _NO_SCHEMA
        keys = []
        for code, text in enumerate(encoded.dictionary.to_pylist()):
            rows = np.flatnonzero(codes == code)
            problem = _problem(text) if code < _SCHEMAS_MAX else _TOO_MANY
            wrong = dict.fromkeys(rows.tolist(), f"the header {LITERAL} {problem}")
            reasons |= wrong if problem else _misfits(body, rows, text)
            keys.append("" if problem else self._key(text))
        good = np.ones(batch.num_rows, np.bool_)
        good[list(reasons)] = False
        hashes = pa.array(keys, pa.string()).take(encoded.indices)
        table = pa.record_batch([*framed(body, body).columns, hashes], schema=self.schema)
        kept = pa.array(np.flatnonzero(good))
        return Decoded(table.take(kept), kept, tuple(sorted(reasons.items())))

    def _key(self, text: str) -> str:
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        with self._lock:
            self._schemas[key] = text
            self._schemas.move_to_end(key)
            while len(self._schemas) > _KEPT_MAX:
                self._schemas.popitem(last=False)
        return key

    def encoder(self, name: str, ingest_ms: int) -> Encoder:
        return _ByFirst(self, name)

    def container(self, key: str, name: str) -> Container:
        """The file for a schema."""
        with self._lock:
            text = self._schemas[key]
        options = self._options
        return Container(text, options.compression_codec, options.sync_interval_bytes, name)


class _ByFirst:
    """An Encoder whose schema is that of its rows."""

    def __init__(self, serializer: AvroSerializer, name: str) -> None:
        self._serializer = serializer
        self._name = name
        self._file: Container | None = None

    @property
    def held(self) -> int:
        return 0 if self._file is None else self._file.held

    def encode(self, rows: pa.RecordBatch) -> Sequence[Data]:
        if self._file is None:
            self._file = self._serializer.container(rows.column(SCHEMA)[0].as_py(), self._name)
        return self._file.encode(rows)

    def end(self) -> Sequence[Data]:
        return [] if self._file is None else self._file.end()


def _misfits(body: pa.BinaryArray, rows: npt.NDArray[np.int64], schema: str) -> dict[int, str]:
    """Rows whose bodies are not data of a schema, with why. All are read as one block first, and
    singly only when that fails: a file is worth nothing if one block of it cannot be read.
    """
    parsed = fastavro.parse_schema(json.loads(schema))
    if _readable(body.take(pa.array(rows)), parsed):
        return {}
    found = {}
    for row in rows.tolist():
        if not _readable(body.slice(row, 1), parsed):
            found[row] = "the body is no data of its Avro schema"
    return found


def _readable(body: pa.BinaryArray, schema: object) -> bool:
    data = io.BytesIO(b"".join(body.to_pylist()))
    try:
        for _ in range(len(body)):
            fastavro.schemaless_reader(data, schema)  # type: ignore[arg-type]
    except Exception:  # whatever a wrong body makes of the reader
        return False
    return not data.read(1)
