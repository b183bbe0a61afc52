"""Lines of text as they are: one string column over the same buffers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rayflume.component import Component, Context, component, option
from rayflume.formats._columns import finish, wanted
from rayflume.formats._options import UNREADABLE_DOC, UnreadableText
from rayflume.formats._rows import NO_BODY, Rows, replaced
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import Column


@component
class Text(Component):
    """Each event's body as one string column."""

    column: str = option("Name of the column.", default="body", example="line", min_length=1)
    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

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

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        if self._replace and len(body):
            body = replaced(body)
        rows = Rows(body)
        if body.null_count:
            rows.drop(np.asarray(body.is_null()), NO_BODY)
        rows.drop_unreadable(empty=False)
        columns = wanted(self._columns, schema)
        return finish(rows, {self._columns[0].name: rows.text()}, columns)
