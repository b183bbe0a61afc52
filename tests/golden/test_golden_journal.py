"""Journals as once written are read by this code, and would be written the same."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import ModuleType

import make_v1 as v1
import make_v1_complete as complete
import make_v1_more as more
import make_v2_sealed as v2
import pyarrow as pa
import pytest
from disks import FaultyDisk
from fakes import journaled, manual, request

from rayflume.batch import EventBatch
from rayflume.completeness import WatermarkQuery
from rayflume.errors import JournalDamaged
from rayflume.interfaces import RowRef, StreamPosition
from rayflume.journal.reader import decode_rows
from rayflume.journal.scan import scan_segment
from rayflume.journal.sealing import Sealing
from rayflume.journal.segment import (
    Kind,
    body_of,
    decode_head,
    encode,
    extents_from_json,
    manifest_from_json,
)

NAME = "segment-0000000002.log"


def golden_disk(data: bytes) -> FaultyDisk:
    disk = FaultyDisk()
    disk.create(NAME).write([data])
    return disk


def test_every_record_kind_is_in_the_golden_files() -> None:
    scans = [scan_segment(golden_disk(g.GOLDEN.read_bytes()), NAME) for g in (v1, complete)]
    assert {found.head.kind for scan in scans for found in scan.found} == set(Kind)


@pytest.mark.parametrize("golden", [v1, more, complete], ids=["one_of_each", "more", "complete"])
def test_every_record_is_read_to_its_values(golden: ModuleType) -> None:
    data = golden.GOLDEN.read_bytes()
    scan = scan_segment(golden_disk(data), NAME)
    assert scan.bad == []
    for found, (head, body) in zip(scan.found, golden.records(), strict=True):
        read = found.head
        assert (read.kind, read.epoch, read.seq, read.synced) == (
            head.kind,
            head.epoch,
            head.seq,
            head.synced,
        )
        assert read.meta == head.meta
        whole = body_of(read, pa.py_buffer(data).slice(found.offset, read.length))
        assert whole is not None
        if read.kind is not Kind.PUT:
            assert whole.to_pybytes() == body


@pytest.mark.parametrize("golden", [v1, more, complete], ids=["one_of_each", "more", "complete"])
def test_encoding_again_gives_the_same_bytes(golden: ModuleType) -> None:
    data = golden.GOLDEN.read_bytes()
    for found in scan_segment(golden_disk(data), NAME).found:
        record = pa.py_buffer(data).slice(found.offset, found.head.length)
        body = body_of(found.head, record)
        assert body is not None
        again = b"".join(bytes(piece) for piece in encode(found.head, body))
        assert again == record.to_pybytes()


def test_rows_extents_and_manifest_have_their_values() -> None:
    data = pa.py_buffer(v1.GOLDEN.read_bytes())
    found = {f.head.kind: f for f in scan_segment(golden_disk(data), NAME).found}
    put = found[Kind.PUT]
    ref = RowRef(NAME, put.offset, put.head.length, 0, 3, 7)
    batch = decode_rows(data.slice(put.offset, put.head.length), ref)
    assert batch.body.to_pylist() == v1.BODIES
    assert batch.header("level").to_pylist() == [None, None, "\N{SNOWMAN}"]
    assert batch.extents == v1.EXTENTS
    assert extents_from_json(put.head.meta["extents"]) == v1.EXTENTS
    assert manifest_from_json(found[Kind.PREPARED].head.meta) == (v1.MANIFEST, ((7, 10),))
    assert isinstance(batch, EventBatch)


def test_dead_letters_poison_and_keys_have_their_values() -> None:
    data = pa.py_buffer(more.GOLDEN.read_bytes())
    found = scan_segment(golden_disk(data), NAME).found
    manifest, ranges = manifest_from_json(found[4].head.meta)
    assert (manifest, ranges) == (more.MANIFEST, ((0, 5),))
    assert [file.dead for file in manifest.files] == [False, True, True]
    assert manifest.files[2].handle["poison"] == more.REASON
    assert extents_from_json(found[2].head.meta["extents"]) == more.NO_ROWS
    keyed = found[3]
    ref = RowRef(NAME, keyed.offset, keyed.head.length, 0, 2, 7)
    batch = decode_rows(data.slice(keyed.offset, keyed.head.length), ref)
    assert (batch.body.to_pylist(), batch.extents) == ([b"\xff", None], more.KEYED)


def test_a_journal_with_open_deliveries_of_version_1_opens(tmp_path: Path) -> None:
    channel = journaled(golden_disk(more.GOLDEN.read_bytes()), manual(tmp_path)[0])
    assert channel.adopt("lake", "lake/0/a") == (more.MANIFEST,)
    assert channel.adopt("other", "other/0/a") == (more.OPEN,)
    assert channel.positions("h/")["h/s/8-15/0"].next == 2**53 + 9
    [ref] = channel.take("lake/0/a", "", 1, 0).refs
    assert (ref.position, ref.rows) == (7, 2)
    again = request([b"\xff", None], more.KEYED)
    assert channel.put(again).outcome == "stored"
    assert channel.state().waiting == 0, "its key is known"


def test_a_journal_of_version_1_opens(tmp_path: Path) -> None:
    disk = golden_disk(v1.GOLDEN.read_bytes())
    channel = journaled(disk, manual(tmp_path)[0])
    assert channel.info().journal == v1.JOURNAL
    assert channel.positions("") == {
        "s": StreamPosition(9, b"\x00", retired=True),
        "old": StreamPosition(3, b"", retired=True),
        "host/web/8-15/0": StreamPosition(25, b"\x00token\xff"),
    }
    assert channel.take("lake/0/a", "", 1, 0).delivery == ""
    assert channel._journal.ledger.epoch == 4


def test_a_journal_with_partitions_opens(tmp_path: Path) -> None:
    channel = journaled(golden_disk(complete.GOLDEN.read_bytes()), manual(tmp_path)[0])
    sealed = channel.seal("lake", None)
    assert sealed.until_ms == 2 * complete.HOUR
    assert [(c.directory, c.rows, c.files) for c in sealed.complete] == [("hour=01", 9, 2)]
    assert [(c.directory, c.rows) for c in sealed.late] == [("hour=00", 1)]
    found = channel.watermark(WatermarkQuery("lake", {"web": 1}, 60_000))
    assert found.at_ms == 9_000_000
    assert found.oldest == ("hour=00", complete.HOUR)


def changed(version: int, kind: int) -> bytes:
    data = bytearray(v1.GOLDEN.read_bytes())
    data[4], data[5] = version, kind
    length = struct.unpack_from("<I", data, 12)[0]
    crc = zlib.crc32(data[48 : 48 + length], zlib.crc32(data[:44]))
    struct.pack_into("<I", data, 44, crc)
    return bytes(data)


@pytest.mark.parametrize(("version", "kind"), [(2, 1), (1, 99)])
def test_a_record_this_code_does_not_know_is_refused(
    tmp_path: Path, version: int, kind: int
) -> None:
    data = changed(version, kind)
    with pytest.raises(JournalDamaged, match=f"version {version}, kind {kind}.*newer one"):
        decode_head(data)
    with pytest.raises(JournalDamaged):
        journaled(golden_disk(data), manual(tmp_path)[0])


def test_a_sealed_put_is_opened_with_its_key_and_encoded_again_the_same() -> None:
    record = pa.py_buffer(v2.GOLDEN.read_bytes())
    head = decode_head(record)
    assert head is not None
    assert head.meta == {**v2.META, "key": "k1"}
    body = body_of(head, record)
    assert body is not None
    assert b"".join(pa.py_buffer(p).to_pybytes() for p in encode(head, body)) == record.to_pybytes()
    opened = Sealing("k1", v2.KEYS).opened(record)
    rows = decode_rows(opened, RowRef(NAME, 0, head.length, 0, 2, 5))
    assert rows.body.to_pylist() == v2.BODIES
    assert rows.extents == v2.EXTENTS
