"""Which Python class stands in the place of a Java class: `--map` and `java_classes:`.

    --map com.example.MySink=my_module.MySink     one, repeatable
    --map @classes.txt                            many: a pair in each line; `#` begins a comment
    java_classes: {com.example.MySink: my_module.MySink}        in YAML

In the place of the Python class may be a type of rayflume's own, such as `parquet`.
In YAML it is for a configuration that was converted with the Java class still in `type:`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rayflume.errors import ConfigError
from rayflume.own_parts import is_dotted, is_java

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_EXAMPLE = "com.example.MySink=my_module.MySink"
_FILE_BYTES_MAX = 2**20


def parse_maps(given: Sequence[str]) -> dict[str, str]:
    """What `--map` was given, each a pair or `@` and a file. Reads those files.

    Raises ConfigError naming the text or the line that is no pair, or a class that is mapped twice.
    """
    found: dict[str, str] = {}
    for place, text in (pair for one in given for pair in _pairs(one)):
        java, equals, python = (part.strip() for part in text.partition("="))
        if not equals or not is_java(java) or not _is_type(python):
            raise ConfigError(f"{place}: {text!r} is no pair of classes, such as {_EXAMPLE}")
        if found.setdefault(java, python) != python:
            raise ConfigError(f"{place}: {java} is mapped to {found[java]} already; remove one")
    return found


def _pairs(one: str) -> Iterator[tuple[str, str]]:
    """(where it stands, the pair)."""
    if not one.startswith("@"):
        yield "--map", one
        return
    path = Path(one[1:]).expanduser()
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than 1 MiB: is it a list of classes?")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            yield f"{path}:{number}", text


def java_classes(value: Json) -> dict[str, str]:
    """The section of a YAML file. Raises ConfigError for any other shape."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError("must be a mapping from Java classes to dotted names of Python classes")
    for java, python in value.items():
        if not is_java(java) or not isinstance(python, str) or not _is_type(python):
            text = "write a pair of classes, such as `com.example.MySink: my_module.MySink`"
            raise ConfigError(f"{java}: {python!r}: {text}")
    return {java: str(python) for java, python in value.items()}


def _is_type(name: str) -> bool:
    return is_dotted(name) or name.isidentifier()


def with_python_classes(value: Json, classes: Mapping[str, str]) -> Json:
    """The values with every `type:` that is such a Java class replaced."""
    if not classes:
        return value
    if isinstance(value, list):
        return [with_python_classes(item, classes) for item in value]
    if not isinstance(value, dict):
        return value
    replaced = {name: with_python_classes(item, classes) for name, item in value.items()}
    type_name = replaced.get("type")
    if isinstance(type_name, str) and type_name in classes:
        replaced["type"] = classes[type_name]
    return replaced
