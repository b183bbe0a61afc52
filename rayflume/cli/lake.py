"""`rayflume lake inspect [PATH]`: what is in a lake, and the proof of what arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rayflume.cli._lake import ConfigFile, LakePath, SinkName, StorageOptions, chosen_lake
from rayflume.cli._output import complain, printable, say, say_json, table
from rayflume.cli.validate import AsJson
from rayflume.naming import DEAD_LETTERS
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rayflume.interfaces import RowRange
    from rayflume.maintenance.inspect import JournalRows, Partition, Report

SHOWN = 20


def add(app: typer.Typer) -> None:
    """Register the command."""
    group = typer.Typer(
        name="lake", help="A lake by hand.\n\nExample:  rayflume lake inspect lake/clicks"
    )
    group.callback()(lambda: None)  # or one command alone would lose its name
    group.command("inspect")(inspect)
    app.add_typer(group)


def inspect(
    path: LakePath = None,
    storage: StorageOptions = None,
    config: ConfigFile = None,
    sink: SinkName = None,
    as_json: AsJson = False,
) -> None:
    """Show partitions, files and sizes, and which rows of which journals have arrived.

    Only the ends of files are read. Every file names the rows of the channel's journal among which
    its own were chosen, so rows that are missing (gaps) or may be there twice (overlaps) show. A
    gap is also what partitions leave that were deleted, and what the same channel has delivered to
    another lake.

    Exit code 1 when there are gaps, overlaps or files that can't be read.

    Example:  rayflume lake inspect lake/clicks
    """
    from rayflume.agent.lakes import report
    from rayflume.agent.lean import spare_pandas

    spare_pandas()
    lake = chosen_lake(path, storage, config, sink)
    found = report(lake)
    if as_json:
        say_json(_as_object(found))
    elif not found.partitions and found.proven:
        _show_empty(found, lake.path)
    else:
        _show(found)
    if not found.proven:
        raise typer.Exit(1)


def _show(found: Report) -> None:
    if found.partitions:
        rows = [_partition_cells(partition) for partition in found.partitions]
        table(["partition", "files", "rows", "size", "mean file", "in files >= 64 MB"], rows)
    if found.journals:
        say("")
        table(
            ["journal", "deliveries", "files", "rows", "gaps", "overlaps"],
            [_journal_cells(journal) for journal in found.journals],
        )
    for journal in found.journals:
        _show_journal(journal)
    if found.foreign:
        say(f"{len(found.foreign):,} Parquet files are not rayflume's, such as {found.foreign[0]}")
    complain([f"{printable(path)}: {problem}" for path, problem in found.damaged])
    files = sum(partition.files for partition in found.partitions)
    rows_in = sum(partition.rows for partition in found.partitions)
    say("")
    say(
        f"{rows_in:,} rows in {files:,} files of {len(found.partitions):,} partitions, "
        f"{format_bytes(found.bytes)}, {found.large_share:.1%} of it in files of 64 MB or more; "
        f"{found.dead.rows:,} dead letters"
    )
    say(_verdict(found))


def _show_empty(found: Report, lake: str) -> None:
    """What is there instead of rows, and what to do."""
    count = len(found.others)
    others = f"{count:,} other files, such as " if count > 1 else "1 other file, "
    there = f"{others}{found.others[0]}" if found.others else "nothing else either"
    if found.dead.rows:
        place = f"{lake.rstrip('/')}/{DEAD_LETTERS}"
        say(printable(f"no row is in {lake}: all {found.dead.rows:,} are dead letters, in {place}"))
        say(printable(
            "each has its reason there; mend the cause, then `rayflume replay "
            f"{lake} --config CONF` delivers them"
        ))  # fmt: skip
        return
    say(printable(f"no Parquet file is in {lake}; there is {there}"))
    say(
        "a sink publishes its first files at the end of its first delivery (`roll.age`, 5 minutes "
        "if nothing is said), until then `rayflume status` shows the rows as backlog; if that has "
        "passed, compare this path with the sink's: --config CONF takes it from there"
    )


def _show_journal(journal: JournalRows) -> None:
    for start, stop in journal.gaps[:SHOWN]:
        say(f"gap: rows {start:,} to {stop:,} of journal {journal.journal} are in no file")
    for overlap in journal.overlaps[:SHOWN]:
        say(
            f"overlap: rows {overlap.start:,} to {overlap.stop:,} of journal {journal.journal} are "
            f"in {printable(overlap.files[0])} and in {printable(overlap.files[1])}"
        )
    more = max(0, len(journal.gaps) - SHOWN) + max(0, len(journal.overlaps) - SHOWN)
    if more:
        say(f"... and {more:,} more of journal {journal.journal}; --json has all")


def _verdict(found: Report) -> str:
    if found.proven:
        return (
            "no gaps, no overlaps: every row of each journal up to its last one here is there once"
        )
    gaps = sum(len(journal.gaps) for journal in found.journals)
    overlaps = sum(len(journal.overlaps) for journal in found.journals)
    hint = ""
    if overlaps:
        hint = "; a compaction that was killed leaves overlaps until `rayflume compact` runs again"
    return f"{gaps:,} gaps, {overlaps:,} overlaps, {len(found.damaged):,} damaged files{hint}"


def _partition_cells(partition: Partition) -> list[str]:
    return [
        printable(partition.name) or "(unpartitioned)",
        f"{partition.files:,}",
        f"{partition.rows:,}",
        format_bytes(partition.bytes),
        format_bytes(partition.bytes / partition.files),
        f"{partition.large / partition.bytes:.0%}" if partition.bytes else "",
    ]


def _journal_cells(journal: JournalRows) -> list[str]:
    return [
        journal.journal,
        f"{journal.deliveries:,}",
        f"{journal.files:,}",
        _ranges_text(journal.ranges),
        f"{len(journal.gaps):,}",
        f"{len(journal.overlaps):,}",
    ]


def _ranges_text(ranges: Sequence[RowRange]) -> str:
    shown = [f"{start:,}-{stop:,}" for start, stop in ranges[:3]]
    return " ".join([*shown, *(["..."] if len(ranges) > 3 else [])])


def _as_object(found: Report) -> dict[str, object]:
    return {
        "proven": found.proven,
        "bytes": found.bytes,
        "large_share": round(found.large_share, 4),
        "partitions": [
            {
                "partition": partition.name,
                "files": partition.files,
                "rows": partition.rows,
                "bytes": partition.bytes,
                "large_bytes": partition.large,
            }
            for partition in found.partitions
        ],
        "dead_letters": {"files": found.dead.files, "rows": found.dead.rows},
        "journals": [_journal_object(journal) for journal in found.journals],
        "streams": found.streams,
        "foreign": found.foreign,
        "others": len(found.others),
        "damaged": [{"path": path, "problem": problem} for path, problem in found.damaged],
    }


def _journal_object(journal: JournalRows) -> dict[str, object]:
    return {
        "journal": journal.journal,
        "deliveries": journal.deliveries,
        "files": journal.files,
        "ranges": journal.ranges,
        "gaps": journal.gaps,
        "overlaps": [
            {"start": one.start, "stop": one.stop, "files": one.files} for one in journal.overlaps
        ],
    }
