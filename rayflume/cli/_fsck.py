"""What `rayflume fsck` shows of a journal: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rayflume.cli._output import complain, printable, say, table
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from rayflume.journal.recovery import Bad
    from rayflume.journal.repair import Repaired
    from rayflume.journal.survey import Survey

_SHOWN = 20
"""Lines of one table; more are for `rayflume journal` and `--json`."""


@dataclass(frozen=True)
class Place:
    """A stretch of a segment with rows that are not committed; `delivery` "" while they wait."""

    delivery: str
    segment: str
    start: int
    stop: int
    rows: tuple[int, int]
    records: int


def places(found: Survey) -> Iterator[Place]:
    """Where the rows lie that are not committed, records that follow each other in one."""
    last: Place | None = None
    for delivery, ref in found.unfinished():
        rows = (ref.position, ref.position + ref.rows)
        if last is not None and last.rows[1] == rows[0]:
            whose = (last.delivery, last.segment)
            # A record may be shared by two deliveries; one put without rows may lie between two.
            if whose == (delivery, ref.segment):
                start, rows = last.start, (last.rows[0], rows[1])
                stop = ref.offset + ref.length
                last = Place(delivery, ref.segment, start, stop, rows, last.records + 1)
                continue
        if last is not None:
            yield last
        stop = ref.offset + ref.length
        last = Place(delivery, ref.segment, ref.offset, stop, rows, 1)
    if last is not None:
        yield last


def as_object(directory: Path, found: Survey) -> dict[str, object]:
    """All of it as JSON. `start`, `stop` and `bytes` count bytes, `rows` rows."""
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
        "unfinished_places": [
            {
                "delivery": place.delivery or None,
                "segment": place.segment,
                "start": place.start,
                "stop": place.stop,
                "rows": list(place.rows),
                "records": place.records,
            }
            for place in places(found)
        ],
        "streams": len(ledger.streams),
        "positions": {
            name: {"next": at.next, "retired": at.retired}
            for name, at in sorted(ledger.streams.items())
        },
        "keys": len(ledger.keys),
        "deliveries": [manifest.delivery for manifest, _ in found.prepared()],
        "torn": [_place(bad) for bad in found.torn],
        "being_written": [_place(bad) for bad in found.writing],
        "damaged": [_place(bad) for bad in found.damaged],
        "notes": found.notes,
    }


def _place(bad: Bad) -> dict[str, object]:
    return {"segment": bad.segment, "start": bad.start, "stop": bad.stop, "reason": bad.reason}


def repair_object(done: Repaired) -> dict[str, object]:
    """What a repair did, as JSON."""
    return {
        "kept": done.kept,
        "left_out": [_place(bad) for bad in done.left_out],
        "lost": done.lost,
        "notes": done.notes,
    }


def show(directory: Path, found: Survey, seconds: float) -> None:
    """All of it for people."""
    ledger, size = found.ledger, sum(found.sizes.values())
    rows = [
        ["journal", f"{ledger.journal}, epoch {ledger.epoch}"],
        ["in use by", printable(found.holder) if found.holder else "nobody"],
        ["segments", f"{len(found.sizes)}, {format_bytes(size)}"],
        ["records", ", ".join(f"{count:,} {kind}" for kind, count in found.records().items())],
        ["rows", _rows(found)],
        ["streams", f"{len(ledger.streams):,}, keys {len(ledger.keys):,}"],
        ["deliveries", f"{len(found.prepared()):,} prepared and not committed"],
        ["read", f"in {seconds:.1f} s, {size / 1e6 / max(seconds, 1e-3):,.0f} MB/s"],
    ]
    table([str(directory), "what it holds"], rows)
    _show_streams(found)
    _show_places(found)
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
        "damaged": (
            "damaged; a channel without `strict` serves the rest, and `rayflume fsck --repair` "
            "sets the damage aside",
            "bold red",
        ),
    }
    say(*verdicts[found.state])


def _show_streams(found: Survey) -> None:
    streams = sorted(found.ledger.streams.items())
    if streams:
        say("")
        cells = [
            [printable(name), f"{at.next:,}", "retired" if at.retired else "live"]
            for name, at in streams[:_SHOWN]
        ]
        table(["stream", "next", "state"], cells)
        _more(len(streams), "`rayflume journal streams` shows all")


def _show_places(found: Survey) -> None:
    shown = list(places(found))
    if shown:
        say("")
        cells = [
            [
                place.delivery or "waiting",
                f"{place.rows[0]:,} to {place.rows[1]:,}",
                f"{place.records:,}",
                f"{place.segment}, bytes {place.start:,} to {place.stop:,}",
            ]
            for place in shown[:_SHOWN]
        ]
        table(["delivery", "rows", "records", "where"], cells)
        _more(len(shown), "`--json` shows all")


def _more(count: int, how: str) -> None:
    if count > _SHOWN:
        say(f"and {count - _SHOWN:,} more; {how}")


def say_repaired(directory: Path, done: Repaired) -> None:
    """What a repair did, for people."""
    for segment, kept in done.kept.items():
        left_out = [bad for bad in done.left_out if bad.segment == segment]
        size = format_bytes(sum(bad.stop - bad.start for bad in left_out))
        say(
            f"repaired: {segment}: {len(left_out)} damaged parts ({size}) are left out; as it was "
            f"it is kept as {directory / kept}"
        )
        for bad in left_out:
            say(f"  left out: {_line(bad)}")
    for note in done.notes:
        say(f"repaired: {printable(note)}")
    if done.lost:
        say(f"given up: {done.lost:,} rows that can't be read any more")
    if not (done.kept or done.notes or done.lost):
        say("nothing to repair")


def _rows(found: Survey) -> str:
    unfinished = len(found.ledger.unfinished)
    size = format_bytes(found.index.bytes_of(found.ledger.unfinished))
    return f"{found.rows_put():,} put, {unfinished:,} not delivered yet ({size})"


def _line(bad: Bad) -> str:
    return f"{bad.segment}, bytes {bad.start:,} to {bad.stop:,}: {bad.reason}"
