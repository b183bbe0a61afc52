"""The end of `make demo`: what went in, what is in the lake, and the first rows as a user reads
them.

    python -m rayflume.demo_lake demo

Everything is read from the files, nothing from the agent that wrote them: the input is counted
again, and the lake is opened as any program would that knows pyarrow and not rayflume.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from rayflume.cli._output import say
from rayflume.naming import DEAD_LETTERS
from rayflume.units import format_bytes

_READ_BYTES = 2**22


@dataclass(frozen=True)
class Counted:
    """Both ends of the demo: lines that went in; rows and files of the lake, dead letters."""

    lines: int
    rows: int
    dead: int
    files: int
    bytes: int

    @property
    def whole(self) -> bool:
        """Whether every row that went in is in the lake or among the dead letters."""
        return self.lines == self.rows + self.dead


def count(folder: Path) -> Counted:
    """Count the input `clicks/`, the lake `lake/clicks/` and its dead letters below `folder`.

    Blocks. Raises OSError when something is not there.
    """
    lake = folder / "lake" / "clicks"
    files = [Path(path) for path in _dataset(lake).files]
    return Counted(
        lines=sum(_lines(path) for path in sorted((folder / "clicks").glob("*.jsonl"))),
        rows=_rows(files),
        dead=_rows(sorted((lake / DEAD_LETTERS).glob("*.dead"))),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
    )


def first_rows(lake: Path, rows: int = 5) -> pd.DataFrame:
    """The first clicks of the first hour, with a few of their columns."""
    columns = ["dt", "hour", "ts", "user_id", "event", "url", "price"]
    frame: pd.DataFrame = _dataset(lake).head(rows, columns=columns).to_pandas()
    return frame


def _dataset(lake: Path) -> ds.Dataset:
    names = pa.schema([("dt", pa.string()), ("hour", pa.string())])
    return ds.dataset(lake, format="parquet", partitioning=ds.partitioning(names, flavor="hive"))


def _rows(files: list[Path]) -> int:
    return sum(int(pq.read_metadata(path).num_rows) for path in files)


def _lines(path: Path) -> int:
    """Newlines, and a last line without one."""
    found, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            found += block.count(b"\n")
            last = block[-1:]
    return found + (last != b"\n")


def main() -> int:
    """Print what was counted and the first rows. Returns 1 when rows are missing or too many."""
    parser = argparse.ArgumentParser(description="Show what the demo wrote.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    folder = parser.parse_args().folder
    lake = folder / "lake" / "clicks"
    try:
        counted = count(folder)
    except OSError as error:
        sys.stderr.write(f"{error}; `make demo` writes it\n")
        return 2
    say("")
    say(
        f"Counted again from the files: {counted.lines:,} lines went in, {counted.rows:,} rows are "
        f"in the lake ({counted.files} files, {format_bytes(counted.bytes)}), {counted.dead:,} in "
        "the dead letters."
    )
    if not counted.whole:
        sys.stderr.write("That does not add up: rows are missing, or there are too many.\n")
        return 1
    say("")
    say(">>> import pyarrow.dataset as ds", "bold")
    say(f'>>> ds.dataset("{lake}", partitioning="hive").head(5).to_pandas()', "bold")
    say(first_rows(lake).to_string(index=False, max_colwidth=40))
    say("")
    say(f"Dead letters, each with its reason: {lake / DEAD_LETTERS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
