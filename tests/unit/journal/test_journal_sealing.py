"""Rows at rest: sealed by the channel, opened by nobody else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from fakes import manual, put_numbers

from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.channels.file import File
from rayflume.errors import ChannelClosed, ConfigError, OptionError
from rayflume.interfaces import PutOutcome, PutRequest, RowRef
from rayflume.journal.reader import SegmentReader, decode_rows
from rayflume.journal.sealing import Sealing
from rayflume.journal.segment import Head, Kind, encode
from rayflume.journal.survey import survey

KEYS = {"old": bytes(16), "new": bytes(range(32))}
SECRET = b"nobody may read this"
META = {"rows": [0, 2], "extents": [["s", 0, 2, 2, "", 0]], "source": "lake/0"}


def record(payload: pa.Buffer, meta: dict[str, object], crc: int | None = None) -> pa.Buffer:
    from isal.isal_zlib import crc32

    head = Head(Kind.PUT, 1, 7, 6, 0, 0, crc32(payload) if crc is None else crc, meta)
    return pa.py_buffer(b"".join(map(memoryview, encode(head, payload))))


def rows(count: int = 2, size: int = 0) -> EventBatch:
    return EventBatch.from_events(
        [SECRET + bytes(size)] * count, [{"h": str(n)} for n in range(count)]
    )


@pytest.mark.parametrize("size", range(70))
def test_what_is_opened_is_what_was_sealed_in_a_record_of_the_same_length(size: int) -> None:
    sealing = Sealing("new", KEYS)
    batch = rows(size=size)
    body, meta = sealing.seal(batch.encode(), META)
    sealed = record(body, meta)
    opened = sealing.opened(sealed)
    assert len(opened) == len(sealed)
    ref = RowRef("segment", 0, len(sealed), 0, 2, 0)
    assert decode_rows(opened, ref).body.to_pylist() == batch.body.to_pylist()
    assert SECRET not in sealed.to_pybytes()
    with pytest.raises(ConfigError, match="encrypted with the key 'new'"):
        decode_rows(sealed, ref)


def test_a_body_cannot_be_moved_to_another_record() -> None:
    sealing = Sealing("new", KEYS)
    body, meta = sealing.seal(rows().encode(), META)
    with pytest.raises(ChannelClosed, match="another key"):
        sealing.opened(record(body, {**meta, "rows": [2, 4]}))


def test_two_records_of_the_same_rows_have_nothing_in_common() -> None:
    sealing = Sealing("new", KEYS)
    first, second = (sealing.seal(rows().encode(), META)[0].to_pybytes() for _ in range(2))
    assert first[:12] != second[:12]
    assert first[12:] != second[12:]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [({"x": bytes(16)}, "'new', which is not in `key_files`"), ({"new": bytes(32)}, "another key")],
)
def test_without_the_key_the_rows_wait(keys: dict[str, bytes], sentence: str) -> None:
    body, meta = Sealing("new", KEYS).seal(rows().encode(), META)
    with pytest.raises(ChannelClosed, match=sentence):
        Sealing(next(iter(keys)), keys).opened(record(body, meta))


def test_what_is_not_sealed_or_is_damaged_is_given_back_as_it_is() -> None:
    sealing = Sealing("new", KEYS)
    plain = record(rows().encode(), META)
    assert sealing.opened(plain) is plain
    body, meta = sealing.seal(rows().encode(), META)
    damaged = record(body, meta, crc=1)
    assert sealing.opened(damaged) is damaged


# -- the channel ---------------------------------------------------------------------------------


@pytest.fixture
def channel(tmp_path: Path) -> Callable[..., JournaledChannel]:
    """The file channel of the test's folder, open, with these keys; the last is active."""
    context, _ = manual(tmp_path)
    for name, key in KEYS.items():
        (tmp_path / name).write_bytes(key)

    def opened(*names: str) -> JournaledChannel:
        given: dict[str, object] = {"directory": "wal", "minimum_required_space": 0}
        if names:
            files = {name: name for name in names}
            given["encryption"] = {"active_key": names[-1], "key_files": files}
        found = File.model_validate(given).build(context)
        found.open()
        return found

    return opened


