"""Which rows are plainly what the schema says, found in one vectorised pass.

The reader stops at the first bad row, so a block with many of them is read many times. One
regular expression, made from the known fields and the order in which the first rows have them,
tells rows that are surely well-formed and of the right kinds from the rest; only the rest is looked
at closely. It may miss good rows (other order, new field, deep nesting), which costs time alone. A
row it lets through that the reader refuses all the same is found as before.

Rows it lets through need no other screening: they are one object each, and valid UTF-8 (_json_read
says why that matters). An order that is kept also means that no field is there twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.spans import Mask

_FIELDS_MAX = 200
_DEPTH_MAX = 3
# Larger expressions outgrow the memory of the matcher, which then is many times slower.
_ORDER_ROWS = 16
_SPACE = "[ \t]*"
_MORE = r"[\x80-\xbf]"
_STRING = (
    r'"(?:[^"\\\x00-\x1f\x80-\xff]'
    rf"|[\xc2-\xdf]{_MORE}|\xe0[\xa0-\xbf]{_MORE}|[\xe1-\xec\xee\xef]{_MORE}{{2}}"
    rf"|\xed[\x80-\x9f]{_MORE}|\xf0[\x90-\xbf]{_MORE}{{2}}|[\xf1-\xf3]{_MORE}{{3}}"
    rf"|\xf4[\x80-\x8f]{_MORE}{{2}}"
    r'|\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})))*"'
)
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SCALAR = f"{_STRING}|{_NUMBER}|true|false"


def plain_rows(body: pa.BinaryArray, known: pa.Schema, *, strict: bool) -> Mask | None:
    """True where a row has only fields of `known`, each once and of its kind (with not `strict`,
    scalars of other names too). None when the rows have no order that could be told.
    """
    order = field_order(body.slice(0, _ORDER_ROWS).to_pylist())
    if not order:
        return None
    types = {field.name: field.type for field in known}
    parts = []
    for name in order:
        if name not in types and strict:
            continue
        value = _value(types[name], 1) if name in types else _SCALAR
        if value:
            # Either a comma or the end follows: so no comma is left over, and none is missing.
            end = f"(?:,{_SPACE}|\\}}{_SPACE}$)"
            parts.append(f"(?:{_name(name)}(?:{value}|null){_SPACE}{end})?")
    if not 0 < len(parts) <= _FIELDS_MAX:
        return None
    pattern = f"^{_SPACE}\\{{{_SPACE}{''.join(parts)}$"
    try:
        return np.asarray(pc.match_substring_regex(body, pattern))
    except pa.ArrowInvalid:  # too large for the matcher
        return None


def field_order(rows: Iterable[bytes]) -> list[str]:
    """An order of fields that most rows keep: new names go behind the one they follow."""
    order: list[str] = []
    for row in rows:
        try:
            value = json.loads(row)
        except (ValueError, RecursionError):
            continue
        place = 0
        for name in value if isinstance(value, dict) else ():
            if name in order:
                place = order.index(name) + 1
            elif len(order) <= _FIELDS_MAX:
                order.insert(place, name)
                place += 1
    return order


def _name(name: str) -> str:
    text = json.dumps(name, ensure_ascii=False).encode()
    # Byte by byte, because the bodies are bytes to the matcher.
    shown = "".join(re.escape(chr(byte)) if byte < 128 else f"\\x{byte:02x}" for byte in text)
    return f"{shown}{_SPACE}:{_SPACE}"


def _value(kind: pa.DataType, depth: int) -> str:
    """What a value of a kind looks like; "" for what is too deep to say."""
    if pa.types.is_struct(kind):
        return _object(kind, depth)
    if pa.types.is_list(kind):
        item = _value(kind.value_type, depth + 1) if depth < _DEPTH_MAX else ""
        one = f"(?:{item}|null){_SPACE}"
        return f"\\[{_SPACE}(?:{one}(?:,{_SPACE}{one})*)?\\]" if item else ""
    if pa.types.is_boolean(kind):
        return "true|false"
    if pa.types.is_null(kind):
        return "null"
    if pa.types.is_integer(kind):
        if kind.bit_width <= 32:
            return "-?(?:0|[1-9][0-9]{0,8})"
        return "-?(?:0|[1-9][0-9]{0,17}|[1-8][0-9]{18})"
    if pa.types.is_decimal(kind):
        return _decimal(kind)
    return _STRING if pa.types.is_string(kind) else _NUMBER


def _decimal(kind: pa.Decimal128Type) -> str:
    """A number that fits, also as a string."""
    before = kind.precision - kind.scale
    whole = f"(?:0|[1-9][0-9]{{0,{before - 1}}})" if before else "0"
    number = f"-?{whole}" + (f"(?:\\.[0-9]{{1,{kind.scale}}})?" if kind.scale else "")
    return f'{number}|"{number}"'


def _object(kind: pa.StructType, depth: int) -> str:
    """All fields of a struct in their order, or none of them."""
    if depth >= _DEPTH_MAX or not kind.num_fields or kind.num_fields > _FIELDS_MAX // 4:
        return ""
    values = [(field.name, _value(field.type, depth + 1)) for field in kind]
    if not all(value for _, value in values):
        return ""
    fields = [f"{_name(name)}(?:{value}|null){_SPACE}" for name, value in values]
    return f"\\{{{_SPACE}(?:{f',{_SPACE}'.join(fields)})?\\}}"
