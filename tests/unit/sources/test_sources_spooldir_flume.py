"""What Flume's spooling directory source does, option by option, and where Flume stood."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import fastavro
import pytest
from channel_model import Flow

from rayflume.errors import SourceFailed
from rayflume.sources.spooldir import Spooldir

META = ".flumespool/.flumespool-main.meta"
OFFSET = {
    "type": "record",
    "name": "TransferStateFileMeta",
    "namespace": "org.apache.flume.serialization",
    "fields": [{"name": "offset", "type": "long"}],
}


def spooling(directory: Path, **options: object) -> Flow:
    (directory / "spool").mkdir(exist_ok=True)
    parsed = Spooldir.model_validate({"spool_dir": "spool", **options})
    return Flow(parsed.build, directory)


def place(directory: Path, name: str, data: bytes, age: int = 0) -> Path:
    path = directory / "spool" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def note(directory: Path, path: Path, *offsets: int) -> Path:
    """What Flume writes after each batch, in the documented layout."""
    meta = directory / "spool" / META
    meta.parent.mkdir(exist_ok=True)
    out = io.BytesIO()
    records = [{"offset": offset} for offset in offsets]
    fastavro.writer(out, OFFSET, records, metadata={"file": str(path)}, sync_interval=1)
    meta.write_bytes(out.getvalue())
    return meta


def names(directory: Path) -> list[str]:
    spool = directory / "spool"
    return sorted(str(p.relative_to(spool)) for p in spool.rglob("*") if p.is_file())


# -- empty files


def test_an_empty_file_is_one_empty_row_as_in_flume(tmp_path: Path) -> None:
    place(tmp_path, "a", b"1\n", age=3)
    place(tmp_path, "b", b"", age=2)
    place(tmp_path, "c", b"2\n", age=1)
    flow = spooling(tmp_path, empty_file_row=True, basename_header=True)
    flow.settle()
    assert flow.channel.arrived == [b"1", b"", b"2"]
    assert [header["basename"] for header in flow.channel.headers] == ["a", "b", "c"]
    assert names(tmp_path) == ["a.COMPLETED", "b.COMPLETED", "c.COMPLETED"]
    assert flow.channel.live == set()


def test_an_empty_row_comes_once_whatever_crashes(tmp_path: Path) -> None:
    place(tmp_path, "a", b"")
    flow = spooling(tmp_path, empty_file_row=True)
    batch = flow.poll()
    assert batch is not None
    flow.restart()
    again = flow.poll()
    assert again is not None and again.extents[0].stream == batch.extents[0].stream
    flow.channel.put(again)
    flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b""]
    assert names(tmp_path) == ["a.COMPLETED"]
    assert flow.channel.live == set()


def test_an_empty_row_goes_back(tmp_path: Path) -> None:
    place(tmp_path, "a", b"")
    flow = spooling(tmp_path, empty_file_row=True)
    batch = flow.poll()
    assert batch is not None
    flow.source.rewind(batch.extents[0].stream, 0)
    flow.settle()
    assert flow.channel.arrived == [b""]


def test_an_empty_file_that_is_written_to_later_is_an_error(tmp_path: Path) -> None:
    path = place(tmp_path, "a", b"")
    flow = spooling(tmp_path, empty_file_row=True)
    batch = flow.poll()
    assert batch is not None
    path.write_bytes(b"late\n")
    with pytest.raises(SourceFailed, match="changed while it was read"):
        flow.give(batch)
    assert flow.metrics.snapshot()["GenericProcessingFail"] == 1


# -- deserializers


def test_avro_files(tmp_path: Path) -> None:
    out = io.BytesIO()
    fastavro.writer(out, "string", [f"{i:04}" for i in range(100)], sync_interval=50)
    place(tmp_path, "a", out.getvalue(), age=1)
    place(tmp_path, "b", out.getvalue())
    flow = spooling(tmp_path, deserializer="AVRO", batch_bytes=200)
    for _ in range(100):
        flow.clock.advance(500)
        if not flow.step():
            break
        flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b"\x08%04d" % i for i in range(100)] * 2
    assert {h["flume.avro.schema.hash"] for h in flow.channel.headers} == {"c70345637248018f"}
    assert names(tmp_path) == ["a.COMPLETED", "b.COMPLETED"]


def test_an_empty_file_is_no_avro_record(tmp_path: Path) -> None:
    place(tmp_path, "a", b"")
    flow = spooling(tmp_path, deserializer="avro", empty_file_row=True)
    flow.settle()
    assert flow.channel.arrived == []
    assert names(tmp_path) == ["a.COMPLETED"]


def test_blobs(tmp_path: Path) -> None:
    place(tmp_path, "a", b"0123456789", age=2)
    place(tmp_path, "b", b"x\n\ny", age=1)
    place(tmp_path, "c", b"")
    flow = spooling(
        tmp_path, deserializer={"type": "blob", "max_blob_length": 4}, empty_file_row=True
    )
    flow.settle()
    assert flow.channel.arrived == [b"0123", b"4567", b"89", b"x\n\ny", b""]


def test_a_file_that_is_no_avro_names_itself(tmp_path: Path) -> None:
    place(tmp_path, "a", b"just a line\n")
    flow = spooling(tmp_path, deserializer="avro")
    with pytest.raises(SourceFailed, match=r"'avro' cannot read '.*/spool/a': .*; mend the file"):
        flow.poll()
    assert flow.metrics.snapshot()["EventReadFail"] == 1
    assert names(tmp_path) == ["a"]


def test_what_is_no_text_is_fatal_as_in_flume(tmp_path: Path) -> None:
    place(tmp_path, "a", b"good\n", age=1)
    place(tmp_path, "b", b"good\nb\xffd\n")
    flow = spooling(tmp_path, decode_error_policy="FAIL")
    with pytest.raises(SourceFailed, match=r"/spool/b': byte 6 is no utf-8; .*policy"):
        flow.poll()
    for policy, row in [("REPLACE", "b\ufffdd".encode()), ("IGNORE", b"bd")]:
        flow = spooling(tmp_path, decode_error_policy=policy, tracking_policy="tracker_dir")
        batch = flow.poll()
        assert batch is not None
        assert batch.body.to_pylist() == [b"good", b"good", row]


def test_character_sets_of_files_and_bodies(tmp_path: Path) -> None:
    place(tmp_path, "a", "é\nß\n".encode("utf-16"))
    line = {"type": "line", "output_charset": "ISO-8859-1"}
    flow = spooling(tmp_path, input_charset="UTF-16", deserializer=line)
    flow.settle()
    assert flow.channel.arrived == [b"\xe9", b"\xdf"]


# -- where Flume stood


LINES = [b"line %d" % i for i in range(10)]


@pytest.mark.parametrize("consume_order", ["oldest", "youngest"])
def test_a_half_read_file_goes_on_where_flume_stood(tmp_path: Path, consume_order: str) -> None:
    half = place(tmp_path, "half", b"\n".join(LINES), age=5)
    place(tmp_path, "other", b"other\n")
    note(tmp_path, half, 7, 14, 28)
    flow = spooling(tmp_path, consume_order=consume_order)
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted([*LINES[4:], b"other"])
    assert {"half.COMPLETED", "other.COMPLETED"} < set(names(tmp_path))
    assert flow.channel.live == set()


def test_the_position_is_taken_over_once(tmp_path: Path) -> None:
    half = place(tmp_path, "half", b"\n".join(LINES))
    note(tmp_path, half, 28)
    flow = spooling(tmp_path, batch_bytes=15)
    first = flow.poll()
    assert first is not None and first.num_rows == 0
    assert (first.extents[0].start, first.extents[0].end) == (0, 28)
    flow.restart()  # before any channel knows it
    for _ in range(20):
        flow.clock.advance(500)
        if not flow.step():
            break
        flow.restart()
    assert flow.channel.arrived == LINES[4:]
    # Another file of that name is read whole: its position was that of the first one.
    place(tmp_path, "half", b"new 1\nnew 2\nnew 3\nnew 4\nnew 5\nnew 6\n")
    (tmp_path / "spool" / "half.COMPLETED").unlink()
    flow.settle()
    assert flow.channel.arrived[6:] == [b"new %d" % i for i in range(1, 7)]


def test_a_channel_that_wants_it_from_the_beginning_gets_the_same_extent(tmp_path: Path) -> None:
    half = place(tmp_path, "half", b"\n".join(LINES))
    note(tmp_path, half, 28)
    flow = spooling(tmp_path)
    first = flow.poll()
    assert first is not None
    flow.poll()
    flow.source.rewind(first.extents[0].stream, 0)
    again = flow.poll()
    assert again is not None and again.extents == first.extents
    flow.give(again)
    flow.settle()
    assert flow.channel.arrived == LINES[4:]


def test_a_file_that_flume_had_read_to_its_end(tmp_path: Path) -> None:
    whole = place(tmp_path, "whole", b"a\nb\n")
    note(tmp_path, whole, 4)
    flow = spooling(tmp_path)
    flow.settle()
    assert flow.channel.arrived == []
    assert "whole.COMPLETED" in names(tmp_path)


def test_positions_in_an_avro_file(tmp_path: Path) -> None:
    out = io.BytesIO()
    fastavro.writer(out, "string", [f"{i:04}" for i in range(100)], sync_interval=50)
    data = out.getvalue()
    half = place(tmp_path, "half", data)
    sync = data[-16:]
    marks = [i for i in range(len(data)) if data.startswith(sync, i)]
    note(tmp_path, half, marks[3])
    flow = spooling(tmp_path, deserializer="avro")
    flow.settle()
    arrived = flow.channel.arrived
    assert arrived == [b"\x08%04d" % i for i in range(30, 100)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda meta: meta.write_bytes(b"{}"), "cannot be read: it does not begin as an Avro"),
        (lambda meta: meta.write_bytes(meta.read_bytes()[:-9]), "ends in the middle of a block"),
    ],
)
def test_a_damaged_position_is_an_error_and_nothing_is_read(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    half = place(tmp_path, "half", b"\n".join(LINES))
    meta = note(tmp_path, half, 28)
    spoil(meta)
    with pytest.raises(SourceFailed, match=message):
        spooling(tmp_path)
    meta.rename(tmp_path / "kept")
    flow = spooling(tmp_path)
    flow.settle()
    assert flow.channel.arrived == LINES


def test_a_position_of_a_file_that_was_changed_since_is_an_error(tmp_path: Path) -> None:
    half = place(tmp_path, "half", b"\n".join(LINES))
    note(tmp_path, half, 28)
    half.write_bytes(b"shorter\n")
    with pytest.raises(SourceFailed, match=r"Flume noted byte 28 of .*half.*move"):
        spooling(tmp_path)


def test_positions_of_other_files_and_empty_notes_say_nothing(tmp_path: Path) -> None:
    place(tmp_path, "a", b"a\n")
    note(tmp_path, tmp_path / "spool" / "gone", 28)
    flow = spooling(tmp_path)
    flow.settle()
    (tmp_path / "spool" / META).write_bytes(b"")
    place(tmp_path, "b", b"b\n")
    flow = spooling(tmp_path)
    flow.settle()
    assert flow.channel.arrived == [b"b"]
