"""Parts that a user wrote: `type: my_module.MySink` names a class of a Python module.

The module is looked for where Python looks (installed packages, PYTHONPATH) and then beside the
configuration. Only what a configuration names as a type is imported, by its name and by nothing
that came from a network (S7, S15); a name is never evaluated.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rayflume.errors import ConfigError

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)


def is_dotted(name: str) -> bool:
    """Whether a type is a dotted name, which no part of rayflume itself has."""
    return _DOTTED.fullmatch(name) is not None


def is_java(name: str) -> bool:
    """Whether a name may be that of a Java class; an inner one has a `$`."""
    return is_dotted(name.replace("$", "_"))


def how_to_map(java_class: str) -> str:
    """What to do about a Java class, a clause for the end of a sentence."""
    return (
        "a Java class cannot run here: write the part in Python (docs/own-parts.md) and say "
        f"`--map '{java_class}=my_module.MyPart'`, or `java_classes: {{{java_class}: "
        "my_module.MyPart}`"
    )


def named(name: str) -> object:
    """What a dotted name stands for: an attribute of the module before its last dot.

    Imports that module: its code runs. Raises ConfigError saying what is missing or fails.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(name, module_name, error.name or "")) from error
    except Exception as error:  # the module's own code, which may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:256]
        raise ConfigError(f"the module {module_name!r} cannot be imported: {reason}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        place = getattr(module, "__file__", None) or "built in"
        raise ConfigError(f"{module_name} ({place}) has no class {attribute!r}") from None


def _missing(name: str, module: str, wanted: str) -> str:
    if module != wanted and not module.startswith(f"{wanted}."):
        return f"the module {module!r} needs the package {wanted!r}, which is not installed"
    top = module.partition(".")[0]
    text = (
        f"there is no module {module!r}: put {top}.py (or a folder {top}/ with an __init__.py) "
        "beside the configuration or on PYTHONPATH, or install it"
    )
    if "." in module:
        text += f"; {how_to_map(name)}"
    return text


def beside(values: object, *directories: Path) -> tuple[Path, ...]:
    """The modules and packages in the directories that a dotted name among the values begins with.

    `values`: options as they are written, mappings and lists within each other. Imports nothing.
    """
    tops = sorted({text.partition(".")[0] for text in _dotted(values)})
    return tuple(
        place.parent if place.name == "__init__.py" else place
        for directory in directories
        for top in tops
        for place in (directory / f"{top}.py", directory / top / "__init__.py")
        if place.is_file()
    )


def make_importable(values: object, *directories: Path) -> None:
    """Let Python look into those of the directories too, behind all other places, that hold what a
    name among the values begins with. Holds for this process.
    """
    for path in beside(values, *directories):
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))


def imported_from(values: object, *directories: Path) -> tuple[Path, ...]:
    """Those of `beside` that this process has imported: what other hosts need."""
    return tuple(path for path in beside(values, *directories) if _came_from(path))


def _came_from(path: Path) -> bool:
    file = getattr(sys.modules.get(path.stem), "__file__", None)
    return file is not None and Path(file) in (path, path / "__init__.py")


def _dotted(values: object) -> Iterator[str]:
    if isinstance(values, str):
        if is_dotted(values):
            yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _dotted(value)
    elif isinstance(values, Iterable):
        for value in values:
            yield from _dotted(value)
