"""`rayflume journal streams|deliveries|export DIR`, `drain CONF`: a journal by hand, without
Ray.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from rayflume.cli._output import complain, printable, say, say_json, table
from rayflume.cli._progress import log_to_stderr
from rayflume.cli.fsck import Directory, named, refuse_none, surveyed
from rayflume.cli.run_ import Grace, LogLevelOption, followed, grace_of, interrupting_sigterm
from rayflume.cli.validate import AgentName, AsJson, Conf
from rayflume.component import nearest
from rayflume.errors import ConfigError
from rayflume.units import format_bytes

if TYPE_CHECKING:
    import pyarrow as pa

    from rayflume.agent.tapped import Row
    from rayflume.interfaces import StagedFile
    from rayflume.journal.survey import Survey

_FORGOTTEN_MS = -(2**60)
"""Retired so long ago that the next opening drops the stream."""


def add(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        name="journal",
        help="A journal by hand: streams, deliveries, rows. Needs no Ray.\n\n"
        "Example:  rayflume journal streams state/wal",
    )
    group.command("streams")(streams)
    group.command("deliveries")(deliveries)
    group.command("export")(export)
    group.command("drain")(drain)
    app.add_typer(group)


def streams(
    directory: Directory,
    forget: Annotated[
        str | None,
        typer.Option(metavar="STREAM", help="Forget this one. The channel must not run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the streams whose positions the journal holds, or forget one.

    A source whose stream is forgotten reads it from the beginning again, so its rows are delivered
    twice if they were delivered before.

    Example:  rayflume journal streams state/wal
    """
    found = surveyed(directory)
    if forget is not None:
        _forget(directory, forget, list(found.ledger.streams))
        say(f"forgotten: {printable(forget)}; it is read from the beginning again")
        return
    rows = sorted(found.ledger.streams.items())
    if as_json:
        say_json([{"stream": n, "next": p.next, "retired": p.retired} for n, p in rows])
        return
    cells = [[printable(n), f"{p.next:,}", "retired" if p.retired else "live"] for n, p in rows]
    table(["stream", "next", "state"], cells)


def _forget(directory: Path, stream: str, known: list[str]) -> None:
    from rayflume.journal.repair import opened
    from rayflume.journal.segment import Kind

    if stream not in known:
        hint = nearest(stream, known) if known else "; it has no streams"
        raise ConfigError(f"{directory} has no stream {printable(stream)!r}{printable(hint)}")
    with opened(directory, "rayflume journal streams --forget") as journal:
        meta = {"streams": [stream], "now": _FORGOTTEN_MS}
        journal.sync(journal.append(Kind.RETIRED, meta))
        journal.close()
        # Opening writes a Snapshot without it, so that also the token is gone from the state.
        journal.open()


