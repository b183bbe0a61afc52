"""The one place that calls pyarrow.json, and the guards without which it must not be called.

pyarrow.json reads a block as a sequence of JSON values and does not care for line ends, it ends at
a NUL, dies of a bare `null`, and does not check UTF-8. `screen` makes sure that row boundaries
cannot shift and that it cannot crash:

- Every row starts with `{` and ends with `}` (white space aside). `}` white space `{` occurs inside
  no JSON value, and a string cannot hold a raw line end, so no value reaches over the end of a row:
  every row starts a value.
- No row has `}` followed by anything but `,`, `}`, `]` or its end, unless Python's parser says that
  this is inside a string of one whole value. So no row starts a second value, and no bare `null`
  follows.
- No row has a NUL or bytes that are not UTF-8.

What is left is `{...},...`, `{...}}...` and `{...}]...`: the reader notices them one value too
late, and `blame` puts that right. Depth can crash only where types are inferred; `too_deep` guards
that.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from rayflume.batch import body_offsets
from rayflume.formats._rows import EMPTY, NOT_UTF8, Rows
from rayflume.schema import NESTING_MAX
from rayflume.spans import Mask, not_utf8

_AT_END = 2**31 - 1
_SECOND_VALUE = r"\}[\s]*[^\s,}\]]"
_SPACE = " \t\r\n"
_ROW = re.compile(r" in row (\d+)$")
_CONVERSION = re.compile(r"Failed to convert JSON to (\w+), couldn't parse:(.*)", re.DOTALL)
_DECIMAL = re.compile(
    r"(?:Failed to convert JSON to decimal\S+ \d+\): (?P<number>\S+) requires"
    r"|The string '(?P<text>.*)' (?:is not a valid|cannot be represented as) decimal"
    r"|Empty string cannot be converted to decimal)",
    re.DOTALL,
)
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""One without its end reaches to the end of the row. (If it were looked for again behind each
quote inside it, a row of escaped quotes would take hours.)
"""
WITH_NUL = "the row holds a NUL byte, which JSON does not allow"
NO_OBJECT = "the row is not a JSON object: it must be {...}"
BEHIND = "something follows the JSON object in the row; one row holds one object"
_BRACES = np.array([ord("{"), ord("}")], dtype=np.uint8)


class Block:
    """Screened rows, each with a line end behind it, in one buffer."""

    def __init__(self, body: pa.BinaryArray) -> None:
        self.rows = len(body)
        lines = pc.binary_replace_slice(body, start=_AT_END, stop=_AT_END, replacement=b"\n")
        self.offsets = body_offsets(lines)
        self.buffer: pa.Buffer = lines.buffers()[2]

    def part(self, start: int, stop: int) -> pa.Buffer:
        """The bytes of rows `[start, stop)`."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return self.buffer.slice(low, high - low)

    def row(self, index: int) -> bytes:
        return bytes(self.part(index, index + 1).to_pybytes())


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a read failed. `row`: the row it names, counted from the first one read; -1: none."""

    text: str
    row: int = -1
    unexpected: bool = False
    from_null: bool = False
    ended: bool = False
    """Something that begins no value follows one: the reader does not say where."""


def read(block: Block, span: tuple[int, int], schema: pa.Schema, mode: str) -> pa.Table | Problem:
    """Read the rows `[start, stop)`. `mode`: what becomes of fields that `schema` does not name."""
    start, stop = span
    data = block.part(start, stop)
    try:
        table = pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(use_threads=False, block_size=data.size + 64),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=mode),
        )
    except (ValueError, pa.ArrowException) as error:
        return _problem(str(error))
    if table.num_rows != stop - start:
        return Problem(f"{stop - start} rows were read as {table.num_rows} JSON values")
    return table


def _problem(text: str) -> Problem:
    text = text.removeprefix("JSON parse error: ")
    found = _ROW.search(text)
    return Problem(
        text=_ROW.sub("", text),
        row=int(found[1]) if found else -1,
        unexpected=text.startswith("unexpected field"),
        ended=text.startswith("The document is empty"),
        from_null=" changed from null to " in text,
    )


def blame(block: Block, span: tuple[int, int], row: int) -> int:
    """The row at fault for an error that a read of `span` saw at its row `row`: that or the one
    before.
    """
    start, stop = span
    index = start + row
    if index > start and (index >= stop or whole_value(block.row(index - 1))):
        return min(index, stop) - 1
    return index


def whole_value(row: bytes) -> str:
    """What keeps a row from being one JSON value; empty when it is one."""
    try:
        json.loads(row)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return str(error)
    return ""


