"""Records of delimited values, one a row, to typed columns.

pyarrow.csv splits the joined rows into fields; types are given afterwards, so a value that does not
fit is found without parsing twice. A row reaches the parser only if no quoted field can stay open
at its end and it holds no line end, so rows cannot run together.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from pydantic import field_validator

from rayflume.batch import body_bytes
from rayflume.component import Component, Context, component, option
from rayflume.errors import OptionError
from rayflume.formats._columns import finish, flat, wanted
from rayflume.formats._options import (
    SCHEMA_DOC,
    UNREADABLE_DOC,
    DeclaredSchema,
    UnreadableText,
)
from rayflume.formats._rows import Rows, replaced
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import arrow_schema, parse_declared

_AT_END = 2**31 - 1
LINE_END = "the row holds a line end; one row is one record"
QUOTES = "a quoted value of the row does not end, or something follows its closing quote"


@component
class Csv(Component):
    """Records of delimited values, one per event, without a header line."""

    fields: DeclaredSchema = option(
        SCHEMA_DOC + " The order is that of the values in a record.",
        alias="schema",
        example={"user_id": "int64", "url": "string", "ts": "timestamp_ms"},
    )
    delimiter: str = option(
        "The character between two values.", default=",", example=";", min_length=1, max_length=1
    )
    quote: str = option(
        "The character around a value that holds the delimiter; doubled inside it. Empty: values "
        "are never quoted.",
        default='"',
        max_length=1,
    )
    null_values: list[str] = option(
        "Unquoted values that mean null.", factory=lambda: [""], example=["", "NULL"]
    )
    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_plain_character(cls, value: str) -> str:
        if not value.isascii() or value in ("\n", "\r", "\0"):
            raise ValueError(f"{value!r} must be one ASCII character and no line end")
        return value

    def build(self, context: Context) -> CsvFormat:
        """Raises OptionError where delimiter and quote are the same."""
        if self.delimiter == self.quote:
            raise OptionError(f"delimiter and quote are both {self.quote!r}; make them differ")
        return CsvFormat(self)


class CsvFormat:
    """Rows: as many out as in, good or bad, in order."""

    def __init__(self, options: Csv) -> None:
        self._columns = flat(parse_declared(options.fields), "csv")
        self._delimiter = options.delimiter
        self._quote = options.quote
        self._replace = options.errors == "replace"
        names = [column.name for column in self._columns]
        self._convert = pacsv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(names, pa.string()),
            null_values=list(options.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._names = names
        self._record = _record_pattern(options.delimiter, options.quote)

    @property
    def declared(self) -> pa.Schema:
        return arrow_schema(self._columns)

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        rows = Rows(replaced(body) if self._replace else body)
        rows.drop_unreadable()
        if len(rows.body):
            self._screen(rows)
        columns = wanted(self._columns, schema)
        table = self._parse(rows) if len(rows.body) else None
        if table is None:
            return finish(rows, {}, columns)
        arrays = {
            name: pa.concat_arrays(chunks.chunks) if chunks.num_chunks != 1 else chunks.chunk(0)
            for name, chunks in zip(table.column_names, table.columns, strict=True)
        }
        return finish(rows, arrays, columns)

    def _screen(self, rows: Rows) -> None:
        text = rows.text()
        if pc.any(pc.match_substring(text, "\r")).as_py():
            text = pc.ascii_rtrim(text, characters="\r")
            rows.body = text.cast(pa.binary())
        rows.drop(np.asarray(pc.match_substring_regex(text, r"[\r\n]")), LINE_END)
        if self._quote and len(rows.body):
            text = rows.text()
            quoted = np.flatnonzero(np.asarray(pc.match_substring(text, self._quote)))
            whole = pc.match_substring_regex(text.take(pa.array(quoted)), self._record)
            bad = np.zeros(len(text), dtype=np.bool_)
            bad[quoted[~np.asarray(whole, dtype=np.bool_)]] = True
            rows.drop(bad, QUOTES)

    def _parse(self, rows: Rows) -> pa.Table | None:
        """The values as text; rows with a wrong number of them are dropped."""
        wrong: dict[int, str] = {}

        def note(row: pacsv.InvalidRow) -> str:
            wrong[row.number - 1] = (
                f"{row.actual_columns} values in the row, {row.expected_columns} are wanted"
            )
            return "skip"

        size = body_bytes(rows.body) + len(rows.body)
        lines = pc.binary_replace_slice(rows.body, start=_AT_END, stop=_AT_END, replacement=b"\n")
        table = pacsv.read_csv(
            pa.BufferReader(lines.buffers()[2].slice(0, size)),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=size + 64, column_names=self._names
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=self._quote or False,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=self._convert,
        )
        rows.drop_each(wrong)
        return table if len(rows.body) else None


def _record_pattern(delimiter: str, quote: str) -> str:
    """RE2 for a record in which every quoted value ends."""
    if not quote:
        return ""
    q, d = re.escape(quote), re.escape(delimiter)
    value = f"(?:{q}(?:[^{q}]|{q}{q})*{q}|[^{q}{d}][^{d}]*)?"
    return f"(?s)^{value}(?:{d}{value})*$"
