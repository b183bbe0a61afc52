"""What lets an experiment run alone: its options as command-line options, its tables printed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.table import Table

DATA = Path(__file__).parents[1] / "data"

T = TypeVar("T")


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def standalone(run: Callable[[T], list[Table]], options: type[T], about: str | None) -> None:
    """Parse the command line into `options` (a dataclass), run, print the tables."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        default: Any = field.default
        name = "--" + field.name.replace("_", "-")
        if isinstance(default, tuple):
            kind = type(default[0])
            parser.add_argument(name, type=kind, nargs="+", default=default)
        else:
            kind = float if field.type == "float" else type(default)
            parser.add_argument(name, type=kind, default=default)
    given = vars(parser.parse_args())
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    for table in run(options(**given | lists)):
        print("\n" + table.markdown(), flush=True)