def deliveries(
    directory: Directory,
    publish: Annotated[
        str | None,
        typer.Option(
            "--publish",
            metavar="ID",
            help="Publish and commit this one by the sink of --config.",
        ),
    ] = None,
    abandon: Annotated[
        str | None,
        typer.Option("--abandon", metavar="ID", help="Give this one up: its rows to a file."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="CONF", help="For --publish.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="For --abandon: a new file, else DIR/dead_letters/ID.dead.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the deliveries that were prepared and are not committed, or end one of them.

    Their sink publishes and commits them as soon as it runs again. Where that can't be, say because
    the bucket is gone, --abandon writes the rows to a dead-letter file (Parquet), durably, and then
    commits. What is in the lake of it already stays there. For both the channel must not run; both
    may be interrupted and repeated.

    Example:  rayflume journal deliveries state/wal

    Example:  rayflume journal deliveries state/wal --abandon 0123456789abcdef-1-7
    """
    if publish is not None or abandon is not None:
        _end_delivery(directory, publish, abandon, (config, output))
        return
    found = surveyed(directory)
    if as_json:
        say_json([_delivery(found, i) for i in range(len(found.prepared()))])
        return
    rows = []
    for manifest, _ in found.prepared():
        size = format_bytes(sum(file.size for file in manifest.files))
        counts = [f"{n:,}" for n in (manifest.rows, manifest.dead, len(manifest.files))]
        rows.append([manifest.delivery, printable(manifest.sink), *counts, size])
    if rows:
        table(["delivery", "sink", "rows", "dead letters", "files", "size"], rows)
    else:
        say("no delivery is prepared and not committed")


def _end_delivery(
    directory: Path,
    publish: str | None,
    abandon: str | None,
    given: tuple[Path | None, Path | None],
) -> None:
    from rayflume.agent import by_hand
    from rayflume.agent.lean import spare_pandas
    from rayflume.flume.read import load

    config, output = given
    if publish is not None and abandon is not None:
        raise typer.BadParameter("a delivery is published or abandoned: leave out one of them")
    refuse_none(directory)
    spare_pandas()
    if publish is not None:
        if config is None:
            raise typer.BadParameter("--publish needs --config, for the sink that publishes")
        with named(directory):
            manifest = by_hand.publish(load(config), directory, publish)
        say(f"published and committed: {publish}, {manifest.rows:,} rows of {manifest.sink}")
        return
    assert abandon is not None
    with named(directory):
        done = by_hand.abandon(directory, abandon, output)
    say(f"abandoned: {abandon}; its {done.rows:,} rows are in {done.file}")
    if done.unreadable:
        complain([f"left out: {what}" for what in done.unreadable])
        raise typer.Exit(1)


def drain(
    conf: Conf,
    channel: Annotated[
        str,
        typer.Option(metavar="NAME", help="Only this channel; without it all that have a journal."),
    ] = "",
    agent: AgentName = None,
    grace: Grace = "60s",
    log_level: LogLevelOption = None,
) -> None:
    """Deliver all that the channels of an agent hold, without Ray and without its sources.

    For a machine whose cluster is gone. The agent must not run. Ends with 0 when all is delivered;
    Ctrl-C ends it before, and nothing is lost: the rest is for the next time.

    Example:  rayflume journal drain conf/clickstream.yaml
    """
    from rayflume.agent.by_hand import drained_plan
    from rayflume.agent.inline import InlineAgent
    from rayflume.agent.lean import spare_pandas
    from rayflume.flume.read import load

    spare_pandas()
    grace_ms = grace_of(grace)
    plan = drained_plan(load(conf, agent), channel)
    log_to_stderr(log_level or "critical")
    with interrupting_sigterm():
        followed(InlineAgent(plan, until_drained=True).start(), grace_ms)


def _delivery(found: Survey, number: int) -> dict[str, object]:
    manifest, ranges = found.prepared()[number]
    return {
        "delivery": manifest.delivery,
        "sink": manifest.sink,
        "rows": manifest.rows,
        "written": manifest.written,
        "dead": manifest.dead,
        "filtered": manifest.filtered,
        "ranges": [list(span) for span in ranges],
        "files": [_file(file) for file in manifest.files],
    }


def _file(file: StagedFile) -> dict[str, object]:
    return {"target": file.target, "size": file.size, "rows": file.rows, "dead": file.dead}


def export(
    directory: Directory,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A new file: Arrow IPC if its name ends in .arrow, else JSON."
        ),
    ] = None,
) -> None:
    """Write the rows that are not delivered yet, as JSON lines or as an Arrow IPC file.

    Nothing is taken. A row with a `delivery` is prepared and may be in the lake already. A body
    that is no UTF-8 is in `body_base64`.

    Example:  rayflume journal export state/wal --output rows.arrow
    """
    found = surveyed(directory)
    unreadable: list[str] = []
    batches = _batches(directory, found, unreadable)
    if output is None:
        _write_json(batches, sys.stdout)
    else:
        count = _write_file(batches, output)
        say(f"{count:,} rows in {output}")
    if unreadable or found.lost:
        lost = f"{len(found.lost):,} rows are lost; `rayflume fsck {directory}` shows where"
        complain([*unreadable, *([lost] if found.lost else [])])
        raise typer.Exit(1)


def _write_file(batches: Iterator[tuple[str, list[Row]]], path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already; name a new file") from None
    if path.suffix == ".arrow":
        return _write_arrow(batches, descriptor)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        return _write_json(batches, file)


def _batches(
    directory: Path, found: Survey, unreadable: list[str]
) -> Iterator[tuple[str, list[Row]]]:
    from rayflume.agent.tapped import rows_in
    from rayflume.journal.disk import LocalDisk
    from rayflume.journal.reader import RowsUnreadable, decode_rows

    disk = LocalDisk(directory)
    for delivery, ref in found.unfinished():
        try:
            batch = decode_rows(disk.read(ref.segment, ref.offset, ref.length), ref)
        except (RowsUnreadable, FileNotFoundError) as error:
            unreadable.append(f"{ref.rows:,} rows are left out: {error}")
            continue
        yield delivery, list(rows_in(batch, ref.position))


def _write_json(batches: Iterator[tuple[str, list[Row]]], file: TextIO) -> int:
    count = 0
    for delivery, rows in batches:
        file.writelines(f"{_json_line(delivery, row)}\n" for row in rows)
        count += len(rows)
    return count


def _json_line(delivery: str, row: Row) -> str:
    value: dict[str, object] = {"position": row.position, "stream": row.stream}
    if delivery:
        value["delivery"] = delivery
    try:
        value["body"] = None if row.body is None else row.body.decode()
    except UnicodeDecodeError:
        value["body_base64"] = base64.b64encode(row.body or b"").decode()
    return json.dumps(value | {"headers": row.headers}, ensure_ascii=False)


def _write_arrow(batches: Iterator[tuple[str, list[Row]]], descriptor: int) -> int:
    import pyarrow as pa

    schema = pa.schema(
        {
            "position": pa.int64(),
            "stream": pa.string(),
            "delivery": pa.string(),
            "body": pa.binary(),
            "headers": pa.map_(pa.string(), pa.string()),
        }
    )
    count = 0
    with os.fdopen(descriptor, "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for delivery, rows in batches:
            writer.write_batch(_arrow_batch(delivery, rows, schema))
            count += len(rows)
    return count


def _arrow_batch(delivery: str, rows: list[Row], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    columns = (
        [row.position for row in rows],
        [row.stream for row in rows],
        [delivery or None] * len(rows),
        [row.body for row in rows],
        [list(row.headers.items()) for row in rows],
    )
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)
