"""`rayflume journal streams|deliveries|export DIR`: inside a journal, without Ray."""

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
from rayflume.cli.fsck import Directory, surveyed
from rayflume.cli.validate import AsJson
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
        help="Look into a journal: streams, deliveries, rows. Needs no Ray.\n\n"
        "Example:  rayflume journal streams state/wal",
    )
    group.command("streams")(streams)
    group.command("deliveries")(deliveries)
    group.command("export")(export)
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


def deliveries(directory: Directory, as_json: AsJson = False) -> None:
    """List the deliveries that were prepared and are not committed.

    Their sink publishes and commits them as soon as it runs again.

    Example:  rayflume journal deliveries state/wal
    """
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
