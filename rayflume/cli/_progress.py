"""Live progress of an agent: a table in a terminal, a line every five seconds elsewhere."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from rayflume.cli._output import complain, console, interactive, printable, say
from rayflume.cli._output import table as plain_table
from rayflume.clock import SystemClock
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

    from rayflume.agent.figures import AgentFigures, PartFigures

LINE_EVERY_MS = 5_000
ROWS_LOG = "rayflume.sinks.logger"
COLUMNS = (
    "part", "state", "rows in", "rows out", "in", "out", "rows/s", "backlog", "errors",
)  # fmt: skip
STATE_STYLES = {
    "running": "green", "draining": "yellow", "drained": "cyan", "stopped": "cyan",
    "starting": "yellow", "waiting": "yellow", "wanted": "yellow", "held": "yellow",
    "failed": "bold red", "dead": "bold red", "crashed": "bold red",
}  # fmt: skip


class Progress:
    """Shows figures and sentences while a `with` block runs. Used by one thread."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._clock = SystemClock()
        self._next_line_ms = 0
        self._state = ""

    def __enter__(self) -> Progress:
        if interactive():
            from rich.live import Live

            self._live = Live(console=console(), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, figures: AgentFigures) -> None:
        """The newest figures."""
        if self._live is not None:
            self._live.update(drawn(figures), refresh=True)
            return
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._next_line_ms or figures.state != self._state:
            self._next_line_ms = now_ms + LINE_EVERY_MS
            self._state = figures.state
            sys.stdout.write(f"{line(figures)}\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """A sentence for the user."""
        if self._live is not None:
            self._live.console.print(printable(text), style="yellow", soft_wrap=True)
        else:
            complain([text])


def drawn(figures: AgentFigures) -> RenderableType:
    """All parts as a table for a terminal."""
    from rich.console import Group
    from rich.text import Text

    rate, speed = figures.rate("source")
    head = Text.assemble(
        (figures.agent, "bold"),
        "  ",
        (figures.state, STATE_STYLES.get(figures.state, "")),
        f"  {duration(figures.elapsed_ms)}  {rate:,.0f} rows/s  {format_bytes(speed)}/s",
    )
    return Group(head, grid(COLUMNS, [part_cells(part) for part in figures.parts]))


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for a terminal: two columns of words, then numbers; no cell is folded."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        drawn.add_column(name, justify="left" if index < 2 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(cell, STATE_STYLES.get(cell, "")) for cell in row))
    return drawn


def part_cells(part: PartFigures) -> list[str]:
    """One part as the cells under COLUMNS."""
    name = part.name if part.replica == 0 else f"{part.name}/{part.replica}"
    return [
        printable(name),
        part.state,
        f"{part.rows_in:,}",
        f"{part.rows_out:,}",
        format_bytes(part.bytes_in) if part.kind != "channel" else "",
        format_bytes(part.bytes_out) if part.kind == "sink" else "",
        f"{part.rows_rate:,.0f}",
        f"{part.backlog:,}" if part.kind == "channel" else "",
        f"{part.errors:,}",
    ]


def line(figures: AgentFigures) -> str:
    """All of an agent in one line."""
    rate, speed = figures.rate("source")
    parts = [
        f"{figures.agent} {figures.state} {duration(figures.elapsed_ms)}:",
        f"in {figures.rows_in:,} rows {format_bytes(figures.bytes_in)}",
        f"({rate:,.0f} rows/s, {format_bytes(speed)}/s),",
        f"delivered {figures.rows_delivered:,} rows,",
        f"dead letters {figures.dead:,},",
        f"backlog {figures.backlog:,} rows,",
        f"errors {figures.errors:,}",
    ]
    return printable(" ".join([*parts, *_not_running(figures)]))


def _not_running(figures: AgentFigures) -> Iterator[str]:
    shown = {"running", "draining", "drained", "stopped"}
    odd = [f"{part.name} {part.state}" for part in figures.parts if part.state not in shown]
    if odd:
        yield f"({', '.join(odd)})"


def duration(ms: int) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`."""
    seconds = ms // 1000
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def summary(figures: AgentFigures) -> None:
    """What became dead letters, and the short table at the end. MB are millions of bytes read."""
    for text in dead_letters(figures):
        say(text, "yellow")
    seconds = figures.elapsed_ms / 1000
    megabytes = figures.bytes_in / 1e6
    speed = megabytes / seconds if seconds else 0.0
    cells = {
        "rows in": f"{figures.rows_in:,}",
        "filtered": f"{figures.filtered:,}",
        "rows delivered": f"{figures.rows_delivered:,}",
        "dead letters": f"{figures.dead:,}",
        "left in channels": f"{figures.backlog:,}",
        "files": f"{figures.total('sink', 'FileCommittedCount'):,}",
        "MB": f"{megabytes:,.1f}",
        "MB/s": f"{speed:,.1f}",
        "seconds": f"{seconds:,.1f}",
    }
    if not figures.filtered:
        del cells["filtered"]
    plain_table(list(cells), [list(cells.values())])


def dead_letters(figures: AgentFigures) -> Iterator[str]:
    """What became dead letters: how many rows, where, why the first, and what to do; two lines for
    each sink that has any.
    """
    for dead in figures.dead_letters():
        place = f", in {dead.path}" if dead.path else ""
        why = f"; the first because {dead.first_reason}" if dead.first_reason else ""
        rows = f"{dead.rows:,} row{'s' if dead.rows != 1 else ''}"
        yield printable(f"{rows} went to the dead letters of the sink {dead.sink}{place}{why}")
        if dead.path:
            yield printable(
                "each has its reason there; mend the cause, then deliver them with "
                f"`rayflume replay {dead.path} --config CONF --sink {dead.sink}`"
            )


class StderrLog(logging.Handler):
    """Log lines on whatever stderr is at that moment: above the live table while that is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            lines = "\n".join(printable(part) for part in text.split("\n"))
            sys.stderr.write(f"{lines}\n")
        except Exception:
            self.handleError(record)


def log_to_stderr(level: str) -> None:
    """Send log lines from `level` on to stderr, with user data in them made visible. Rows of a
    `logger` sink always: to see them is what it is for.
    """
    handler = StderrLog()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(ROWS_LOG).setLevel(logging.INFO)
