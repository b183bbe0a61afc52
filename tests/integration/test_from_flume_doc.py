"""docs/from-flume.md: every file and every command in it, in order, as a reader would.

Commands of rayflume run in this process. Those that want a cluster get as far as one is asked for.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from rayflume.agent import cluster
from rayflume.cli import run, submit
from rayflume.errors import RayflumeError

PAGE = Path(__file__).parents[2] / "docs" / "from-flume.md"
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (rayflume .*?)(?:  +#.*)?$", re.MULTILINE)
NO_CLUSTER = "no cluster in this test"


@pytest.fixture(autouse=True)
def _reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise RayflumeError(NO_CLUSTER)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(cluster, "connect", refuse)
    monkeypatch.setattr(submit, "_client", refuse)
    yield
    sys.modules.pop("loud_parts", None)


def called(line: str) -> str:
    """What a command prints."""
    if not line.startswith("rayflume "):
        done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout
    command, _, file = line.partition(" > ")
    words = shlex.split(command)[1:]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    if words[0] in ("start", "apply", "submit"):
        assert (code, err.getvalue().splitlines()[-1]) == (1, f"rayflume: {NO_CLUSTER}"), line
    else:
        assert code == 0, f"{line}: {out.getvalue()}{err.getvalue()}"
    if file:
        Path(file).write_text(out.getvalue())
    return out.getvalue()


def test_the_page_runs() -> None:
    shown: list[tuple[str, str]] = []
    expected = ""
    for _, kind, indented in BLOCK.findall(PAGE.read_text()):
        text = textwrap.dedent(indented)
        if kind == "sh":
            shown += [(line, called(line)) for line in text.splitlines()]
        elif kind == "text":
            expected = text
        else:
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
    printed = dict(shown)
    validated = printed["rayflume validate flume.conf"].splitlines()
    assert expected.splitlines()[-1] == validated[-1]
    assert set(expected.splitlines()) <= set(validated)
    assert printed["cat lake/*/FlumeData.*"] == "three\nfour\n"
    assert printed["cat lake/loud/FlumeData.*"] == "FIVE\n"
    encrypted = b"".join(path.read_bytes() for path in Path("encrypted").glob("segment-*"))
    assert b"three" not in encrypted
    assert [path.read_text() for path in Path("encrypted-lake").glob("FlumeData.*")] == [
        "one\ntwo\nthree\nfour\nfive\n"
    ]
    assert printed["rayflume run a1.yaml --inline --until-drained"].split()[-8] == "0"
    assert "spooldir" in printed["rayflume components --flume"]
    assert "a1.sources =" not in Path("drain.conf").read_text()
    assert len(shown) == 24


def test_what_is_in_short_is_understood() -> None:
    [flume] = [text for _, kind, text in BLOCK.findall(PAGE.read_text()) if kind == "properties"]
    Path("flume.conf").write_text(flume)
    Path("logs").mkdir()
    lines = INDENTED.findall(PAGE.read_text().split("## A worked example")[0])
    assert [line.split()[1] for line in lines] == ["validate", "run"]
    called(lines[0])
    called(f"{lines[1]} --inline --until-drained")


@pytest.mark.parametrize("anchor", re.findall(r"\]\(([\w.#/-]+)\)", PAGE.read_text()))
def test_links_lead_somewhere(anchor: str) -> None:
    file, _, heading = anchor.partition("#")
    target = (PAGE.parent / file).resolve() if file else PAGE
    assert target.is_file()
    if heading:
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert heading in slugs
