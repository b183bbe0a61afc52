"""`${NAME}` in strings."""

from __future__ import annotations

import pytest

from rayflume.config import resolve
from rayflume.config.environment import missing
from rayflume.errors import ConfigError

ENVIRON = {"HOST": "h1", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "h1"),
        ("a/${HOST}/b/${HOST}", "a/h1/b/h1"),
        ("[${EMPTY}]", "[]"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("^a$|$$|\\$", "^a$|$$|\\$"),
        ("$HOST", "$HOST"),
        ("$${", "${"),
    ],
)
def test_references_and_escapes(text: str, value: str) -> None:
    assert resolve({"k": text}, ENVIRON) == {"k": value}


def test_only_strings_are_looked_at_at_any_depth() -> None:
    options: dict[str, object] = {"a": [1, {"${HOST}": "${HOST}"}], "b": None, "c": 1.5}
    assert resolve(options, ENVIRON) == {  # type: ignore[arg-type]
        "a": [1, {"${HOST}": "h1"}],
        "b": None,
        "c": 1.5,
    }


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    assert resolve({"k": "${A}"}, {"A": "${B}", "B": "x"}) == {"k": "${B}"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "${NOPE}",
            "the environment variable NOPE is not set; set it, or write $${NOPE} for the literal "
            "text",
        ),
        (
            "x${a b}",
            "`${a b}` does not name an environment variable; write $${a b} for the literal text",
        ),
        (
            "${HOST",
            "`${HOST` has no closing brace; close it, or write $${HOST for the literal text",
        ),
        ("${}", "`${}` does not name an environment variable; write $${} for the literal text"),
    ],
)
def test_what_cannot_be_resolved_is_named(text: str, message: str) -> None:
    assert list(missing({"k": [text]}, ENVIRON)) == [(("k", 0), message)]
    with pytest.raises(ConfigError) as caught:
        resolve({"k": text}, ENVIRON)
    assert caught.value.problems == (message,)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYFLUME_TEST_NAME", "v")
    assert resolve({"k": "${RAYFLUME_TEST_NAME}"}) == {"k": "v"}
