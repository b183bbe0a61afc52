"""Avro records to columns, the schema given or in the body.

fastavro reads record by record: Avro has no columns in it, and no library makes them from bodies
that stand alone. Types are given afterwards, for all rows together.
"""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, cast

import fastavro
import numpy as np
import pyarrow as pa
from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form
from pydantic import AfterValidator, model_validator

from rayflume.avro_files import NotAvro, decompressed, read_block, read_header
from rayflume.batch import body_offsets
from rayflume.component import LOCAL_PATH, Component, Context, component, option
from rayflume.errors import ConfigError, OptionError
from rayflume.formats._avro_types import (
    Json,
    columns_and_raw,
    parsed,
    without_logical_types,
)
from rayflume.formats._columns import finish, fit_all, wanted
from rayflume.formats._lake_types import Unfit
from rayflume.formats._options import UNREADABLE_DOC, UnreadableText
from rayflume.formats._rows import NOT_UTF8, Rows
from rayflume.formats._tables import TableFormat
from rayflume.formats._unpacked import Budget
from rayflume.interfaces import Contract, Decoded, Format
from rayflume.schema import arrow_schema

if TYPE_CHECKING:
    from fastavro.types import Schema

Framing: TypeAlias = "Literal['none', 'single_object', 'confluent', 'container']"
_TOGETHER_BYTES = 2**20
_SINGLE_OBJECT = b"\xc3\x01"
_CONFLUENT = b"\x00"
_EXAMPLE = {
    "type": "record",
    "name": "Click",
    "fields": [{"name": "user_id", "type": "long"}, {"name": "url", "type": ["null", "string"]}],
}
BEHIND = "something follows the record in the body"
FRAMED_OTHERWISE = "the body does not begin as the framing says, with the id of the given schema"


def _checked(value: dict[str, object] | str | None) -> dict[str, object] | str | None:
    if value is not None:
        try:
            _Reading(parsed(value) if isinstance(value, str) else _as_json(value), "strict")
        except ConfigError as error:
            raise ValueError(error.message) from None
    return value


def _as_json(value: object) -> Json:
    """A schema that was given as YAML."""
    return cast("Json", value)


def _as_schema(value: Json) -> Schema:
    """A schema as fastavro's types have it."""
    return cast("Schema", value)


@component
class Avro(Component):
    """Avro records, one per event, to columns: a record is a struct, a map a list of structs of
    `key` and `value`, an enum a string. Needs rayflume[avro].
    """

    avro_schema: Annotated[dict[str, object] | str | None, AfterValidator(_checked)] = option(
        "The Avro schema that the bodies were written with, as a mapping or as JSON text.",
        default=None,
        alias="schema",
        example=_EXAMPLE,
    )
    schema_file: str | None = option(
        "File with that schema, instead of `schema`, on every host where the sink runs.",
        default=None,
        example="click.avsc",
        json_schema_extra=LOCAL_PATH,
    )
    framing: Framing = option(
        "What stands before the record. `none`: nothing. `single_object`: Avro's single-object "
        "encoding. `confluent`: a zero byte and the id of the schema in a registry. `container`: "
        "the body is an Avro file of one record, with its own schema.",
        default="none",
    )
    schema_id: int | None = option(
        "The id that `confluent` bodies of this schema have; others go to the dead letters.",
        default=None,
        ge=0,
        lt=2**32,
        example=7,
    )
    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

    @model_validator(mode="after")
    def _goes_together(self) -> Avro:
        given = (self.avro_schema is not None) + (self.schema_file is not None)
        if self.framing == "container" and given:
            raise ValueError("a container has its own schema: remove `schema` and `schema_file`")
        if self.framing != "container" and given != 1:
            raise ValueError("name the schema: either `schema` or `schema_file`")
        if (self.framing == "confluent") != (self.schema_id is not None):
            raise ValueError("`schema_id` goes with `framing: confluent`, and is needed there")
        return self

    def build(self, context: Context) -> Format:
        """Raises OptionError for a schema file that is missing or wrong."""
        unicode = "replace" if self.errors == "replace" else "strict"
        if self.framing == "container":
            return TableFormat(lambda data, budget: _read_container(data, budget, unicode))
        given = self.avro_schema
        if self.schema_file is not None:
            given = _text_of(context.path(self.schema_file))
        try:
            schema = parsed(given) if isinstance(given, str) else _as_json(given)
            reading = _Reading(schema, unicode)
        except ConfigError as error:
            raise OptionError(f"schema: {error.message}") from None
        return AvroFormat(reading, self._prefix(schema))

    def _prefix(self, schema: Json) -> bytes:
        if self.framing == "single_object":
            canonical = to_parsing_canonical_form(_as_schema(schema))
            return _SINGLE_OBJECT + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
        if self.framing == "confluent" and self.schema_id is not None:
            return _CONFLUENT + self.schema_id.to_bytes(4)
        return b""


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"schema_file: cannot read {path}: {error}") from None


