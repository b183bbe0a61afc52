"""`rayflume compact [PATH]`: merge the small files of closed partitions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._lake import ConfigFile, LakePath, SinkName, StorageOptions, chosen_lake
from rayflume.cli._output import complain, printable, say, say_json
from rayflume.cli.validate import AsJson
from rayflume.units import format_bytes, parse_bytes, parse_millis

if TYPE_CHECKING:
    from rayflume.agent.lakes import LakePlace
    from rayflume.maintenance.compact import Compacted
    from rayflume.maintenance.plan import CompactOptions

SWITCH_WARN_MS = 1000


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compact")(compact)


def compact(
    path: LakePath = None,
    storage: StorageOptions = None,
    config: ConfigFile = None,
    sink: SinkName = None,
    target: Annotated[
        str, typer.Option(metavar="SIZE", help="Files get about this many encoded bytes.")
    ] = "128MiB",
    min_age: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="A partition without a _SUCCESS file is closed when its newest file is as old.",
        ),
    ] = "1h",
    partitions: Annotated[
        str, typer.Option(metavar="GLOB", help="Only these, such as 'dt=2026-11-*'.")
    ] = "*",
    keep_tombstones: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="How long the names of removed files are kept: longer than a sink may be down.",
        ),
    ] = "30d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDR",
            help="Run on this Ray cluster (`auto`: the one of this host), a task for each "
            "partition. Default: in this process, without Ray.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge small files of closed partitions into files of the target size, each row once.

    Ingestion may go on, several compactions may run at once, and one that was killed is repaired by
    running it again. Nothing is removed before the merged file was compared with its sources, row
    counts and a checksum over all rows. While one takes the place of the others, for some
    milliseconds per merged file, a reader of the plain path may see rows twice, and one that has
    listed the files before may find them gone: read a table format where that matters.

    A Delta or Iceberg table is compacted by the format's own means, in commits; of the options only
    --target counts then, and what is replaced stays until the table's own clean-up. For an Iceberg
    table name the --config, which has its catalog.

    Merged files are made in the temporary folder (TMPDIR), which must have room for one of them per
    partition at work. Columns that came later are null in the rows from before; a sort order is
    kept within row groups. Files of others than rayflume are left alone.

    Exit code 1 when a partition could not be compacted as it should.

    Example:  rayflume compact lake/clicks --dry-run
    """
    from rayflume.agent.lean import spare_pandas
    from rayflume.maintenance.plan import CompactOptions

    lake = chosen_lake(path, storage, config, sink)
    options = CompactOptions(
        _parsed(parse_bytes, "--target", target),
        _parsed(parse_millis, "--min-age", min_age),
        partitions,
        _parsed(parse_millis, "--keep-tombstones", keep_tombstones),
        dry_run,
    )
    if address is None:
        spare_pandas()
    if address is None and _compacted_table(lake, options, as_json=as_json):
        return
    done = _run(address, lake, options, quiet=as_json)
    if as_json:
        say_json([_as_object(one) for one in done])
    else:
        say(_sum(done, dry_run))
    if any(one.problem for one in done):
        raise typer.Exit(1)


def _compacted_table(lake: LakePlace, options: CompactOptions, *, as_json: bool) -> bool:
    """Whether the lake is a table; it is compacted then, and what was done is told."""
    from rayflume.agent.lakes import compacted_table

    if options.dry_run:
        return False  # a table is refused there
    done = compacted_table(lake, options.target_bytes)
    if done is None:
        return False
    if as_json:
        say_json([{"files_before": done.removed, "files_after": done.added}])
    else:
        say(f"the table was compacted: {done.removed:,} files -> {done.added:,}")
    return True


def _parsed(parse: Callable[[object], int], name: str, text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {error}") from None


def _run(
    address: str | None, lake: LakePlace, options: CompactOptions, *, quiet: bool
) -> list[Compacted]:
    def show(one: Compacted, done: int, of: int) -> None:
        if one.problem:
            complain([f"{one.partition or 'the lake'}: {one.problem}"])
        if not quiet:
            say(f"[{done}/{of}] {_sentence(one)}")
            sys.stdout.flush()
        if one.switch_ms >= SWITCH_WARN_MS:
            complain(
                [
                    f"{one.partition or 'the lake'}: its rows could be seen twice for "
                    f"{one.switch_ms / 1000:.1f} s, because the store was slow"
                ]
            )

    if address is None:
        from rayflume.agent import lakes

        return lakes.compact(lake, options, show)
    from rayflume.agent import compact_tasks

    return compact_tasks.compact(None if address == "local" else address, lake, options, show)


def _sentence(one: Compacted) -> str:
    name = printable(one.partition) or "(unpartitioned)"
    before = f"{one.files_before:,} files, {format_bytes(one.bytes_before)}"
    if one.state == "merged":
        after = f"{one.files_after:,} files, {format_bytes(one.bytes_after)}"
        return f"{name}: {before} -> {after}; rows seen twice for at most {one.switch_ms} ms"
    words = {"planned": "would be merged", "open": "not closed yet", "nothing": "as it was"}
    return f"{name}: {before}, {words[one.state]}"


def _sum(done: Iterable[Compacted], dry_run: bool) -> str:
    from rayflume.maintenance.compact import totals

    total = totals(done)
    if dry_run:
        return f"{total['planned']:,} partitions would be compacted, {total['open']:,} are open"
    problems = f", {total['problems']:,} had problems" if total["problems"] else ""
    return (
        f"{total['merged']:,} partitions compacted, {total['open']:,} are open{problems}: "
        f"{total['files_before']:,} files -> {total['files_after']:,}, "
        f"{format_bytes(total['bytes_before'])} -> {format_bytes(total['bytes_after'])}"
    )


def _as_object(one: Compacted) -> dict[str, object]:
    return {
        "partition": one.partition,
        "state": str(one.state),
        "files_before": one.files_before,
        "files_after": one.files_after,
        "bytes_before": one.bytes_before,
        "bytes_after": one.bytes_after,
        "rows": one.rows,
        "switch_ms": one.switch_ms,
        "problem": one.problem or None,
    }
