"""What a check says when it finds something else. Works under `python -O`, as `assert` does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


def same(got: object, wanted: object) -> None:
    """Raises AssertionError showing both."""
    if got != wanted:
        raise AssertionError(f"found {_shown(got)}, wanted {_shown(wanted)}")


def true(found: object, text: str) -> None:
    """Raises AssertionError with the text, which says what must hold."""
    if not found:
        raise AssertionError(text)


@contextmanager
def raises(kind: type[Exception], match: str = "") -> Iterator[None]:
    """The block must raise that error, with a message that has `match` in it."""
    try:
        yield
    except kind as error:
        true(re.search(match, str(error)), f"the error says {str(error)!r}, not {match!r}")
        return
    raise AssertionError(f"{kind.__name__} is not raised")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 500 else f"{text[:500]}..."
