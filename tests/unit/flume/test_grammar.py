"""The grammar of `.properties` files: java.util.Properties.load, lines, and encodings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.errors import ConfigError
from rayflume.flume.findings import Place
from rayflume.flume.grammar import is_flume, parse_bytes, read_files


def entries(data: bytes) -> list[tuple[str, str, int]]:
    found = parse_bytes(data, "f").entries.values()
    return [(entry.key, entry.value, entry.place.line) for entry in found]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n \t\n# c\n! d\n", []),
        (b"a = 1", [("a", "1", 1)]),
        (b"a=1\r\nb=2\r\n", [("a", "1", 1), ("b", "2", 2)]),
        (b"a=1\rb=2", [("a", "1", 1), ("b", "2", 2)]),
        (b"a: 1\nb\t2\nc 3 4\n", [("a", "1", 1), ("b", "2", 2), ("c", "3 4", 3)]),
        (b"   a   =   1   \t \n", [("a", "1", 1)]),
        (b"a = b = c\n", [("a", "b = c", 1)]),
        (b"a\n", [("a", "", 1)]),
        (b"= 1\n", [("", "1", 1)]),
        (b"a = 1 # no comment\n", [("a", "1 # no comment", 1)]),
        (b"a = x \\\n    y \\\r\n\tz\nb=1", [("a", "x y z", 1), ("b", "1", 4)]),
        (b"a = x\\\\\nb = 2\n", [("a", "x\\", 1), ("b", "2", 2)]),
        (b"a = x\\", [("a", "x", 1)]),
        (b"# c \\\na = 1\n", [("a", "1", 2)]),
        (b"\\\n#a = 1\n", [("#a", "1", 1)]),
        (b"a = 1\\\n# 2\n", [("a", "1# 2", 1)]),
        (b"a\\ b\\=c = 1\n", [("a b=c", "1", 1)]),
        (
            b"a = \\t\\n\\u00e9\\d\\\\d\n",
            [("a", "\\t\\n\u00e9d\\d".replace("\\t\\n", "").strip(), 1)],
        ),
        (b"a = \\ud83d\\ude00\n", [("a", "\U0001f600", 1)]),
        (b"a = 1\nb = 2\na = 3\n", [("b", "2", 2), ("a", "3", 3)]),
    ],
)
def test_java_properties(data: bytes, expected: list[tuple[str, str, int]]) -> None:
    assert entries(data) == expected


def test_a_key_given_twice_knows_where_it_was_first() -> None:
    entry = parse_bytes(b"a = 1\n\na = 2\n", "f").entries["a"]
    assert (entry.value, entry.earlier) == ("2", (Place("f", 1), "1"))


@pytest.mark.parametrize("escape", ["\\u12", "\\uzzzz", "C:\\users"])
def test_a_wrong_escape_is_refused_with_its_line_as_java_refuses_it(escape: str) -> None:
    with pytest.raises(ConfigError, match=r"f:2: `\\u.*write a backslash as two"):
        parse_bytes(f"a = 1\nb = {escape}\n".encode(), "f")


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        ("a = é\n".encode(), "UTF-8"),
        ("a = é\n".encode("utf-8-sig"), "UTF-8 with a byte order mark"),
        ("a = é\n".encode("utf-16"), "UTF-16"),
        ("a = é\n".encode("utf-16-le"), "UTF-16"),
        ("a = é\n".encode("utf-16-be"), "UTF-16"),
        ("a = é\n".encode("iso-8859-1"), ""),
        ("# é\na = é\n".encode("iso-8859-1"), ""),
    ],
)
def test_encodings_are_read_as_they_were_meant(data: bytes, meant: str) -> None:
    text = parse_bytes(data, "f")
    assert text.entries["a"].value == "é"
    assert [one.text.startswith(f"the file is {meant}, ") for one in text.findings] == (
        [True] if meant else []
    )


def test_no_note_where_only_comments_are_not_ascii() -> None:
    assert parse_bytes("# é\na = 1\n".encode(), "f").findings == []


def test_half_a_surrogate_pair_is_replaced_with_a_warning() -> None:
    text = parse_bytes(b"a = x\\ud800\n", "f")
    assert text.entries["a"].value == "x\ufffd"
    assert [one.key for one in text.findings] == ["a"]


def test_several_files_are_merged_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x = 1\ny = 1\n")
    (tmp_path / "b").write_text("\ny = 2\n")
    found = read_files([tmp_path / "a", tmp_path / "b"]).entries
    assert {key: (one.value, one.place.line) for key, one in found.items()} == {
        "x": ("1", 1),
        "y": ("2", 2),
    }
    assert found["y"].earlier is None  # an override is meant


@pytest.mark.parametrize("what", ["missing", "directory", "huge", "nul"])
def test_a_file_that_cannot_be_read_is_one_sentence(what: str, tmp_path: Path) -> None:
    path = tmp_path / ("a\0b" if what == "nul" else "f")
    if what == "directory":
        path.mkdir()
    elif what == "huge":
        with path.open("wb") as file:
            file.truncate(5 * 2**20)
    with pytest.raises(ConfigError) as caught:
        read_files([path])
    assert "\n" not in caught.value.message


def test_ten_thousand_lines_and_one_value_over_all_of_them() -> None:
    many = b"".join(b"a.sources.r%d.type = seq\n" % number for number in range(10_000))
    assert len(entries(many)) == 10_000
    joined = b"a = " + b"\\\n".join([b"x" * 60] * 10_000)
    assert entries(joined) == [("a", "x" * 600_000, 1)]


@pytest.mark.parametrize(
    ("name", "text", "flume"),
    [
        ("f.properties", "anything", True),
        ("f.yaml", "a1.sources = r1", False),
        ("f.conf", "a1.sources = r1\n", True),
        ("f.conf", "# c\n  a1.channels: c1\n", True),
        ("f.conf", "a1.sources\tr1\n", True),
        ("f", "agent: a1\nsources: {}\n", False),
        ("f.conf", "agent: a\nchannels: {c.channels: {}}\n", False),
        ("f.conf", "nothing of the sort", False),
        ("f.conf", "", False),
    ],
)
def test_which_file_is_flumes(name: str, text: str, flume: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert is_flume(tmp_path / name) is flume
    assert not is_flume(tmp_path / "none")


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_but_config_error(data: bytes) -> None:
    try:
        text = parse_bytes(data, "f")
    except ConfigError:
        return
    for key, entry in text.entries.items():
        assert key == entry.key
        assert 1 <= entry.place.line <= data.count(b"\n") + data.count(b"\r") + 1 or b"\0" in data
        entry.value.encode()


_TEXT = st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Z"]), max_size=12)
_BREAK = st.sampled_from(["\n", "\r\n", "\r"])


def _escaped(text: str) -> str:
    found = "".join(f"\\{c}" if c in "\\ =:#!" else c for c in text)
    return "".join(c if 32 <= ord(c) < 127 else _code_units(c) for c in found)


def _code_units(character: str) -> str:
    data = character.encode("utf-16-be")
    return "".join(f"\\u{data[i : i + 2].hex()}" for i in range(0, len(data), 2))


@given(
    st.lists(st.tuples(_TEXT.filter(bool), _TEXT, st.sampled_from(["=", ":", " ", " = ", "\t"]))),
    _BREAK,
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read(
    lines: list[tuple[str, str, str]], line_break: str, last: bool
) -> None:
    text = line_break.join(f"  {_escaped(key)}{sep}{_escaped(value)}" for key, value, sep in lines)
    found = entries((text + (line_break if last else "")).encode("ascii"))
    model: dict[str, tuple[str, int]] = {}
    for number, (key, value, _) in enumerate(lines, 1):
        model.pop(key, None)
        model[key] = value, number
    assert found == [(key, value, number) for key, (value, number) in model.items()]
