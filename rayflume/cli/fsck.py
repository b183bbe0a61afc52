"""`rayflume fsck DIR`: what a journal holds and whether all of it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._output import complain, interactive, printable, say, say_json, table
from rayflume.cli.validate import AsJson
from rayflume.errors import ConfigError, JournalDamaged
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from rayflume.journal.recovery import Bad
    from rayflume.journal.survey import Seen, Survey

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="Directory of a file channel's journal.")
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("fsck")(fsck)


def fsck(directory: Directory, as_json: AsJson = False) -> None:
    """Read a journal and check every record of it. Changes nothing, needs no Ray.

    May be used while the channel runs. A torn tail is harmless: nothing of it was acknowledged, and
    the next opening cuts it. Exit code 1 when records are damaged.

    Example:  rayflume fsck state/wal
    """
    found = surveyed(directory, bodies=True)
    if as_json:
        say_json(as_object(directory, found))
    else:
        _show(directory, found)
    if found.state == "damaged":
        raise typer.Exit(1)


def surveyed(directory: Path, *, bodies: bool = False) -> Survey:
    """Look at a journal. Raises ConfigError saying why there is none, JournalDamaged."""
    from rayflume.journal.survey import segments, survey

    if not directory.is_dir():
        reason = "is no directory" if directory.exists() else "does not exist"
        raise ConfigError(f"{directory} {reason}: name the `directory` of a file channel")
    if not segments(directory):
        raise ConfigError(f"{directory} holds no journal: it has no file segment-*.log")
    try:
        with _bar() as seen:
            return survey(directory, bodies=bodies, seen=seen)
    except JournalDamaged as error:
        raise JournalDamaged(f"{directory}: {error.message}") from error


@contextmanager
def _bar() -> Iterator[Seen]:
    """A progress bar in a terminal."""
    if not interactive():
        yield lambda done, all: None
        return
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        task = progress.add_task("checking", total=None)
        yield lambda done, all: progress.update(task, completed=done, total=all)


def as_object(directory: Path, found: Survey) -> dict[str, object]:
    """All of it as JSON. `stop` and `bytes` count bytes, `rows` rows."""
    ledger = found.ledger
    return {
        "directory": str(directory),
        "state": found.state,
        "journal": ledger.journal,
        "epoch": ledger.epoch,
        "in_use_by": found.holder or None,
        "segments": [
            {"name": name, "bytes": size, "good_bytes": found.found.ends.get(name, size)}
            for name, size in found.sizes.items()
        ],
        "records": found.records(),
        "rows": {
            "put": found.rows_put(),
            "unfinished": len(ledger.unfinished),
            "prepared": ledger.prepared_rows,
            "lost": len(found.lost),
        },
        "unfinished_bytes": found.index.bytes_of(ledger.unfinished),
        "streams": len(ledger.streams),
        "keys": len(ledger.keys),
        "deliveries": [manifest.delivery for manifest, _ in found.prepared()],
        "torn": [_place(bad) for bad in found.torn],
        "being_written": [_place(bad) for bad in found.writing],
        "damaged": [_place(bad) for bad in found.damaged],
        "notes": found.notes,
    }


def _place(bad: Bad) -> dict[str, object]:
    return {"segment": bad.segment, "start": bad.start, "stop": bad.stop, "reason": bad.reason}


def _show(directory: Path, found: Survey) -> None:
    ledger = found.ledger
    rows = [
        ["journal", f"{ledger.journal}, epoch {ledger.epoch}"],
        ["in use by", printable(found.holder) if found.holder else "nobody"],
        ["segments", f"{len(found.sizes)}, {format_bytes(sum(found.sizes.values()))}"],
        ["records", ", ".join(f"{count:,} {kind}" for kind, count in found.records().items())],
        ["rows", _rows(found)],
        ["streams", f"{len(ledger.streams):,}, keys {len(ledger.keys):,}"],
        ["deliveries", f"{len(found.prepared()):,} prepared and not committed"],
    ]
    table([str(directory), "what it holds"], rows)
    for bad in found.writing:
        say(f"being written: {_line(bad)}")
    for bad in found.torn:
        say(f"torn: {_line(bad)}", "yellow")
    complain([f"damaged: {_line(bad)}" for bad in found.damaged] + found.notes)
    if found.lost:
        complain([f"{len(found.lost):,} rows that were not delivered can't be read any more"])
    verdicts = {
        "whole": ("every record is whole", "bold green"),
        "torn": ("whole but for a torn tail, which the next opening cuts", "bold yellow"),
        "damaged": ("damaged; a channel without `strict` serves the rest", "bold red"),
    }
    say(*verdicts[found.state])


def _rows(found: Survey) -> str:
    unfinished = len(found.ledger.unfinished)
    size = format_bytes(found.index.bytes_of(found.ledger.unfinished))
    return f"{found.rows_put():,} put, {unfinished:,} not delivered yet ({size})"


def _line(bad: Bad) -> str:
    return f"{bad.segment}, bytes {bad.start:,} to {bad.stop:,}: {bad.reason}"
