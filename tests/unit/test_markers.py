"""From what journals decide to files in the lake, over real channels and a lake in memory."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from disks import FaultyDisk
from fakes import journaled, manual, request, take_rows

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.completeness import MarkerRules, Sealed, Watermark, WatermarkQuery
from rayflume.errors import ChannelClosed, StorageUnavailable
from rayflume.interfaces import Manifest, StagedFile
from rayflume.markers import Marking, mark
from rayflume.storage.memory import MemoryStorage, MemoryStore

HOUR = 3_600_000
RULES = MarkerRules(HOUR // 6, 60_000, HOUR, "_SUCCESS")
FIRST, SECOND = "hour=00", "hour=01"
ENDS = {FIRST: HOUR, SECOND: 2 * HOUR}


@dataclass
class Lab:
    """Journals of one channel, each fed by the source `web` of its own host, and one lake."""

    directory: Path
    journals: int = 1
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.context, self.clock = manual(self.directory, "lake")
        self.disks = [FaultyDisk() for _ in range(self.journals)]
        self.channels = [journaled(disk, self.context) for disk in self.disks]
        self.next = itertools.count()
        self.marking = self.another()

    def another(self) -> Marking:
        """Another process that marks, or the next life of this one."""
        return Marking(
            "clicks", "lake", RULES, MemoryStorage(self.store), self.channels, {"web": 1},
            self.clock, self.context.metrics,
        )  # fmt: skip

    def deliver(self, journal: int, hours: float, *directories: str) -> str:
        """One row for each directory, the newest of them at so many hours."""
        channel, at, rows = self.channels[journal], next(self.next) * 10, len(directories)
        stream = f"host-{journal}/web/1-1/0"
        extents = [Extent(stream, at, at + 10, rows)]
        put = replace(request([b"x"] * rows, extents, skip="a gap"), source=f"host-{journal}/web")
        channel.put(put)
        delivery = take_rows(channel).taken.delivery
        files = tuple(StagedFile(f"{d}/part-{delivery}-0.parquet", {}, 1, 1) for d in directories)
        spans = {stream: (0, int(hours * HOUR))}
        ends = {directory: ENDS[directory] for directory in directories}
        channel.prepare(
            Manifest(delivery, "lake", files, rows, rows, event_times=spans, partitions=ends),
            "lake/0/a",
        )
        channel.commit(delivery)
        return delivery

    def restart(self, journal: int) -> None:
        self.channels[journal].close()
        self.channels[journal] = journaled(self.disks[journal], self.context)

    @property
    def markers(self) -> dict[str, Any]:
        return {path: json.loads(data) for path, data in sorted(self.store.files.items())}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> Lab:
    return Lab(tmp_path, 2)


def test_nothing_is_marked_before_the_watermark_has_passed_by_the_delay(lab: Lab) -> None:
    lab.deliver(0, 1.125, FIRST, SECOND)
    mark(lab.marking)
    assert lab.markers == {}
    assert lab.marking.describe() == {
        "watermark": "1970-01-01T01:07:30.000+00:00",
        "held_by": ["host-0/web"],
        "oldest_open_partition": FIRST,
    }
    lab.deliver(0, 1.17, SECOND)
    mark(lab.marking)
    assert list(lab.markers) == [f"{FIRST}/_SUCCESS"]


def test_a_marker_tells_rows_files_and_watermark(lab: Lab) -> None:
    lab.deliver(0, 0.5, FIRST)
    lab.deliver(0, 1.5, FIRST, SECOND)
    mark(lab.marking)
    [content] = lab.markers.values()
    assert content | {"journals": {}, "late": ""} == {
        "partition": FIRST,
        "agent": "clicks",
        "sink": "lake",
        "written": "2023-11-14T22:13:20.000+00:00",
        "watermark": "1970-01-01T01:30:00.000+00:00",
        "rows": 2,
        "files": 2,
        "journals": {},
        "late": "",
    }
    assert lab.context.metrics.snapshot()["PartitionCompletedCount"] == 1
    assert lab.context.metrics.snapshot()["WatermarkMs"] == 1.5 * HOUR
    mark(lab.marking)
    assert len(lab.markers) == 1
    assert lab.marking.oldest == (SECOND, 2 * HOUR)


def test_the_journal_that_is_behind_decides(two: Lab) -> None:
    two.deliver(0, 5.0, FIRST)
    mark(two.marking)
    two.deliver(1, 0.9, FIRST)
    mark(two.marking)
    assert two.markers == {}
    assert two.marking.held_by == ("host-1/web",)
    two.deliver(1, 1.2, FIRST)
    mark(two.marking)
    [content] = two.markers.values()
    assert content["rows"] == 3
    assert sorted(counts["rows"] for counts in content["journals"].values()) == [1, 2]


def test_a_journal_that_does_not_answer_holds_all(two: Lab) -> None:
    two.deliver(0, 5.0, FIRST)
    two.deliver(1, 5.0, FIRST)
    two.channels[1].close()
    with pytest.raises(ChannelClosed):
        mark(two.marking)
    assert two.markers == {}
    two.restart(1)
    mark(two.marking)
    [content] = two.markers.values()
    assert content["rows"] == 2


def test_a_later_delivery_is_told_of_in_a_file_of_its_own(lab: Lab) -> None:
    lab.deliver(0, 1.5, FIRST)
    mark(lab.marking)
    late = [lab.deliver(0, 0.1, FIRST), lab.deliver(0, 0.2, FIRST)]
    mark(lab.marking)
    mark(lab.marking)
    told = [f"{FIRST}/_SUCCESS.late-{delivery}" for delivery in late]
    assert list(lab.markers) == [f"{FIRST}/_SUCCESS", *told]
    assert [content["rows"] for content in lab.markers.values()] == [1, 1, 1]
    assert lab.context.metrics.snapshot()["EventAfterMarkerCount"] == 2


def test_a_partition_that_has_only_late_rows_is_complete_without_them(lab: Lab) -> None:
    lab.deliver(0, 5.0, SECOND)
    mark(lab.marking)
    lab.deliver(0, 0.1, FIRST)
    mark(lab.marking)
    marker, late = (content for path, content in lab.markers.items() if path.startswith(FIRST))
    assert (marker["rows"], late["rows"]) == (0, 1)


@pytest.mark.parametrize("after", [False, True])
def test_a_store_that_fails_is_asked_again(lab: Lab, after: bool) -> None:
    lab.deliver(0, 5.0, FIRST, SECOND)
    lab.store.faults.fail("create", after=after)
    with pytest.raises(StorageUnavailable):
        mark(lab.marking)
    lab.clock.advance(1_000)
    mark(lab.marking)
    assert list(lab.markers) == [f"{FIRST}/_SUCCESS", f"{SECOND}/_SUCCESS"]
    assert [content["rows"] for content in lab.markers.values()] == [1, 1]


def test_who_dies_before_the_journal_is_told_leaves_nothing_twice(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(0, 5.0, FIRST)
    with monkeypatch.context() as patched:
        patched.setattr(JournaledChannel, "marked", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mark(lab.marking)
        late = lab.deliver(0, 0.1, FIRST)
        with pytest.raises(ZeroDivisionError):
            mark(lab.another())
    lab.restart(0)
    mark(lab.another())
    assert list(lab.markers) == [f"{FIRST}/_SUCCESS", f"{FIRST}/_SUCCESS.late-{late}"]
    assert [content["rows"] for content in lab.markers.values()] == [1, 1]
    assert lab.channels[0].seal("lake", None).late == ()


class AsItWas:
    """A journal as one saw it who then stood still: its old answers."""

    def __init__(self, channel: JournaledChannel, marking: Marking) -> None:
        query = WatermarkQuery("lake", marking.expected, RULES.idle_timeout_ms)
        self._answers = channel.watermark(query), channel.seal("lake", 4 * HOUR)
        self.marked = channel.marked

    def watermark(self, query: WatermarkQuery) -> Watermark:
        return self._answers[0]

    def seal(self, sink: str, until_ms: int | None) -> Sealed:
        return self._answers[1]


def test_one_that_was_replaced_writes_what_its_successor_would(lab: Lab) -> None:
    """It has its answers, stands still, and goes on when others have marked, and more has come."""
    lab.deliver(0, 5.0, FIRST, SECOND)
    early = lab.deliver(0, 0.1, FIRST)
    zombie = replace(lab.marking, channels=[AsItWas(lab.channels[0], lab.marking)])  # type: ignore[list-item]
    late = lab.deliver(0, 0.1, FIRST)
    mark(lab.another())
    before = dict(lab.store.files)
    mark(zombie)
    assert lab.store.files == before
    assert early != late
    assert [content["rows"] for content in lab.markers.values()] == [2, 1, 1]
    assert [path for path in lab.markers if ".late-" in path] == [f"{FIRST}/_SUCCESS.late-{late}"]


def test_a_journal_that_joins_is_told_of_beside_a_marker_that_is_there(two: Lab) -> None:
    alone = replace(two.marking, channels=two.channels[:1])
    two.deliver(0, 5.0, FIRST)
    mark(alone)
    two.deliver(1, 5.0, FIRST)
    mark(two.marking)
    marker, late = two.markers.items()
    assert (marker[1]["rows"], late[1]["rows"]) == (1, 1)
    assert late[0].startswith(f"{FIRST}/_SUCCESS.late-{two.channels[1].info().journal}-")


def test_a_marker_of_another_tool_stays_and_the_rows_are_told_of_beside_it(lab: Lab) -> None:
    MemoryStorage(lab.store).create(f"{FIRST}/_SUCCESS", b"")
    lab.deliver(0, 5.0, FIRST)
    mark(lab.marking)
    assert lab.store.files[f"{FIRST}/_SUCCESS"] == b""
    [told] = [path for path in lab.store.files if ".late-" in path]
    assert json.loads(lab.store.files[told])["rows"] == 1


def test_a_channel_that_was_opened_anew_knows_what_it_decided(lab: Lab) -> None:
    lab.deliver(0, 5.0, FIRST)
    until = int(5.0 * HOUR) - RULES.after_ms
    lab.channels[0].watermark(WatermarkQuery("lake", {"web": 1}, 60_000))
    sealed = lab.channels[0].seal("lake", until)
    lab.restart(0)
    assert lab.channels[0].seal("lake", None) == sealed
    late = lab.deliver(0, 0.1, FIRST)
    lab.restart(0)
    assert [c.note for c in lab.channels[0].seal("lake", None).late] == [late]
    assert lab.channels[0].seal("lake", until - 1).until_ms == until, "it does not go back"
    mark(lab.another())
    assert [content["rows"] for content in lab.markers.values()] == [1, 1]
