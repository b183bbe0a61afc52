"""Clauses of Format."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from rayflume.interfaces import Contract, Decoded, Format
from rayflume.testing._expect import same, true
from rayflume.testing._trial import Trial

NASTY: list[bytes | None] = [
    None, b"", b" ", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xc3", b"\xa9", b"\xed\xa0\x80",
    b"null", b"true", b"1", b'"x"', b"[]", b"{}", b"{} null {}", b"{}{}",
    b"{}\x00{}", b"{}}", b"{},{}",
    b'{"user_id": "x"}', b'{"user_id": 1.5}', b'{"user_id": 9223372036854775808}',
    b'{"ts": 1e300}',
    b'{"user_id": 1}', b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"a": "} null"}',
    b'{"a": null}',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000, b'{"b":' + b"[" * 100_000,
    b'{"c": {"d": 1}}', b'{"c": [1, "x", null]}', b"a" * 100_000, b'"', b'a,"', b'"a\nb",1,2',
    b",,",
    b"1,/x,1445680800424", b"1,/x,1e300", b"1,2,3,4", b"INFO 7 it works", b"INFO 99999999999 x",
    b'::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"',
    b'::1 - - [31/Feb/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"',
]  # fmt: skip
LAKE = pa.schema([("gone", pa.int32()), ("user_id", pa.int64()), ("time", pa.string())])
_TYPES = re.compile(
    r"bool|int32|int64|float|double|string|binary|date32\[day\]|timestamp\[us, tz=UTC\]"
    r"|decimal128\([0-9]{1,2}, [0-9]{1,2}\)"
)


def decoded_well(rows: Sequence[bytes | None], decoded: Decoded) -> None:
    """F1 and F4 of what was decoded from these rows. Raises AssertionError."""
    decoded.table.validate(full=True)
    good = list(range(len(rows))) if decoded.rows is None else decoded.rows.to_pylist()
    bad = [row for row, _ in decoded.bad]
    same(decoded.table.num_rows, len(good))
    same(good, sorted(good))
    same(bad, sorted(bad))
    same(sorted(good + bad), list(range(len(rows))))
    for _, reason in decoded.bad:
        true(0 < len(reason) <= 256, f"a reason has 1 to 256 characters, this one {len(reason)}")
        true(reason.isprintable(), f"a reason can be printed: {reason!r}")
    for field in decoded.table.schema:
        _of_spark(field.type)


def _of_spark(kind: pa.DataType) -> None:
    if pa.types.is_struct(kind):
        for field in kind:
            _of_spark(field.type)
    elif pa.types.is_list(kind):
        _of_spark(kind.value_type)
    else:
        true(_TYPES.fullmatch(str(kind)), f"Spark reads no {kind}")


def _decoded(
    trial: Trial, rows: Sequence[bytes | None], schema: pa.Schema | None = None
) -> Decoded:
    format_: Format = trial.build()
    decoded = format_.decode(pa.array(rows, pa.binary()), schema)
    decoded_well(rows, decoded)
    return decoded


def f1_no_rows_make_an_empty_table(trial: Trial) -> None:
    decoded = _decoded(trial, [])
    same((decoded.table.num_rows, decoded.bad), (0, ()))


def f1_slices_of_an_array_decode_like_copies(trial: Trial) -> None:
    whole = pa.array(NASTY, pa.binary())
    for start, length in [(1, 5), (7, 0), (30, 15), (45, 1)]:
        rows = NASTY[start : start + length]
        sliced = trial.build().decode(whole.slice(start, length), None)
        copied = _decoded(trial, rows)
        decoded_well(rows, sliced)
        true(sliced.table.equals(copied.table), "the tables are equal")
        same(sliced.bad, copied.bad)


def f2_declared_is_the_schema_when_none_is_given(trial: Trial) -> None:
    declared = trial.build().declared
    if declared is not None:
        schema = _decoded(trial, NASTY).table.schema
        same(list(schema)[: len(declared)], list(declared))


def f2_the_schema_of_the_lake_comes_first(trial: Trial) -> None:
    decoded = _decoded(trial, NASTY, LAKE)
    same(list(decoded.table.schema)[: len(LAKE)], list(LAKE))


def f3_nasty_rows_are_good_or_bad_and_never_raise(trial: Trial) -> None:
    _decoded(trial, NASTY)
    _decoded(trial, NASTY, trial.build().declared)


def f3_each_nasty_row_alone_is_judged_as_among_the_others(trial: Trial) -> None:
    """Not of a format that infers: there a column depends on the rows before."""
    if trial.build().declared is None:
        return
    together = dict(_decoded(trial, NASTY).bad)
    for place, row in enumerate(NASTY):
        alone = _decoded(trial, [row])
        true(bool(alone.bad) == (place in together), f"{row!r:.80} alone and among others")


def f5_no_field_is_added_but_what_is_declared(trial: Trial) -> None:
    for contract in (Contract.FREEZE, Contract.IGNORE):
        format_: Format = trial.build()
        lake = pa.schema(list(LAKE)[:2])
        decoded = format_.decode(pa.array(NASTY, pa.binary()), lake, contract)
        decoded_well(NASTY, decoded)
        declared = [] if format_.declared is None else format_.declared.names
        same(set(decoded.table.schema.names), {*lake.names, *declared})
