"""`rayflume fsck DIR`: what a journal holds and whether all of it is whole; mends a damaged one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._fsck import as_object, repair_object, say_repaired, show
from rayflume.cli._output import say_json
from rayflume.cli.validate import AsJson
from rayflume.clock import Clock, SystemClock
from rayflume.errors import ConfigError, JournalDamaged
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from rayflume.journal.survey import Seen, Survey

LINE_EVERY_MS = 5_000
Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="Directory of a file channel's journal.")
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("fsck")(fsck)


def fsck(
    directory: Directory,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Set damaged parts aside and keep the rest. The channel must not run."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read a journal and check every record of it. Without --repair it changes nothing; needs no
    Ray.

    May be used while the channel runs, but for --repair. A torn tail is harmless: nothing of it was
    acknowledged, and the next opening cuts it. Exit code 1 when records are damaged.

    --repair deletes nothing: a segment with damage is kept as `damaged-<segment>`, and one with its
    readable records takes its place. It may be interrupted and repeated.

    Example:  rayflume fsck state/wal

    Example:  rayflume fsck state/wal --repair
    """
    clock = SystemClock()
    refuse_none(directory)
    done = None
    if repair:
        from rayflume.journal import repair as mending

        with named(directory), progress("checking", clock) as seen:
            done = mending.repair(directory, seen)
        if not as_json:
            say_repaired(directory, done)
    began_ms = clock.monotonic_ms()
    found = surveyed(directory, bodies=True)
    if as_json:
        repaired = {} if done is None else {"repaired": repair_object(done)}
        say_json(as_object(directory, found) | repaired)
    else:
        show(directory, found, (clock.monotonic_ms() - began_ms) / 1000)
    if found.state == "damaged":
        raise typer.Exit(1)


def surveyed(directory: Path, *, bodies: bool = False) -> Survey:
    """Look at a journal. Raises ConfigError saying why there is none, JournalDamaged."""
    from rayflume.journal.survey import survey

    refuse_none(directory)
    with named(directory), progress("checking", SystemClock()) as seen:
        return survey(directory, bodies=bodies, seen=seen)


def refuse_none(directory: Path) -> None:
    """Raises ConfigError saying why there is no journal in a directory."""
    from rayflume.journal.survey import segments

    if not directory.is_dir():
        reason = "is no directory" if directory.exists() else "does not exist"
        raise ConfigError(f"{directory} {reason}: name the `directory` of a file channel")
    if not segments(directory):
        raise ConfigError(f"{directory} holds no journal: it has no file segment-*.log")


@contextmanager
def named(directory: Path) -> Iterator[None]:
    """Let JournalDamaged say which journal."""
    try:
        yield
    except JournalDamaged as error:
        raise JournalDamaged(f"{directory}: {error.message}") from error


@contextmanager
def progress(what: str, clock: Clock) -> Iterator[Seen]:
    """On stderr: a bar in a terminal, elsewhere a line every five seconds."""
    if not sys.stderr.isatty():
        yield Lines(what, clock).seen
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, all: bar.update(task, completed=done, total=all)


class Lines:
    """Progress in a log: how far it is, how fast; nothing for what is done at once."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._began_ms: int | None = None
        self._next_ms = 0

    def seen(self, done: int, total: int) -> None:
        """So many bytes of so many are looked at."""
        now_ms = self._clock.monotonic_ms()
        if self._began_ms is None:
            self._began_ms, self._next_ms = now_ms, now_ms + LINE_EVERY_MS
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + LINE_EVERY_MS
        rate = done / 1000 / max(1, now_ms - self._began_ms)
        so_far = f"{format_bytes(done)} of {format_bytes(total)}"
        sys.stderr.write(f"{self._what}: {so_far}, {rate:,.0f} MB/s\n")
        sys.stderr.flush()