def plain(text: str) -> str:
    """The reader's words as a user's: which column, and what was expected."""
    found = _CONVERSION.match(text)
    if found:
        return f"{found[2]} is not a valid {found[1]}"
    found = _DECIMAL.match(text)
    if found:
        return f"{(found['number'] or found['text'] or '')[:80]!r} is not a valid decimal"
    if text == BEHIND or text.startswith("The document is empty"):
        return BEHIND
    if not text.startswith("Column(") or ")" not in text:
        return f"not valid JSON: {text}"
    path, _, rest = text.removeprefix("Column(").rpartition(")")
    name = path.strip("/").replace("/", ".") or "the row"
    words = rest.split()
    if words[:2] == ["changed", "from"] and len(words) >= 5:
        wanted = words[2].replace("number_or_string", "decimal")
        return f"column {name}: expected {wanted}, found {words[4]}"
    return f"field {name} is there twice" if "twice" in words else f"column {name}:{rest}"


# -- screening -------------------------------------------------------------------------------------


def screen(rows: Rows) -> None:
    """Take out of `rows` all that must not reach the reader. See the head of this file."""
    rows.drop_tombstones()
    body = rows.body
    if not len(body):
        return
    empty = np.diff(body_offsets(body)) == 0
    reasons = dict.fromkeys(np.flatnonzero(empty).tolist(), EMPTY)
    for found in (
        dict.fromkeys(np.flatnonzero(not_utf8(body)).tolist(), NOT_UTF8),
        dict.fromkeys(np.flatnonzero(_with_nul(body)).tolist(), WITH_NUL),
        dict.fromkeys(np.flatnonzero(_not_object(body)).tolist(), NO_OBJECT),
        _second_values(body),
    ):
        # The first reason counts, and all rows go at once: each time costs a copy of the rest.
        reasons = found | reasons
    rows.drop_each(reasons)


def _values(body: pa.BinaryArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    return np.frombuffer(body.buffers()[2], dtype=np.uint8), body_offsets(body)


def _with_nul(body: pa.BinaryArray) -> Mask:
    values, offsets = _values(body)
    bad = np.zeros(len(body), dtype=np.bool_)
    inside = values[offsets[0] : offsets[-1]]
    if len(inside) and inside.min() == 0:
        places = np.flatnonzero(inside == 0) + offsets[0]
        bad[np.searchsorted(offsets, places, side="right") - 1] = True
    return bad


def _not_object(body: pa.BinaryArray) -> Mask:
    bad = _without_braces(body)
    suspects = np.flatnonzero(bad)
    if len(suspects):
        picked = Rows(body.take(pa.array(suspects))).text()
        trimmed = pc.ascii_trim(picked, characters=_SPACE).cast(pa.binary())
        bad[suspects] = _without_braces(trimmed)
    return bad


def _without_braces(body: pa.BinaryArray) -> Mask:
    values, offsets = _values(body)
    filled = offsets[1:] > offsets[:-1]
    if filled.all():
        first, last = values[offsets[:-1]], values[offsets[1:] - 1]
        return np.asarray((first != _BRACES[0]) | (last != _BRACES[1]))
    bad = ~filled
    places = np.flatnonzero(filled)
    first, last = values[offsets[:-1][places]], values[offsets[1:][places] - 1]
    bad[places] = (first != _BRACES[0]) | (last != _BRACES[1])
    return np.asarray(bad)


def _second_values(body: pa.BinaryArray) -> dict[int, str]:
    """Rows in which something follows a closing brace that is not the rest of a value."""
    found = np.flatnonzero(np.asarray(pc.match_substring_regex(body, _SECOND_VALUE)))
    reasons = {}
    for index, row in zip(found.tolist(), body.take(pa.array(found)).to_pylist(), strict=True):
        if whole_value(row):
            reasons[index] = BEHIND
    return reasons


def too_deep(block: Block, start: int, stop: int) -> list[int]:
    """The rows of `[start, stop)` nested deeper than NESTING_MAX.

    Only rows with so many opening brackets are looked at closely: a bracket inside a string counts
    here, so no row can hide its depth.
    """
    opens = (np.frombuffer(block.part(start, stop), dtype=np.uint8) & 0xDF) == 0x5B
    bounds = block.offsets[start:stop] - block.offsets[start]
    suspects = np.flatnonzero(np.add.reduceat(opens, bounds, dtype=np.int64) > NESTING_MAX)
    return [start + i for i in suspects.tolist() if _depth(block.row(start + i)) > NESTING_MAX]


def _depth(row: bytes) -> int:
    """Levels of a row, brackets inside strings aside."""
    bare = np.frombuffer(_STRINGS.sub(b"", row), dtype=np.uint8) & 0xDF
    steps = (bare == 0x5B).astype(np.int32) - (bare == 0x5D)
    return int(np.cumsum(steps).max(initial=0))
