"""What the commands share: results on stdout, complaints on stderr, tables, JSON.

In a terminal tables are drawn and fit the width; elsewhere they are plain aligned lines that are
never cut, so that they can be searched and split.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PLACE = re.compile(r"[^\s:]+:\d+: ")
LEVEL_STYLES = {"exactly_once": "green", "at_least_once": "yellow", "lossy": "red"}


def interactive() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()


def console() -> Console:
    """The console of stdout. Markup is off: names and values of users are shown as they are."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def complain(problems: Sequence[str]) -> None:
    """Write each problem as a line on stderr, control characters made visible.

    One that begins with `file:line:` stays so, for editors that jump there.
    """
    for problem in problems:
        for line in problem.split("\n"):
            prefix = "" if _PLACE.match(line) else "rayflume: "
            sys.stderr.write(f"{prefix}{printable(line)}\n")


def printable(text: str) -> str:
    """The text without characters that could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str, style: str = "") -> None:
    """One line on stdout, coloured in a terminal."""
    if interactive():
        console().print(text, style=style or None, soft_wrap=True)
    else:
        sys.stdout.write(f"{text}\n")


def say_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(f"{json.dumps(value, indent=2, ensure_ascii=False)}\n")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Mapping[str, str] | None = None,
) -> None:
    """A table on stdout. `styles`: cell text -> colour in a terminal."""
    if not interactive():
        _plain_table(columns, rows)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        drawn.add_column(name, overflow="fold", no_wrap=index == 0)
    for row in rows:
        drawn.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in row))
    console().print(drawn)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(f"{'  '.join(cells).rstrip()}\n")
