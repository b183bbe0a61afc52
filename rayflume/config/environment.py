"""`${NAME}` in strings of the configuration reads the environment; `$${` is a literal `${`.

A `$` that no `{` follows stands for itself, so a regular expression needs no escape.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


Path = tuple[str | int, ...]
_REFERENCE = re.compile(r"(\$\$\{)|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def resolve(
    options: Mapping[str, Json], environ: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """The options with every `${NAME}` replaced, for the host where the part runs.

    Raises ConfigError naming all missing variables.
    """
    problems = [text for _, text in missing(dict(options), environ)]
    if problems:
        raise ConfigError("; ".join(problems), problems=tuple(problems))
    return resolve_known(options, environ)


def resolve_known(
    options: Mapping[str, Json], environ: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """As `resolve`, but what cannot be resolved stays as it is written."""
    return {name: _resolved(value, environ) for name, value in options.items()}


def resolve_text(text: str, environ: Mapping[str, str] | None = None) -> str:
    """One string with every `${NAME}` replaced. Raises ConfigError naming a missing variable."""
    return str(resolve({"": text}, environ)[""])


def missing(
    value: Json, environ: Mapping[str, str] | None = None, path: Path = ()
) -> Iterator[tuple[Path, str]]:
    """(path, sentence) for every reference in `value` that cannot be resolved."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from missing(item, environ, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from missing(item, environ, (*path, index))
    elif isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            problem = _problem(match, os.environ if environ is None else environ)
            if problem:
                yield path, problem


def refers(text: str) -> bool:
    """Whether the text holds a reference or an escape."""
    return _REFERENCE.search(text) is not None


def _problem(match: re.Match[str], environ: Mapping[str, str]) -> str:
    escaped, name, closed = match.groups()
    literal = f"write $${match[0][1:]} for the literal text"
    if escaped or (closed and name in environ):
        return ""
    if not closed:
        return f"`{match[0]}` has no closing brace; close it, or {literal}"
    if not _NAME.fullmatch(name):
        return f"`{match[0]}` does not name an environment variable; {literal}"
    return f"the environment variable {name} is not set; set it, or {literal}"


def _resolved(value: Json, environ: Mapping[str, str] | None) -> Json:
    if isinstance(value, dict):
        return {name: _resolved(item, environ) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, environ) for item in value]
    if isinstance(value, str):
        known = os.environ if environ is None else environ
        return _REFERENCE.sub(
            lambda match: "${" if match[1] else known.get(match[2], match[0]), value
        )
    return value
