"""The `schema` option that several formats have."""

from __future__ import annotations

from typing import Annotated

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
    "int64, float32, float64, string, binary, date (ISO), timestamp (ISO 8601 text; UTC where it "
    "names no zone), and timestamp_s, timestamp_ms, timestamp_us (numbers since 1970)."
)
