"""`rayflume components my_module.MySink --new sink`: a part of one's own, and its test."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

from rayflume.component import nearest
from rayflume.errors import ConfigError
from rayflume.own_parts import is_dotted

_OPTIONS = {
    "source": '{"batch_size": 10, "total": 120}, tmp_path, ROWS',
    "interceptor": "{}, tmp_path",
    "selector": '{"header": "kind", "value": "k1", "to": "one"}, tmp_path',
    "channel": '{"directory": "wal"}, tmp_path, reopens=True',
    "sink": '{"path": "rows.txt"}, tmp_path',
    "format": "{}, tmp_path",
}
"""Kind -> what its test is tried with."""
_TEST = '''\
"""The contract of {name}."""

from pathlib import Path

import pytest
from rayflume.testing import Check, Trial, checks

from {module} import {name}
{rows}

@pytest.mark.parametrize("check", checks("{kind}"), ids=str)
def test_contract(check: Check, tmp_path: Path) -> None:
    check(Trial({name}, {options}))
'''
_ROWS = """
ROWS = [b"row %d" % number for number in range(120)]  # what the source's input holds
"""


def write(name: str, kind: str, directory: Path) -> list[Path]:
    """Write the module of a dotted name, with a class of that kind, and a test beside it.

    Returns their paths. Raises ConfigError: no such kind, no such name, or one is there already.
    """
    if kind not in _OPTIONS:
        raise ConfigError(f"there is no template for {kind!r}{nearest(kind, list(_OPTIONS))}")
    module, _, class_name = name.rpartition(".")
    if not is_dotted(name):
        raise ConfigError(f"{name!r} is no class of a module: write it as my_module.MyPart")
    path = directory / f"{module.replace('.', '/')}.py"
    test = directory / f"test_{module.replace('.', '_')}.py"
    for one in (path, test):
        if one.exists():
            raise ConfigError(f"{one} is there already: choose another name, or remove it")
    if not path.parent.is_dir():
        raise ConfigError(f"the directory {path.parent} does not exist; create it")
    template = import_module(f"rayflume.templates.{kind}")
    text = inspect.getsource(template).replace(f"My{kind.capitalize()}", class_name)
    path.write_text(text, "utf-8")
    values = {"name": class_name, "module": module, "kind": kind, "options": _OPTIONS[kind]}
    rows = _ROWS if kind == "source" else ""
    test.write_text(_TEST.format(rows=rows, **values), "utf-8")
    return [path, test]
