from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from rayflume.formats.json import JsonFormat
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import parse_declared


def decode(kind: object, *values: str) -> Decoded:
    bodies = [f'{{"d":{value}}}'.encode() for value in values]
    columns = parse_declared({"d": kind})
    return JsonFormat(columns).decode(pa.array(bodies, pa.binary()), None, Contract.EVOLVE)


@pytest.mark.parametrize("value", ["10000", "1.000E+4", '"1.000E+4"', "-10000", '"10000"', "1e9"])
@pytest.mark.parametrize("others", [0, 1, 9])
def test_a_decimal_with_too_many_digits_before_its_point_is_bad(value: str, others: int) -> None:
    """pyarrow reads 10000 as decimal(6,2): Parquet then stored another number in three bytes."""
    found = decode("decimal(6,2)", *["9999.99"] * others, value)
    assert found.table.column("d").to_pylist() == [Decimal("9999.99")] * others
    found.table.validate(full=True)
    [(place, reason)] = found.bad
    assert place == others
    assert "is not a valid decimal" in reason


def test_the_largest_decimals_fit() -> None:
    most = "9" * 28 + "." + "9" * 10
    found = decode("decimal(38,10)", f'"{most}"', f"-{most}", "null", '"1e28"', "1e28")
    assert [str(value) for value in found.table.column("d")] == [most, f"-{most}", "None"]
    assert [place for place, _ in found.bad] == [3, 4]


def test_decimals_inside_structs_and_lists_are_judged_too() -> None:
    found = decode({"x": ["decimal(4,1)"]}, '{"x":[999.9,1]}', '{"x":[1,1000]}', '{"x":null}')
    good = [{"x": [Decimal("999.9"), Decimal("1.0")]}, {"x": None}]
    assert found.table.column("d").to_pylist() == good
    assert [place for place, _ in found.bad] == [1]