class _Reading:
    """One schema: how to read a record of it, and the columns it makes.

    `unicode`: "strict", or "replace" for U+FFFD in place of what is not UTF-8. Raises ConfigError.
    """

    def __init__(self, schema: Json, unicode: str) -> None:
        self.columns, self.raw = columns_and_raw(schema)
        self._unicode = unicode
        try:
            self._plain = fastavro.parse_schema(_as_schema(without_logical_types(schema)))
        except (SchemaParseException, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"not an Avro schema: {error}") from None

    def record(self, data: bytes) -> object:
        """One record. Raises Unfit."""
        file = io.BytesIO(data)
        try:
            found = fastavro.schemaless_reader(
                file, self._plain, None, handle_unicode_errors=self._unicode
            )
        except UnicodeDecodeError:
            raise Unfit(NOT_UTF8) from None
        except Exception as error:  # whatever fastavro makes of bytes that are no record
            reason = str(error) or "it ends too early"
            raise Unfit(f"not a record of the Avro schema: {reason}") from None
        if file.tell() != len(data):
            raise Unfit(BEHIND)
        return found

    def arrays(self, records: list[object]) -> tuple[dict[str, pa.Array], dict[int, str]]:
        """The columns of records, and why some of them do not fit; those have any values there."""
        raw, reasons = self._raw(records)
        flat = dict(zip((field.name for field in self.raw), raw.flatten(), strict=True))
        done, wrong = fit_all(flat, self.columns, len(records))
        return {c.name: a for c, a in zip(self.columns, done, strict=True)}, wrong | reasons

    def _raw(self, records: list[object]) -> tuple[pa.StructArray, dict[int, str]]:
        """Records whose numbers are larger than their types are found by halving."""
        reasons: dict[int, str] = {}
        parts: list[pa.StructArray] = []
        todo = [(0, len(records))]
        while todo:
            start, stop = todo.pop()
            try:
                parts.append(pa.array(records[start:stop], self.raw))
            except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
                if stop - start > 1:
                    middle = (start + stop) // 2
                    todo += [(middle, stop), (start, middle)]
                else:
                    reasons[start] = f"not a record of the Avro schema: {error}"
                    parts.append(pa.nulls(1, self.raw))
        return pa.concat_arrays(parts), reasons


def spans_of(body: pa.BinaryArray) -> list[tuple[int, int]]:
    """Rows that are read together: one byte may be an object of 200, so not all are at once."""
    if not len(body):
        return []
    offsets = body_offsets(body).astype(np.int64)
    steps = (offsets[:-1] - offsets[0]) // _TOGETHER_BYTES
    starts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist()]
    return list(pairwise([*starts, len(body)]))


class AvroFormat:
    """Rows: as many out as in, good or bad, in order. `prefix`: what bodies begin with."""

    def __init__(self, reading: _Reading, prefix: bytes = b"") -> None:
        self._reading = reading
        self._prefix = prefix

    @property
    def declared(self) -> pa.Schema:
        return arrow_schema(self._reading.columns)

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        rows = Rows(body)
        rows.drop_tombstones()
        reasons: dict[int, str] = {}
        parts = [self._part(rows.body, start, stop, reasons) for start, stop in spans_of(rows.body)]
        rows.drop_each(reasons)
        names = [column.name for column in self._reading.columns] if parts else []
        arrays = {name: pa.concat_arrays([part[name] for part in parts]) for name in names}
        return finish(rows, arrays, wanted(self._reading.columns, schema))

    def _part(
        self, body: pa.BinaryArray, start: int, stop: int, reasons: dict[int, str]
    ) -> dict[str, pa.Array]:
        """The columns of the good ones of some rows; of the others, why they are not."""
        records: list[object] = []
        places: list[int] = []
        for place, data in enumerate(body.slice(start, stop - start).to_pylist(), start):
            try:
                records.append(self._reading.record(self._unframed(data)))
                places.append(place)
            except Unfit as error:
                reasons[place] = str(error)
        arrays, wrong = self._reading.arrays(records)
        if not wrong:
            return arrays
        reasons |= {places[place]: reason for place, reason in wrong.items()}
        kept = pa.array([place not in wrong for place in range(len(records))])
        return {name: array.filter(kept) for name, array in arrays.items()}

    def _unframed(self, data: bytes) -> bytes:
        if not data.startswith(self._prefix):
            raise Unfit(FRAMED_OTHERWISE)
        return data[len(self._prefix) :]


def _read_container(data: pa.Buffer, budget: Budget, unicode: str) -> pa.Table:
    """The one record of an Avro file. Raises Unfit."""
    try:
        schema, record = _only_record(data.to_pybytes())
        budget.take(len(record), data.size)
        reading = _reading_of(schema, unicode)
    except (ConfigError, NotAvro) as error:
        raise Unfit(f"not an Avro file that makes a row: {error}") from None
    except RecursionError:
        raise Unfit("the Avro schema is nested too deeply") from None
    arrays, wrong = reading.arrays([reading.record(record)])
    if wrong:
        raise Unfit(wrong[0])
    return pa.table(arrays)


def _only_record(data: bytes) -> tuple[str, bytes]:
    """Schema and bytes of the one record of an Avro file. Raises NotAvro, Unfit."""
    header = read_header(data, len(data))
    place, count, record = header.end, 0, b""
    while place < len(data):
        block = read_block(data, header, place, len(data))
        place, count = block.end, count + block.count
        if block.count == 1 == count:
            record = decompressed(header, block)
    if count != 1:
        raise Unfit(f"the body holds {count} records: one event is one row")
    return header.schema, record


@lru_cache(maxsize=64)
def _reading_of(text: str, unicode: str) -> _Reading:
    return _Reading(parsed(text), unicode)
