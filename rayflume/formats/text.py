"""Lines of text as they are: one string column over the same buffers."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from rayflume.component import Component, Context, component, option
from rayflume.formats._columns import finish, wanted
from rayflume.formats._rows import NO_BODY, Rows, not_utf8
from rayflume.interfaces import Decoded
from rayflume.schema import Column


@component
class Text(Component):
    """Each event's body as one string column."""

    column: str = option("Name of the column.", default="body", example="line", min_length=1)
    errors: Literal["dead_letter", "replace"] = option(
        "What becomes of a row that is not valid UTF-8: `dead_letter` sends it to the dead "
        "letters, `replace` writes U+FFFD in place of each bad sequence.",
        default="dead_letter",
    )

    def build(self, context: Context) -> TextFormat:
        return TextFormat(self.column, replace=self.errors == "replace")


class TextFormat:
    """Rows: as many out as in, good or bad, in order. Valid rows are not copied."""

    def __init__(self, column: str = "body", *, replace: bool = False) -> None:
        self._columns = (Column(column, pa.string()),)
        self._replace = replace

    @property
    def declared(self) -> pa.Schema:
        return pa.schema([(self._columns[0].name, pa.string())])

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def decode(self, body: pa.BinaryArray, schema: pa.Schema | None) -> Decoded:
        if self._replace and len(body):
            body = _replaced(body)
        rows = Rows(body)
        if body.null_count:
            rows.drop(np.asarray(body.is_null()), NO_BODY)
        rows.drop_unreadable(empty=False)
        columns = wanted(self._columns, schema)
        return finish(rows, {self._columns[0].name: rows.text()}, columns)


def _replaced(body: pa.BinaryArray) -> pa.BinaryArray:
    bad = not_utf8(body)
    if not bad.any():
        return body
    fixed = [
        row.decode(errors="replace").encode() for row in body.filter(pa.array(bad)).to_pylist()
    ]
    every = pa.concat_arrays([body, pa.array(fixed, pa.binary())])
    places = np.arange(len(body))
    places[bad] = len(body) + np.arange(len(fixed))
    return every.take(pa.array(places))
