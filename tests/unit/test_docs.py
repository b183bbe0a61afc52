"""What the documents name is there: tests, files, and headings that links lead to."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?!https?:)([^)\s]*)\)")
TEST = re.compile(r"`((?:tests/[\w/]*)?test_\w+(?:\.py)?)`")
GENERATED = ("components.md", "flume-parity.md")
"""Their anchors are written as HTML, or there are none."""


@cache
def known_tests() -> frozenset[str]:
    """Names of test modules and of test functions."""
    modules = list((ROOT / "tests").rglob("test_*.py"))
    functions = re.compile(r"^def (test_\w+)", re.MULTILINE)
    names = {name for module in modules for name in functions.findall(module.read_text())}
    return frozenset(names | {module.name for module in modules})


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link may have behind `#`: GitHub's form of the headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in titles)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_a_page_names_are_there(page: Path) -> None:
    named = {name.rsplit("/", 1)[-1] for name in TEST.findall(page.read_text())}
    assert named <= known_tests(), sorted(named - known_tests())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in LINK.findall(re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        generated = target.name in GENERATED
        if not target.exists() or (anchor and not generated and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []
