"""docs/own-parts.md: every file and every command in it, in order, as a reader would."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rayflume.cli import run
from rayflume.testing import ContractBroken, Trial, checks

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|yaml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def rows(lake: Path) -> list[str]:
    files = lake.glob("part-*.parquet")
    return sorted(row for file in files for row in pq.read_table(file).column(0).to_pylist())


@pytest.fixture(autouse=True)
def _python_forgets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.endswith("_parts"):
            del sys.modules[name]


def called(line: str) -> str:
    """What a command prints. Those of rayflume run in this process, which spares their start."""
    if line.startswith("rayflume "):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert run(shlex.split(line)[1:]) == 0, line
        return out.getvalue()
    command = ["bash", "-euc", line]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    blocks = BLOCK.findall((ROOT / "docs" / "own-parts.md").read_text())
    assert len(blocks) == 9
    shown = ""
    for kind, text in blocks:
        if kind == "sh":
            shown += "".join(map(called, text.splitlines()))
        else:
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
    assert rows(Path("lake")) == ["no,1", "no,3"]
    assert rows(Path("mapped-lake")) == ["se,2"]
    assert "interceptor shop_parts.OnlyShop" in shown
    assert len(re.findall(r"^\d+ passed", shown, re.MULTILINE)) == 2


def test_the_bug_it_tells_of_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "own-parts.md").read_text()
    (tmp_path / "first_parts.py").write_text(BLOCK.findall(text)[0][1])
    monkeypatch.syspath_prepend(tmp_path)
    from importlib import import_module

    part = import_module("first_parts").OnlyShop
    check = next(one for one in checks("interceptor") if str(one).startswith("i2_never_raises"))
    with pytest.raises(ContractBroken) as raised:
        check(Trial(part, {"shop": "no"}, tmp_path))
    assert "".join(str(raised.value).split(":")[:1]) in text
    assert "ArrowInvalid('Invalid UTF8 payload" in str(raised.value)