def put_secret(channel: JournaledChannel, start: int) -> None:
    from isal.isal_zlib import crc32

    batch = rows()
    payload = batch.encode()
    extents = (Extent("lake/0/a", start, start + 2, 2),)
    request = PutRequest("lake/0", extents, payload, crc32(payload), 2)
    assert channel.put(request).outcome is PutOutcome.STORED


def bodies(channel: JournaledChannel) -> list[bytes]:
    taken = channel.take("k/0", "", 2**20, 0)
    records = channel.fetch(taken.refs)
    batches = [decode_rows(*found) for found in zip(records, taken.refs, strict=True)]
    channel.release(taken.delivery)
    return [body for batch in batches for body in batch.body.to_pylist()]


def test_s16_no_byte_of_a_row_is_on_the_disk_and_its_sinks_get_it_from_the_channel(
    channel: Callable[..., JournaledChannel], tmp_path: Path
) -> None:
    with closing(channel("new")) as sealed:
        put_secret(sealed, 0)
        assert sealed.info().directory is None
        assert bodies(sealed) == [SECRET, SECRET]
        assert len(sealed.tap(2)) == 1
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "wal").glob("segment-*"))
    assert b"lake/0/a" in on_disk
    assert SECRET not in on_disk


def test_a_key_is_changed_and_the_old_one_kept_until_its_rows_are_delivered(
    channel: Callable[..., JournaledChannel],
) -> None:
    with closing(channel()) as plain:
        put_secret(plain, 0)
    with closing(channel("old")) as old:
        put_secret(old, 2)
    with closing(channel("old", "new")) as both:
        put_secret(both, 4)
        assert bodies(both) == [SECRET] * 6
    with closing(channel("new")) as only_new, pytest.raises(ChannelClosed, match="'old'"):
        bodies(only_new)


def test_rows_that_wait_for_their_key_are_not_taken_for_damaged(
    channel: Callable[..., JournaledChannel],
) -> None:
    with closing(channel("old")) as old:
        put_secret(old, 0)
    with closing(channel("new")) as wrong:
        [ref] = wrong.take("k/0", "", 2**20, 0).refs
        with pytest.raises(ChannelClosed, match="'old'"):
            wrong.damaged(ref, "it says")
    with closing(channel("old")) as old:
        assert bodies(old) == [SECRET, SECRET]


def test_a_journal_is_looked_through_without_its_key(
    channel: Callable[..., JournaledChannel], tmp_path: Path
) -> None:
    with closing(channel("new")) as sealed:
        put_numbers(sealed, 0, 5)
    found = survey(tmp_path / "wal")
    assert sum(ref.rows for _, ref in found.unfinished()) == 5
    [(_, ref)] = found.unfinished()
    with pytest.raises(ConfigError, match="only their channel"):
        SegmentReader(tmp_path / "wal").read(ref)


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (bytes(16), True), (bytes(24), True), (bytes(32), True), (bytes(31), False), (b"", False),
        (base64.b64encode(bytes(32)) + b"\n", True), (base64.b64encode(bytes(20)), False),
        (b"not base64 at all!", False),
    ],
)  # fmt: skip
def test_a_key_is_bytes_or_base64(tmp_path: Path, content: bytes, good: bool) -> None:
    context, _ = manual(tmp_path)
    (tmp_path / "key").write_bytes(content)
    encryption = {"active_key": "k", "key_files": {"k": "key"}}
    options = File.model_validate({"directory": "wal", "encryption": encryption})
    assert bool(options.check(context)) is not good
    if not good:
        with pytest.raises(OptionError, match="openssl rand -base64"):
            options.build(context)


def test_a_key_that_is_missing_is_said_before_anything_starts(tmp_path: Path) -> None:
    context, _ = manual(tmp_path)
    encryption = {"active_key": "k", "key_files": {"k": "nothing"}}
    options = File.model_validate({"directory": "wal", "encryption": encryption})
    [problem] = options.check(context)
    assert "cannot read the key" in problem
    with pytest.raises(ValueError, match="`active_key: x` is not in `key_files`"):
        File.model_validate({"directory": "w", "encryption": {**encryption, "active_key": "x"}})
