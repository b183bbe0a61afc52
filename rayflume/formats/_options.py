"""The `schema` option that several formats have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from rayflume.errors import ConfigError
from rayflume.schema import parse_declared


def _checked(declared: dict[str, object]) -> dict[str, object]:
    try:
        parse_declared(declared)
    except ConfigError as error:
        raise ValueError(error.message) from None
    return declared


DeclaredSchema = Annotated[dict[str, object], AfterValidator(_checked)]
"""A mapping of column names to types, checked when the configuration is read."""

SCHEMA_DOC = (
    "Columns and their types, in order, as a mapping of names to types. Types: bool, int32, "
    "int64, float32, float64, decimal(p,s) (p digits, at most 38, s of them behind the point), "
    "string, binary, date (ISO), timestamp (ISO 8601 text; UTC where it names no zone), and "
    "timestamp_s, timestamp_ms, timestamp_us, timestamp_ns (numbers since 1970). Times are kept to "
    "the microsecond; what is finer is cut off."
)
UnreadableText = Literal["dead_letter", "replace"]
UNREADABLE_DOC = (
    "What becomes of a row that is not valid UTF-8: `dead_letter` sends it to the dead letters, "
    "`replace` writes U+FFFD in place of each bad sequence."
)
