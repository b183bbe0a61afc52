from __future__ import annotations

import pytest

from rayflume import naming

DELIVERY = naming.delivery_id("00000000000000aa", 3, 42)


def test_a_delivery_id_can_be_read_back() -> None:
    assert DELIVERY == "00000000000000aa-3-42"
    assert naming.parse_delivery(DELIVERY) == ("00000000000000aa", 3, 42)


@pytest.mark.parametrize("journal", ["", "aa", "00000000000000AA", "00000000000000aa0", "../x"])
def test_a_delivery_id_needs_a_journal_of_16_hex_digits(journal: str) -> None:
    with pytest.raises(ValueError, match="no delivery id"):
        naming.delivery_id(journal, 1, 1)
    with pytest.raises(ValueError, match="not a delivery id"):
        naming.parse_delivery(f"{journal}-1-1")


def test_every_name_tells_its_delivery_and_no_reserved_one_looks_like_data() -> None:
    names = [
        f"dt=1/{naming.data_name(DELIVERY, 7)}",
        naming.dead_name(DELIVERY, 7),
        naming.staged_name(DELIVERY, 7),
    ]
    assert names == [
        "dt=1/part-00000000000000aa-3-42-7.parquet",
        "_rayflume/dead_letters/00000000000000aa-3-42-7.dead",
        "_rayflume/staging/00000000000000aa-3-42-7.staged",
    ]
    assert [naming.delivery_of(name) for name in names] == [DELIVERY] * 3
    assert not any(name.endswith(".parquet") for name in names[1:])


@pytest.mark.parametrize(
    "path",
    ["", "x.parquet", "_rayflume/schema/1.json", f"part-{DELIVERY}.parquet",
     f"{DELIVERY}-1.csv\x01", f"part-{DELIVERY}-1.parquet/x", f"a{DELIVERY}-1.dead",
     f"part-{DELIVERY}-1.parquet\n"],
)  # fmt: skip
def test_other_names_carry_no_delivery(path: str) -> None:
    assert naming.delivery_of(path) is None


def test_schema_versions_have_a_place() -> None:
    assert naming.schema_name(3) == "_rayflume/schema/3.json"
