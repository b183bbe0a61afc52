"""Museum, publishing: overwrites, zombies, ambiguous commits, leaked uploads, lost tails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from museum_lab import Lab, numbered

from rayflume import flow
from rayflume.errors import LeaseRevoked, Retry
from rayflume.storage import memory


def test_fluent_bit_11987_a_restart_does_not_count_from_zero_again(tmp_path: Path) -> None:
    """Reference: fluent/fluent-bit#11987. The sequence index of object names was lost at a restart,
    so that new objects overwrote old ones. rayflume's names hold the journal's random id, its epoch
    and a number, and publishing never overwrites, also not from a journal that was made anew.
    """
    first, second = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    second.lake = first.lake
    for n in range(3):
        first.put({"n": n})
        first.deliver()
        first.crash()
    second.put({"n": 3})
    second.deliver()
    assert len(first.files()) == 4
    assert first.rows() == [0, 1, 2, 3]


def test_iceberg_17340_a_zombie_writer_commits_nothing(tmp_path: Path) -> None:
    """Reference: apache/iceberg#17340 (111,927 rows doubled) and #17551 (rows lost). A coordinator
    that had been replaced committed all the same, because its epoch was checked only in memory. In
    rayflume a delivery whose lease was revoked is refused by the journal before it can be
    published.
    """
    lab = Lab(tmp_path)
    lab.put(*numbered(range(10)))
    zombie = lab.lane(0)
    lab.fill(zombie)
    lab.clock.advance(60_000)
    lab.deliver(lab.lane(1))
    with pytest.raises(LeaseRevoked):
        flow.finish(zombie, zombie.closing.pop(0))
    flow.release(zombie)
    assert lab.rows() == list(range(10))
    assert len(lab.files()) == 1 and not lab.store.uploads


@pytest.mark.parametrize("landed", [False, True])
def test_redpanda_connect_4_105_an_unknown_outcome_deletes_nothing(
    tmp_path: Path, landed: bool
) -> None:
    """Reference: redpanda-data/connect CHANGELOG 4.105.0, a regression of 4.99. After a commit
    whose answer was lost the clean-up deleted files that had been committed. rayflume takes an
    unknown outcome as unknown: it asks again, and a target that already is this delivery's counts
    as done.
    """
    lab = Lab(tmp_path)
    lab.put(*numbered(range(10)))
    lane = lab.lane(partition_by=["part=%{n}"])
    lab.fill(lane)
    lab.store.faults.fail("publish", times=3, after=landed)
    for _ in range(3):
        with pytest.raises(Retry):
            flow.finish(lane, lane.closing[0])
        flow.release(lane)  # nothing that is prepared is given up by it
    lab.crash()
    lab.deliver(lab.lane())
    assert lab.rows() == list(range(10)) and len(lab.files()) == 10


def test_delta_rs_3736_concurrent_commits_drop_nothing(tmp_path: Path) -> None:
    """Reference: delta-io/delta-rs#3736 (142 of 2,000 commits dropped). Writers that lost a race
    gave up and their batch was gone. Sinks of rayflume that race for a schema version read the
    winner's, decode again and go on; all rows are there.
    """
    lab = Lab(tmp_path)
    others = [Lab(tmp_path / str(i)) for i in range(4)]
    together = threading.Barrier(4)

    def write(number: int) -> None:
        other = others[number]
        other.lake = lab.lake
        lane = other.lane(format={"type": "json"})
        for step in range(5):
            other.put({"n": number * 100 + step, f"only_{number}_{step}": step})
            together.wait(20)
            other.deliver(lane)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lab.rows() == sorted(number * 100 + step for number in range(4) for step in range(5))
    found = {name for table in lab.files().values() for name in table.schema.names}
    assert {f"only_{n}_{step}" for n in range(4) for step in range(5)} <= found


def test_flink_28268_a_resumed_file_does_not_lose_its_tail(tmp_path: Path) -> None:
    """Reference: apache/flink#28268 (FLINK-39778). A writer resumed an upload without the part that
    was smaller than a part's least size, and the tail was gone. rayflume never resumes a
    half-written file: rows of a delivery that was not prepared are written anew from the journal.
    """
    lab = Lab(tmp_path)
    dying = lab.lane(row_group_bytes=1024)
    lab.put(*numbered(range(500)))
    flow.drain(dying, 0)
    lab.put({"n": 500})
    flow.drain(dying, 0)
    assert lab.store.uploads, "a part of the file is at the store already"
    lab.crash()
    lab.deliver()
    assert lab.rows() == list(range(501))


def test_flink_28951_uploads_that_nobody_will_finish_are_removed(tmp_path: Path) -> None:
    """Reference: apache/flink#28951, #29132. Multipart uploads of failed attempts stayed for ever,
    or were aborted while a checkpoint still needed them. rayflume removes staged bytes of
    deliveries the journal does not know as prepared, and leaves the prepared ones for who takes
    them over.
    """
    lab = Lab(tmp_path)
    lab.put(*numbered(range(3)))
    dying = lab.lane(row_group_bytes=1024)
    lab.fill(dying)
    assert dying.closing[0].writer is not None
    dying.closing[0].writer.stage()
    lab.crash()
    lab.put({"n": 3})
    prepared = lab.lane(1)
    lab.fill(prepared)
    lab.store.faults.fail("publish", times=1)
    with pytest.raises(Retry):
        flow.finish(prepared, prepared.closing[0])
    before = dict(lab.store.uploads)
    lab.crash()
    lane = lab.lane()
    adopted = list(flow.recover(lane))
    assert len(before) == 2 and len(lab.store.uploads) == 1
    for delivery in adopted:
        flow.finish(lane, delivery)
    lab.deliver(lane)
    assert lab.rows() == [0, 1, 2, 3] and not lab.store.uploads


@pytest.mark.parametrize("verb", ["stage", "write", "finish", "publish"])
def test_otel_40964_a_store_that_fails_for_long_drops_nothing(
    tmp_path: Path, verb: memory.Verb
) -> None:
    """Reference: open-telemetry/opentelemetry-collector-contrib#40964; confluentinc/kafka-connect-
    storage-cloud#235. After some 503s the exporter said "Dropping data" (500,000 items), or the
    task failed for good. rayflume asks again for as long as it takes; rows stay in the channel.
    """
    lab = Lab(tmp_path)
    lab.put(*numbered(range(50)))
    lab.store.faults.fail(verb, times=100)
    lab.deliver()
    assert lab.rows() == list(range(50))
    assert not lab.store.uploads


def test_spark_24295_the_state_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """Reference: SPARK-24295 (apache/spark#24128, #28904). The log of written files grew with every
    batch and was read whole, until it did not fit into memory. rayflume's journal keeps nothing of
    a delivery that is committed, so its size does not depend on how many there were.
    """
    sizes = []
    lab = Lab(tmp_path, segment_bytes=20_000)
    lane = lab.lane()
    for n in range(60):
        lab.put({"n": n})
        lab.deliver(lane)
        if n in (29, 59):
            lab.crash()
            lane = lab.lane()
            sizes.append(sum(lab.disk.size(name) for name in lab.disk.names()))
    assert len(lab.files()) == 60
    assert sizes[1] <= 2 * sizes[0]
    assert len(lab.disk.names()) <= 3
