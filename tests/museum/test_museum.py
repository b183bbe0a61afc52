"""The museum: known failures of other collectors, as executable tests of rayflume (F22).

Each is named after what went wrong there, and its docstring says where that is written down
(project and number), what happened, and what rayflume does. By theme:

- test_museum_buffers: disk buffers that could not be opened, looped, or had acknowledged too early.
- test_museum_lake_files: tiny files, wrong partitions, unreadable types, one bad row for many.
- test_museum_publishing: overwrites, zombies, ambiguous commits, leaked uploads, dropped batches.
- test_museum_sources: rotated and renamed files, reused inodes, half lines.
- test_museum_shutdown: open batches at the end, agents that only look alive.
- test_museum_configuration: guarantees that an option takes away, values that are not heeded.

Here: that every one of them carries its reference.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
LEAST = 25
REFERENCE = re.compile(r"^Reference: .*?([\w.-]+/[\w.-]+|[A-Z]+-\d+|fsyncgate)", re.DOTALL)


def exhibits() -> dict[str, str]:
    """Name -> docstring of every test of the museum but this one."""
    found = {}
    for path in sorted(HERE.glob("test_museum_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name not in found, node.name
                found[node.name] = " ".join((ast.get_docstring(node) or "").split())
    return found


def test_f22_every_exhibit_names_its_reference_and_what_rayflume_does() -> None:
    found = exhibits()
    assert len(found) >= LEAST
    for name, text in found.items():
        assert REFERENCE.match(text), (
            f"{name}: begin its docstring with `Reference: project#number`"
        )
        told = text.partition(". ")[2]
        assert len(re.findall(r"\.(?:\s|$)", told)) >= 2, f"{name}: two sentences"
        assert "rayflume" in told, f"{name}: say what rayflume does"
        number = re.match(r"test_[a-z0-9_]*?_(\d{2,})_", name)
        assert number is None or number[1] in text, f"{name}: another number in its docstring"


def test_f22_every_theme_is_listed() -> None:
    files = {path.stem for path in HERE.glob("test_museum_*.py")}
    assert files == set(re.findall(r"^- (test_museum_\w+):", __doc__ or "", re.MULTILINE))
