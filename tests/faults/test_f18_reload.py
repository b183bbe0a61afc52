"""F18: a configuration that is loaded anew again and again, and journals of earlier versions."""

from __future__ import annotations

import collections
import itertools
import random
from pathlib import Path

import pytest
from fault_volume import scaled
from reload_agent import Changing, plan, rows, sink, until

from rayflume.config import AgentPlan
from rayflume.errors import ConfigError
from rayflume.journal.disk import LocalDisk
from rayflume.journal.scan import scan_segment

GOLDEN = Path(__file__).parents[1] / "golden" / "journal_v1_waiting.bin"
"""Written by golden/make_v1_waiting.py: 20 rows in a journal, the first five delivered."""


def version(directory: Path, number: int, chance: random.Random) -> AgentPlan:
    """A plan that differs in one or several parts from those before."""
    sinks = {"lake": sink(roll={"age": f"{50 + chance.randrange(3)}ms"})}
    if chance.random() < 0.3:
        sinks["more"] = sink(path="lake")
    return plan(
        directory,
        web={"interceptors": [{"type": "static", "key": "v", "value": str(chance.randrange(4))}]},
        wal={"capacity": {"events": 100_000 + chance.randrange(3)}, "max_file_size": "1MiB"},
        sinks=sinks,
    )


def states(running: Changing) -> set[str]:
    components = running.agent.status()["components"]
    assert isinstance(components, list)
    return {str(part["state"]) for part in components if isinstance(part, dict)}


def reload_often(directory: Path, count: int) -> None:
    chance = random.Random(18)
    running = Changing(directory, version(directory, 0, chance))
    changed = collections.Counter[str]()
    for number in range(1, count + 1):
        running.write(chance.randrange(40))
        new = version(directory, number, chance)
        if number % 20 == 0:  # otherwise most parts change while they still start
            until(lambda: states(running) == {"running"})
        try:
            what = running.apply(new)
        except ConfigError as error:
            assert "sink more has open deliveries" in str(error)
            continue
        changed.update({verb: len(getattr(what, verb)) for verb in ("change", "add", "remove")})
    running.end()
    running.judge()
    assert min(changed.values()) > count // 20, changed


def test_rows_are_there_once_after_a_few_reloads(tmp_path: Path) -> None:
    reload_often(tmp_path, scaled(40))


@pytest.mark.slow
def test_rows_are_there_once_after_a_thousand_reloads(tmp_path: Path) -> None:
    reload_often(tmp_path, 1_000)


def test_a_journal_of_the_first_format_is_delivered_by_an_agent_of_now(tmp_path: Path) -> None:
    """N -> N+1: rows that an earlier version left behind, beside new ones and reloads."""
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "segment-0000000001.log").write_bytes(GOLDEN.read_bytes())
    running = Changing(tmp_path, plan(tmp_path))
    running.written = 100
    running.write(50)
    running.apply(plan(tmp_path, wal={"capacity": {"events": 1_000}}))
    running.write(50)
    running.end()
    wanted = [*range(5, 20), *range(100, 200)]
    assert running.rows() == collections.Counter(wanted)


def test_what_is_written_after_reloads_is_of_the_first_format_and_read_again(
    tmp_path: Path,
) -> None:
    """N+1 -> N: a journal that is not empty, left by an agent that was changed, goes on."""
    slow = {"lake": sink(roll={"age": "1h"})}
    running = Changing(tmp_path, plan(tmp_path, sinks=slow))
    for number in range(3):
        running.write(20)
        running.apply(plan(tmp_path, wal={"capacity": {"events": 1_000 + number}}, sinks=slow))
    until(lambda: running.part("wal")["metrics"].get("ChannelSize", 0) + len(rows(tmp_path)) >= 60)
    running.agent.stop()
    assert running.agent.join(30)
    disk = LocalDisk(tmp_path / "wal")
    heads = [
        found for name in disk.names() if name.startswith("segment") and name.endswith(".log")
        for found in scan_segment(disk, name).found
    ]  # fmt: skip
    records = [
        (tmp_path / "wal" / name).read_bytes()[found.offset + 4]
        for name in disk.names()
        if name.startswith("segment") and name.endswith(".log")
        for found in scan_segment(disk, name).found
    ]
    assert len(heads) > 3
    assert set(records) == {1}, "a version byte in each record: the one that N reads"
    left = 60 - len(rows(tmp_path))
    assert left > 0, "the journal is not empty"
    again = Changing(tmp_path, plan(tmp_path))
    again.written = 60
    again.write(5)
    again.end()
    again.judge()


def test_rows_sealed_and_plain_lie_in_one_journal(tmp_path: Path) -> None:
    """Encryption is turned on, and its key is changed, while rows wait."""
    keys: dict[str, str] = {}
    for name in ("k1", "k2"):
        (tmp_path / name).write_bytes(bytes(itertools.repeat(len(keys) + 1, 32)))
        keys[name] = name
    slow = {"lake": sink(roll={"age": "1h"})}
    running = Changing(tmp_path, plan(tmp_path, sinks=slow))
    running.write(20)
    for name in keys:
        sealed = {"active_key": name, "key_files": keys}
        running.apply(plan(tmp_path, wal={"encryption": sealed}, sinks=slow))
        running.write(20)
    until(lambda: running.part("wal")["metrics"].get("ChannelSize", 0) > 0)
    with pytest.raises(ConfigError, match="sealed with the keys k1 perhaps"):
        running.apply(
            plan(
                tmp_path,
                wal={"encryption": {"active_key": "k2", "key_files": {"k2": "k2"}}},
                sinks=slow,
            )
        )
    running.end()
    running.judge()
