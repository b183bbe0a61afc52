"""The careful way through a block that the fast read refused: find the bad rows and the new fields.

Reads go from the front. Each stops at a row that does not fit, which is noted and stepped over, or
at a field that is not known, which is looked up by inferring types in a small window. Integers are
read as doubles here, so a read never fails for a number; which doubles are no integers is found
out later.

Bounds: types are inferred over at most WINDOW_BYTES at a time, because a row per new field costs
rows x fields cells. Where bad rows are dense, Python's parser goes over the rest once instead of a
read per bad row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from rayflume.formats._json_read import BEHIND, Block, Problem, blame, plain, read, too_deep
from rayflume.interfaces import Contract
from rayflume.schema import FIELDS_MAX, NESTING_MAX, count_fields, merge, prune

WINDOW_BYTES = 16 * 1024
_DENSE_ROWS, _DENSE_SHARE = 16, 0.03
_TOO_MANY = f"a field of the row would be more than the {FIELDS_MAX:,} a schema may have"
NOT_NAMED = "field {} is not in the schema of the lake, and the contract is freeze"
_UNFIT = "Column() does not fit"
_DECIMAL = re.compile(r"[-+]?(?=[0-9.])[0-9]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?$")
_TOO_DEEP = f"the row is nested deeper than {NESTING_MAX} levels"


class Scan:
    """One pass over a block. After `run`: `bad` rows with reasons, `known` types of all fields
    seen.

    `known` has null types where no value was seen, and doubles for all numbers. `judged`: bad rows
    are dense, Python's parser has looked for all of them, and the pass is to be made again without.
    """

    def __init__(
        self, block: Block, known: pa.Schema, contract: Contract, *, judge: bool = True
    ) -> None:
        self.block = block
        self.known = known
        self.bad: dict[int, str] = {}
        self.judged = False
        self._contract = contract
        self._may_judge = judge
        self._window = block.rows
        """Rows of the next read: all, but few behind a new field, and then more again."""

    def run(self, *, suspect: bool = False) -> None:
        """Go over all rows. Ends, because each step takes a row, learns a field or reads less.

        `suspect`: most rows are bad, so Python's parser has the first look.
        """
        if suspect:
            self._judge(0)
        start, mode = 0, "ignore" if self._contract is Contract.IGNORE else "error"
        evolve = self._contract is Contract.EVOLVE
        while start < self.block.rows and not self.judged:
            span = start, min(self.block.rows, start + max(1, self._window))
            found = read(self.block, span, self.known, mode)
            if not isinstance(found, Problem):
                self._window *= 2
                start = span[1]
            elif evolve and (found.unexpected or found.from_null):
                start = self._learn(*span)
            elif found.row >= 0:
                at = blame(self.block, span, found.row)
                start = self._note(at, found.text if at == start + found.row else BEHIND)
            elif span[1] - start == 1:
                start = self._note(start, found.text)
            elif (found.ended or found.unexpected) and self._may_judge:
                # The reader does not say where.
                self._judge(start)
            else:
                self._window = (span[1] - start) // 2

    def _note(self, row: int, text: str) -> int:
        self.bad[row] = plain(text)
        dense = len(self.bad) >= max(_DENSE_ROWS, (row + 1) * _DENSE_SHARE)
        if dense and self._may_judge:
            self._judge(row + 1)
        return row + 1

    def _judge(self, start: int, *, full: bool = False) -> None:
        """Let Python's parser find bad rows of the rest. It may miss some, but blames none
        wrongly.
        """
        self.judged = True
        tree = _tree(list(self.known))
        refusal = _TOO_MANY if full else NOT_NAMED if self._contract is Contract.FREEZE else ""
        for row in range(start, self.block.rows):
            reason = judge(self.block.row(row), tree, refusal)
            if reason:
                self.bad[row] = reason

    def _learn(self, start: int, stop: int) -> int:
        """Infer the types of fields in a small window from `start`; returns where to go on."""
        size = int(self.block.offsets[start]) + WINDOW_BYTES
        small = int(np.searchsorted(self.block.offsets, size, side="right")) - 1
        end, stop = stop, max(start + 1, min(stop, small))
        deep = too_deep(self.block, start, stop)
        if deep and deep[0] == start:
            self.bad[start] = _TOO_DEEP
            return start + 1
        stop = deep[0] if deep else stop
        self._window = stop - start
        found = read(self.block, (start, stop), prune(self.known), "infer")
        if isinstance(found, Problem):
            return self._retreat(start, stop, found)
        grown = merge(self.known, loosen(found.schema))
        if count_fields(grown) > FIELDS_MAX and stop - start == 1:
            self.bad[start] = _TOO_MANY
            self._judge(start + 1, full=True)
            return start + 1
        if count_fields(grown) > FIELDS_MAX or (grown.equals(self.known) and stop == end):
            return self._retreat(start, stop, Problem(_UNFIT))
        self.known = grown
        return start

    def _retreat(self, start: int, stop: int, problem: Problem) -> int:
        """Read less next time: only what is before the fault, or half, or note the one row."""
        at = blame(self.block, (start, stop), problem.row) if problem.row >= 0 else -1
        if stop - start == 1 or at == start:
            return self._note(start, problem.text)
        self._window = at - start if at > start else (stop - start) // 2
        return start


def loosen(schema: pa.Schema) -> pa.Schema:
    """Inferred types as a scan reads them: numbers as doubles, what looks like a time as text."""
    return pa.schema([(f.name, _settle(f.type, pa.float64())) for f in schema])


def settle(schema: pa.Schema) -> pa.Schema:
    """Inferred types as the lake keeps them: integers stay, what looks like a time is text."""
    return pa.schema([(f.name, _settle(f.type, pa.int64())) for f in schema])


def _settle(kind: pa.DataType, integer: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, _settle(f.type, integer)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(_settle(kind.value_type, integer))
    if pa.types.is_integer(kind):
        return integer
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_decimal(kind):
        return kind
    return kind if pa.types.is_null(kind) or pa.types.is_boolean(kind) else pa.string()


# -- one row, by Python ----------------------------------------------------------------------------

Node: TypeAlias = "str | dict[str, Node] | tuple[Node]"
"""What a value must be: a word for a scalar, the fields of an object, or the item of an array."""

_KINDS: dict[type, str] = {
    bool: "boolean", int: "number", float: "number", str: "string", list: "array",
}  # fmt: skip


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "object")


def _tree(fields: Sequence[pa.Field]) -> dict[str, Node]:
    return {field.name: _node(field.type) for field in fields}


def _node(kind: pa.DataType) -> Node:
    if pa.types.is_struct(kind):
        return _tree(list(kind))
    if pa.types.is_list(kind):
        return (_node(kind.value_type),)
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_null(kind):
        return "null"
    if pa.types.is_decimal(kind):
        return "decimal"
    return "string" if pa.types.is_string(kind) else "number"


def judge(row: bytes, tree: dict[str, Node], refusal: str) -> str:
    """Why a row is bad for sure, or "". `refusal`: why it may not have new fields, "" if it may."""
    try:
        value = json.loads(row, object_pairs_hook=_Fields)
    except RecursionError:
        return ""
    except ValueError as error:
        return "" if b"Inf" in row else f"not valid JSON: {error}"
    return _judge_fields(value, tree, "", refusal)


class _Fields(dict[str, object]):
    """An object as it was written. `pairs`: with what is there twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _judge_fields(value: _Fields, tree: dict[str, Node], path: str, refusal: str) -> str:
    if len(value) < len(value.pairs):
        names = [name for name, _ in value.pairs if name in tree]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            return f"field {path}{twice} is there twice"
    for name, inner in value.items():
        node = tree.get(name)
        if node is None:
            if refusal:
                return refusal.replace("{}", path + name, 1)
        elif inner is not None and _kind(inner) != node:
            reason = _judge_value(inner, node, path + name, refusal)
            if reason:
                return reason
    return ""


def _judge_value(value: object, node: Node, path: str, refusal: str) -> str:
    got = "null" if value is None else _kind(value)
    if got in (node, "null") or (node == "null" and not refusal):
        return ""
    if node == "decimal" and (got == "number" or (got == "string" and _DECIMAL.match(str(value)))):
        return ""
    if isinstance(node, dict) and isinstance(value, _Fields):
        return _judge_fields(value, node, path + ".", refusal)
    if isinstance(node, tuple) and isinstance(value, list):
        reasons = (_judge_value(item, node[0], path + "[]", refusal) for item in value)
        return next((reason for reason in reasons if reason), "")
    wanted = node if isinstance(node, str) else "object" if isinstance(node, dict) else "array"
    return f"column {path}: expected {wanted}, found {got}"
