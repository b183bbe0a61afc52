"""Rows that are plainly well-formed: what the one pass lets through, and that it changes nothing
but the time a block takes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pyarrow as pa
import pytest

from rayflume.formats import _json_read
from rayflume.formats._json_plain import field_order, plain_rows
from rayflume.formats.json import JsonFormat
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import parse_declared

DECLARED = parse_declared(
    {
        "n": "int64",
        "f": "float64",
        "s": "string",
        "b": "bool",
        "o": {"u": "int32", "v": ["string"]},
        "é.(": "string",
    }
)
READ = pa.schema(
    [
        ("n", pa.int64()),
        ("f", pa.float64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("o", pa.struct([("u", pa.int32()), ("v", pa.list_(pa.string()))])),
        ("é.(", pa.string()),
        ("z", pa.null()),
    ]
)
GOOD = {
    "n": 1,
    "f": -1.5e3,
    "s": 'a"\\é\u2028',
    "b": True,
    "o": {"u": 1, "v": ["x", None]},
    "é.(": "",
}


def encoded(row: dict[str, object]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def is_plain(row: bytes, *, strict: bool = True) -> bool:
    body = pa.array([encoded(GOOD), row], pa.binary())
    mask = plain_rows(body, READ, strict=strict)
    assert mask is not None and mask[0]
    return bool(mask[1])


@pytest.mark.parametrize(
    "row",
    [
        b'{"n":1}',
        b' { "n" : 1 , "s" : null } ',
        b'{"f":1,"b":false}',
        '{"s":"é€𝄞"}'.encode(),
        b'{"o":{},"\xc3\xa9.(":"\xc3\xa9"}',
        b'{"o":{"u":2,"v":[]}}',
        b'{"s":"\\u00e9\\n{\\"n\\":1,}"}',
    ],
)
def test_what_is_plain(row: bytes) -> None:
    assert is_plain(row)


@pytest.mark.parametrize(
    "row",
    [
        b"{}",
        b'{"n":1,}',
        b'{"n":1 "s":"x"}',
        b'{,"n":1}',
        b'{"n":01}',
        b'{"n":1.5}',
        b'{"n":12345678901234567890}',
        b'{"n":"1"}',
        b'{"n":1,"n":2}',
        b'{"s":"x","n":1}',
        b'{"s":"a\nb"}',
        b'{"s":"\\x"}',
        b'{"s":"\\ud800"}',
        b'{"s":"\xff"}',
        b'{"s":"\xc3"}',
        b'{"s":"\xed\xa0\x80"}',
        b'{"s":"\xc0\xaf"}',
        b'{"s":"\x00"}',
        b'{"x":1}',
        b'{"b":0}',
        b'{"o":{"v":[],"u":2}}',
        b'{"o":{"u":2,"v":[1]}}',
        b'{"n":1}}',
        b'{"n":1}{"n":1}',
        b"[1]",
    ],
)
def test_what_is_not(row: bytes) -> None:
    assert not is_plain(row)


def test_other_fields_count_only_where_they_are_left_out() -> None:
    rows = pa.array([b'{"n":1,"x":2}', b'{"n":1,"x":[2]}'], pa.binary())
    for strict, expected in ((True, [False, False]), (False, [True, False])):
        mask = plain_rows(rows, READ, strict=strict)
        assert mask is not None and mask.tolist() == expected


def test_the_order_is_the_one_that_most_rows_keep() -> None:
    rows = [b'{"a":1,"c":1}', b"no", b'{"a":1,"b":1,"c":1}', b'{"d":1}', b"[]"]
    assert field_order(rows) == ["d", "a", "b", "c"]
    assert plain_rows(pa.array([b"no"], pa.binary()), READ, strict=True) is None


POISON: list[Callable[[bytes], bytes]] = [
    lambda row: row.replace(b'"f":', b'"f":,'),
    lambda row: row.replace(b'"f": ', b'"f": "x'),
    lambda row: row[:-1] + b', "n": 5}',
    lambda row: row.replace(b'"n": ', b'"n": 0.5'),
    lambda row: row.replace(b'"n": ', b'"n": 123456789012345678901'),
    lambda row: row.replace(b'"n": ', b'"n": 922337203685477'),
    lambda row: row.replace(b'"b": ', b'"b": {"a": 1}, "c":'),
    lambda row: b'{"s": "only", "n": 7}',
    lambda row: row.replace(b'"u"', b'"w"'),
    lambda row: row.replace(b'"o"', b'"p"'),
    lambda row: row + row,
    lambda row: b"{}",
    lambda row: row[: len(row) // 2],
]


def rows_with_poison(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    rows = [encoded(GOOD | {"n": n, "f": n / 3}) for n in range(300)]
    for place in chance.sample(range(300), chance.choice([1, 3, 30])):
        rows[place] = chance.choice(POISON)(rows[place])
    return rows


def decoded(rows: list[bytes], contract: Contract) -> Decoded:
    format_ = JsonFormat(DECLARED)
    body = pa.array(rows, pa.binary())
    first = format_.decode(body, None, contract)
    # A second block like the first takes another way, with the same result.
    again = format_.decode(body, None, contract)
    schema = first.table.schema
    if schema.equals(again.table.schema):
        assert again.table.equals(first.table) and again.rows == first.rows
        assert [row for row, _ in again.bad] == [row for row, _ in first.bad]
    return first


@pytest.mark.parametrize("contract", Contract)
def test_f17_rows_and_dead_letters_are_those_of_the_careful_way(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 seeded blocks, decoded with and without the pass."""
    taken = 0
    for seed in range(60):
        rows = rows_with_poison(seed)
        with monkeypatch.context() as patch:
            patch.setattr(JsonFormat, "_apart", lambda *_: None)
            slow = decoded(rows, contract)
        quick = decoded(rows, contract)
        assert quick.table.equals(slow.table), seed
        places = range(300) if slow.rows is None else slow.rows.to_pylist()
        assert (range(300) if quick.rows is None else quick.rows.to_pylist()) == places, seed
        assert [row for row, _ in quick.bad] == [row for row, _ in slow.bad], seed
        taken += bool(quick.bad)
    assert taken > 30


def test_f17_a_hundredth_of_bad_rows_does_not_multiply_the_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reads of the whole block are what costs: two of them, one of which stops early, and
    only one for the next block.
    """
    rows = [encoded(GOOD | {"n": n}) for n in range(5_000)]
    for place in range(50, 5_000, 100):
        rows[place] = rows[place].replace(b'"f": ', b'"f": "x')
    large: list[int] = []
    read = _json_read.read

    def counted(*given: object) -> object:
        block, span = given[0], given[1]
        assert isinstance(block, _json_read.Block) and isinstance(span, tuple)
        large.extend([block.rows] * (span[1] - span[0] > 1_000))
        return read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("rayflume.formats.json.read", counted)
    monkeypatch.setattr("rayflume.formats._json_scan.read", counted)
    result = decoded(rows, Contract.EVOLVE)
    assert len(result.bad) == 50 and result.table.num_rows == 4_950
    assert large == [5_000, 4_950, 4_950]
