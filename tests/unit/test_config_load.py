"""YAML text -> values with lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.config.load import Document, documents, read
from rayflume.errors import ConfigError


def one(text: str) -> Document:
    (document,) = documents(text, "f.yaml")
    return document


def test_values_know_their_lines() -> None:
    document = one("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n")
    assert document.value == {"a": {"b": 1, "c": ["x", {"y": 2}]}}
    assert document.line_of(("a", "b")) == 2
    assert document.line_of(("a", "c", 0)) == 4
    assert document.line_of(("a", "c", 1, "y")) == 5
    assert document.line_of(("a", "c", 1, "z", "deeper")) == 5
    assert document.line_of(("nowhere",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("12:30:45", "12:30:45"),
        ("017", 17),
        ("-5", -5),
        ("1.5e3", "1.5e3"),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("~", None),
        ("null", None),
        ("", None),
        ("2026-11-22", "2026-11-22"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("9" * 50, "9" * 50),
        (".", "."),
        ("dt=%Y", "dt=%Y"),
    ],
)
def test_plain_words_follow_yaml_1_2(text: str, value: object) -> None:
    assert one(f"k: {text}").value == {"k": value}


def test_the_type_null_is_a_name_and_an_empty_type_is_not() -> None:
    assert one("{type: null, x: null}").value == {"type": "null", "x": None}
    assert one("type:").value == {"type": None}


def test_keys_are_texts() -> None:
    assert one("on: 1\n5: 2\n").value == {"on": 1, "5": 2}


def test_a_key_twice_is_a_problem_with_both_lines() -> None:
    document = one("a: 1\nb: 2\na: 3\n")
    assert document.problems == [(3, "'a' is here twice; the first is in line 1")]


def test_aliases_and_merges() -> None:
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: *b\nmany: {<<: [{x: 8}, *b]}\n"
    assert one(text).value == {
        "base": {"x": 1, "y": 2},
        "one": {"x": 1, "y": 3},
        "two": {"x": 1, "y": 2},
        "many": {"x": 8, "y": 2},
    }
    assert one("a: {<<: 5}").problems == [(1, "`<<` takes a mapping or a list of mappings")]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "a: " + "[" * 70 + "]" * 70,
        "a: " + "[" * 5000 + "]" * 5000,
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '*a'] * 8)}]\n" for i in range(9)
        ),
        "m0: &m0 {}\n"
        + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 40)),
    ],
)
def test_endless_or_huge_values_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml: nested deeper than 64 levels, or endless"):
        documents(text, "f.yaml")


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.system ['true']", "a: !secret x", "a: !!set {x}"]
)
def test_s7_a_tag_constructs_nothing(text: str) -> None:
    document = one(text)
    assert document.value == {"a": None}
    assert [line for line, _ in document.problems] == [1]
    assert "is not supported" in document.problems[0][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2", "f.yaml:2: not YAML: a tab cannot indent; use spaces"),
        ("a: b: c", "f.yaml:1: not YAML: a second `:` in one line"),
        ("a: [1", "f.yaml:1: not YAML: expected ',' or ']'"),
        (
            "a: {b: ${C}}",
            "f.yaml:1: not YAML: expected ',' or '}', but got '{'; between braces or brackets put "
            "${NAME} in quotes while parsing",
        ),
        ("a: *nope", "f.yaml:1: not YAML: found undefined alias"),
        ("a: \x07", "f.yaml: not YAML: unacceptable character"),
    ],
)
def test_broken_yaml_is_one_sentence_with_a_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        documents(text, "f.yaml")
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 3\)"):
        read(binary)
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file"):
        read(tmp_path / "none")
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(ConfigError, match="more than 4 MiB"):
        read(huge)


@pytest.mark.parametrize("text", ["agent: [", "a: {b: 1", "a: '${X}", "a: [\n"])
def test_a_bracket_or_quote_that_is_never_closed_is_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f\.yaml:\d: not YAML: "):
        documents(text, "f.yaml")


def test_instead_of_a_directory_a_file_of_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory; name the configuration file$"):
        read(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "clicks.yaml").touch()
    with pytest.raises(ConfigError) as refused:
        read(tmp_path)
    assert refused.value.message.endswith(f"for example {tmp_path / 'clicks.yaml'}")


def test_of_a_misspelt_file_the_nearest_is_named(tmp_path: Path) -> None:
    (tmp_path / "clicks.yaml").touch()
    with pytest.raises(ConfigError) as refused:
        read(tmp_path / "click.yaml")
    assert refused.value.message.endswith(f"; did you mean {tmp_path / 'clicks.yaml'}?")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(path) == "a: 1\n"
