"""The protocol of compaction on every storage type: a crash, a twin or a slow one at each step."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from lake_files import (
    JOURNAL,
    Die,
    Killed,
    data_files,
    fill,
    once,
    put,
    rows_of,
    seen,
    staged_of,
    table,
    watched,
)

from rayflume import tombstones
from rayflume.clock import ManualClock, SystemClock
from rayflume.component import Context
from rayflume.interfaces import Published, Storage
from rayflume.lake import storage_for
from rayflume.maintenance.compact import Compacted, Compactor, State, candidates, key_of
from rayflume.maintenance.footers import read_footers
from rayflume.maintenance.inspect import Report, inspect
from rayflume.maintenance.plan import DAY_MS, FILES_MAX, CompactOptions
from rayflume.metrics import Metrics
from rayflume.naming import COMPACTION, data_name, delivery_id
from rayflume.tombstones import Tombstone

OPTIONS = CompactOptions(min_age_ms=0)
ROWS = once(range(60))


@dataclass
class Lakes:
    """Makes new, empty lakes of one storage type."""

    kind: str
    directory: Path
    options: dict[str, object]
    bucket: str = ""

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._opened: list[Storage] = []

    def new(self) -> Storage:
        name = f"lake{next(self._numbers)}"
        path = {
            "local": str(self.directory / name),
            "memory": f"memory://{self.directory}/{name}".replace(":///", "://"),
            "weed": f"s3://{self.bucket}/{name}",
        }[self.kind]
        around = Context("test", "lake", SystemClock(), Metrics(), self.directory)
        storage = storage_for(path, self.options, around)
        storage.check()
        self._opened.append(storage)
        return storage

    def close(self) -> None:
        for storage in self._opened:
            storage.close()


@pytest.fixture(params=["local", "memory", pytest.param("weed", marks=pytest.mark.s3)])
def lakes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lakes]:
    options: dict[str, object] = {}
    bucket = ""
    if request.param == "weed":
        server = request.getfixturevalue("weed_s3")
        options, bucket = dict(server.options), server.bucket()
    made = Lakes(str(request.param), tmp_path, options, bucket)
    with contextlib.closing(made):
        yield made


@pytest.fixture
def lake(lakes: Lakes) -> Storage:
    return lakes.new()


def compact(storage: Storage, options: CompactOptions = OPTIONS) -> list[Compacted]:
    compactor = Compactor(storage, options, SystemClock())
    return [compactor.partition(name) for name in candidates(storage, options)]


def report(storage: Storage) -> Report:
    sizes = storage.sizes("")
    return inspect(read_footers(storage, {path: sizes[path] for path in data_files(storage)}))


def test_small_files_become_one_with_every_row_once(lake: Storage) -> None:
    fill(lake)
    before = report(lake)
    [done] = compact(lake)
    assert (done.state, done.problem) == (State.MERGED, "")
    assert (done.files_before, done.files_after, done.rows) == (6, 1, 60)
    assert done.bytes_after < done.bytes_before
    assert seen(lake) == ROWS
    after = report(lake)
    assert after.proven and before.proven
    assert after.journals[0].ranges == before.journals[0].ranges == [(0, 60)]
    assert after.journals[0].deliveries == 6
    assert compact(lake) == [] or compact(lake)[0].state is State.NOTHING
    assert staged_of(lake, COMPACTION) == []


def test_columns_that_came_later_are_null_before(lake: Storage) -> None:
    put(lake, "dt=1", 0, table(0, 3), version=1)
    put(lake, "dt=1", 1, table(3, 6, city="Oslo"), version=2)
    put(lake, "dt=1", 2, table(6, 9), version=1)
    [done] = compact(lake)
    assert done.problem == ""
    [path] = data_files(lake)
    merged = rows_of(lake, path)
    assert [(f.name, f.type) for f in merged.schema] == [
        ("n", pa.int64()), ("text", pa.string()), ("city", pa.string()),
    ]  # fmt: skip
    assert dict(zip(merged["n"].to_pylist(), merged["city"].to_pylist(), strict=True)) == {
        **dict.fromkeys(range(9)), 3: "Oslo", 4: "Oslo", 5: "Oslo",
    }  # fmt: skip


def test_a_crash_at_each_call_is_repaired_by_running_it_again(lakes: Lakes) -> None:
    calls: set[str] = set()
    for number in itertools.count():
        lake = lakes.new()
        fill(lake)
        die = Die(number)
        with contextlib.suppress(Killed):
            compact(watched(lake, die))
        calls.update(die.calls)
        assert set(seen(lake)) == set(ROWS), f"rows are missing after a crash {die.calls[-1]}"
        done = compact(lake)
        assert all(not one.problem for one in done)
        assert seen(lake) == ROWS, f"after a crash {die.calls[-1]}"
        assert len(data_files(lake)) == 1
        assert report(lake).proven
        if len(die.calls) <= number:
            break
    steps = ("stage", "finish", "create", "publish", "remove")
    assert calls == {f"{when} {step}" for when in ("before", "after") for step in steps}


def test_what_a_crash_left_staged_is_discarded_a_day_later(lake: Storage) -> None:
    fill(lake)
    die = Die(4)  # everything is staged, and there is no tombstone yet
    with contextlib.suppress(Killed):
        compact(watched(lake, die))
    assert die.calls[-1] == "before create"
    assert len(staged_of(lake, COMPACTION)) == 1
    clock = ManualClock(SystemClock().now_ms())
    assert Compactor(lake, OPTIONS, clock).collect() == 0
    clock.advance(DAY_MS + 60_000)
    assert Compactor(lake, OPTIONS, clock).collect() == 1
    assert staged_of(lake, COMPACTION) == []


def test_what_a_tombstone_needs_is_never_discarded(lake: Storage) -> None:
    fill(lake)
    die = Die(6)
    with contextlib.suppress(Killed):
        compact(watched(lake, die))
    assert die.calls[-1] == "before publish"
    clock = ManualClock(SystemClock().now_ms() + 2 * DAY_MS)
    assert Compactor(lake, OPTIONS, clock).collect() == 0
    compact(lake)
    assert seen(lake) == ROWS and len(data_files(lake)) == 1


def test_rows_are_doubled_only_between_publish_and_remove_and_never_missing(lake: Storage) -> None:
    fill(lake)
    found: list[tuple[str, int, int]] = []

    def look(call: str) -> None:
        rows = seen(lake)
        found.append((call, min(rows.get(n, 0) for n in ROWS), max(rows.values())))

    compact(watched(lake, look))
    twice = [call for call, _, most in found if most > 1]
    assert all(fewest >= 1 for _, fewest, _ in found)
    assert twice == ["after publish", "before remove"]
    assert max(most for *_, most in found) == 2


def test_another_compactor_may_be_faster_at_each_call(lakes: Lakes) -> None:
    for number in itertools.count():
        lake = lakes.new()
        fill(lake)
        calls: list[str] = []

        def other_first(
            call: str, lake: Storage = lake, calls: list[str] = calls, number: int = number
        ) -> None:
            calls.append(call)
            if len(calls) == number + 1:
                compact(lake)

        done = compact(watched(lake, other_first))
        assert all(not one.problem for one in done)
        assert seen(lake) == ROWS, number
        assert len(data_files(lake)) == 1
        assert staged_of(lake, COMPACTION) == []
        if len(calls) <= number:
            break
    assert number >= 8


def test_four_compactors_at_once_do_no_harm(lake: Storage) -> None:
    for part in range(4):
        for n in range(8):
            first = part * 100 + n * 10
            put(lake, f"dt={part}", part * 8 + n, table(first, first + 10))
    expected = seen(lake)
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(compact, lake) for _ in range(4)]
        problems = [one.problem for result in results for one in result.result() if one.problem]
    assert problems == []
    compact(lake)
    assert seen(lake) == expected
    assert len(data_files(lake)) == 4
    assert staged_of(lake, COMPACTION) == []


def test_a_slow_one_wakes_after_its_file_was_merged_again(lake: Storage) -> None:
    fill(lake, 3)

    def others(call: str) -> None:
        if call == "before publish" and len(tombstones.ids(lake)) == 1:
            compact(lake)  # finishes the switch
            put(lake, "dt=1", 50, table(100, 110))
            compact(lake)  # merges the merged file

    compact(watched(lake, others))
    assert len(tombstones.ids(lake)) == 2
    assert seen(lake) == once([*range(30), *range(100, 110)])
    assert len(data_files(lake)) == 1


def test_a_tombstone_whose_staged_bytes_were_lost_is_void(lake: Storage) -> None:
    fill(lake)
    with contextlib.suppress(Killed):
        compact(watched(lake, Die(6)))
    [(_, handle)] = lake.staged(COMPACTION)
    [record] = tombstones.read_all(lake, tombstones.ids(lake))
    lake.discard(handle)  # as a lifecycle rule of the store does
    assert lake.publish([record.facts["handle"]]) == [Published.LOST]  # type: ignore[list-item]
    [done] = compact(lake)
    assert done.problem == "" and seen(lake) == ROWS
    assert len(data_files(lake)) == 1 and len(tombstones.ids(lake)) == 2


def test_files_whose_delivery_still_has_staged_bytes_are_left_alone(lake: Storage) -> None:
    fill(lake, 3)
    delivery = delivery_id(JOURNAL, 1, 1)
    writer = lake.stage(f"dt=2/{data_name(delivery, 1)}", delivery)
    writer.write(b"x")
    handle = writer.finish()
    [done] = compact(lake)
    assert (done.files_after, done.rows) == (2, 20)
    lake.discard(handle)
    [done] = compact(lake)
    assert done.files_after == 1 and seen(lake) == once(range(30))


def test_the_switch_takes_under_a_second(lakes: Lakes) -> None:
    took: list[int] = []
    while not took or (took[-1] >= 1000 and len(took) < 3):  # the machine may be busy otherwise
        lake = lakes.new()
        fill(lake, FILES_MAX, rows=2)
        [done] = compact(lake)
        assert done.problem == "" and done.files_after == 1
        assert seen(lake) == once(range(2 * FILES_MAX))
        took.append(done.switch_ms)
    print(f"\n{lakes.kind}: rows of {FILES_MAX} files were seen twice for at most {took} ms")
    assert took[-1] < 1000


def test_a_reader_of_a_local_lake_sees_rows_twice_for_milliseconds(tmp_path: Path) -> None:
    lake = Lakes("local", tmp_path, {}).new()
    folder = tmp_path / "lake0" / "dt=1"
    clock = SystemClock()
    over = threading.Event()
    doubled: list[int] = []

    def look() -> None:
        while not over.is_set():
            names = [entry.name for entry in os.scandir(folder)]
            if any(COMPACTION in name for name in names) and len(names) > 1:
                doubled.append(clock.monotonic_ms())

    fill(lake, FILES_MAX, rows=1)
    reader = threading.Thread(target=look)
    reader.start()
    [done] = compact(lake)
    over.set()
    reader.join()
    seen_ms = doubled[-1] - doubled[0] if doubled else 0
    print(f"\na reader saw {FILES_MAX} files and the merged one for {seen_ms} ms")
    assert done.files_after == 1 and seen_ms < 1000


def test_more_files_than_one_switch_takes_are_merged_in_several(lake: Storage) -> None:
    fill(lake, FILES_MAX + 20, rows=1)
    [done] = compact(lake)
    assert done.problem == "" and done.files_after == 1
    assert seen(lake) == once(range(FILES_MAX + 20))
    assert len(tombstones.ids(lake)) == 3


def test_old_tombstones_are_deleted_but_not_the_newest_of_a_partition(lake: Storage) -> None:
    fill(lake, 3, "dt=1")
    compact(lake)
    put(lake, "dt=1", 3, table(30, 40))
    compact(lake)
    for n in range(3):
        put(lake, "dt=2", 10 + n, table(100 + n, 101 + n))
    with contextlib.suppress(Killed):
        compact(watched(lake, Die(6)))
    assert len(tombstones.ids(lake)) == 3
    clock = ManualClock(SystemClock().now_ms() + 29 * DAY_MS)
    assert Compactor(lake, OPTIONS, clock).expire() == 0
    clock.advance(2 * DAY_MS)
    assert Compactor(lake, OPTIONS, clock).expire() == 1
    newest = tombstones.ids(lake)
    assert sorted(newest) == sorted([f"{key_of('dt=1')}-1", f"{key_of('dt=2')}-0"])
    compact(lake)
    assert len(data_files(lake)) == 2
    assert Compactor(lake, OPTIONS, clock).expire() == 0
    assert tombstones.ids(lake) == newest
    assert seen(lake) == Counter([*range(40), 100, 101, 102])


def expire_all(lake: Storage) -> None:
    Compactor(lake, OPTIONS, ManualClock(SystemClock().now_ms() + 31 * DAY_MS)).expire()


def test_numbers_do_not_start_again_when_tombstones_expire_during_a_merge(lake: Storage) -> None:
    fill(lake)
    compact(lake)
    put(lake, "dt=1", 50, table(100, 110))

    def others(call: str) -> None:
        if call == "before create" and len(data_files(lake)) == 2:
            expire_all(lake)
            compact(lake)

    compact(watched(lake, others))
    assert seen(lake) == ROWS + once(range(100, 110))
    assert tombstones.ids(lake) == [f"{key_of('dt=1')}-{n}" for n in (0, 1)]
    assert staged_of(lake, COMPACTION) == []


def test_numbers_do_not_start_again_when_the_newest_is_overtaken_and_expires_before_it_is_read(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    compact(lake)
    put(lake, "dt=1", 50, table(100, 110))
    read = tombstones.read

    def others_first(storage: Storage, name: str) -> Tombstone | None:
        monkeypatch.setattr(tombstones, "read", read)
        compact(lake)
        expire_all(lake)
        put(lake, "dt=1", 51, table(110, 120))
        return read(storage, name)

    monkeypatch.setattr(tombstones, "read", others_first)
    compact(lake)
    assert tombstones.ids(lake) == [f"{key_of('dt=1')}-{n}" for n in (1, 2)]
    assert seen(lake) == ROWS + once(range(100, 120))
