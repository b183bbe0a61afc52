"""Named groups of a regular expression as columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from rayflume.component import Component, Context, component, nearest, option
from rayflume.errors import OptionError
from rayflume.formats._columns import finish, flat, null_where, wanted
from rayflume.formats._options import (
    SCHEMA_DOC,
    UNREADABLE_DOC,
    DeclaredSchema,
    UnreadableText,
)
from rayflume.formats._rows import Rows, replaced
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import Column, arrow_schema, parse_declared

NO_MATCH = "the regular expression does not match the row"


@component
class Regex(Component):
    """The named groups of a regular expression, one column each."""

    regex: str = option(
        "Regular expression in RE2's syntax with named groups, as in (?P<name>...); each group is "
        "a column. It may match anywhere in the row: begin it with ^ and end it with $ to match "
        "the whole. RE2 has no look-around and no back references.",
        example=r"^(?P<level>[A-Z]+) (?P<code>\d+) (?P<message>.*)$",
    )
    fields: DeclaredSchema | None = option(
        SCHEMA_DOC + " Groups it does not name are strings. A group that matched nothing is null, "
        "but the empty string in a string column.",
        default=None,
        alias="schema",
        example={"code": "int32"},
    )
    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

    @field_validator("regex")
    @classmethod
    def _regex_is_re2(cls, pattern: str) -> str:
        problem = _problem(pattern)
        if problem:
            raise ValueError(problem)
        return pattern

    def build(self, context: Context) -> RegexFormat:
        """Raises OptionError where the schema names a group that the expression lacks."""
        groups = group_names(self.regex)
        declared = (
            {c.name: c for c in flat(parse_declared(self.fields), "regex")} if self.fields else {}
        )
        for name in declared:
            if name not in groups:
                raise OptionError(
                    f"schema: the regular expression has no group {name!r}{nearest(name, groups)}"
                )
        columns = tuple(declared.get(name, Column(name, pa.string())) for name in groups)
        return RegexFormat(self.regex, columns, replace=self.errors == "replace")


def _problem(pattern: str) -> str:
    """What is wrong with a pattern, or ""."""
    try:
        found = pc.extract_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        return f"not a regular expression of RE2: {error}"
    names = [field.name for field in found.type]
    if not names:
        return "no named group: write (?P<name>...) for each column"
    twice = {name for name in names if names.count(name) > 1}
    return f"the group {sorted(twice)[0]!r} is there twice" if twice else ""


def group_names(pattern: str) -> list[str]:
    """Names of the groups of a valid pattern, in order."""
    return [field.name for field in pc.extract_regex(pa.array([""]), pattern).type]


class RegexFormat:
    """Rows: as many out as in, good or bad, in order."""

    def __init__(self, pattern: str, columns: tuple[Column, ...], *, replace: bool = False) -> None:
        self._pattern = pattern
        self._replace = replace
        self._columns = columns

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
        rows.drop_unreadable(empty=False)
        found = pc.extract_regex(rows.text(), self._pattern)
        if found.null_count:
            rows.drop(np.asarray(found.is_null()), NO_MATCH)
            found = found.drop_null()
        arrays = dict(zip((field.name for field in found.type), found.flatten(), strict=True))
        columns = wanted(self._columns, schema)
        for column in columns:
            if column.name in arrays and column.type != pa.string():
                arrays[column.name] = null_where(arrays[column.name], "")
        return finish(rows, arrays, columns)
