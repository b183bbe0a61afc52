"""F3 for a lake on a local disk: power failures that keep or lose whatever was not synced.

The calls of a collector's life are recorded once; then the disk is brought into states that a power
failure at each moment may leave, and a new process recovers there. RAYFLUME_F3_STATES sets how many
states are tried at each moment.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash_states import State, crash_states
from traced_os import CHANGES, Call, TracedOs

from rayflume.interfaces import Published
from rayflume.naming import STAGING, data_name
from rayflume.storage.local import LocalStorage

EACH = int(os.environ.get("RAYFLUME_F3_STATES", "25"))
SEED = 20_251_122
DELIVERY = "00000000000000aa-1-7"
ROWS = {
    f"{folder}{data_name(DELIVERY, n)}": bytes([65 + n]) * (700 + n)
    for n, folder in enumerate(("dt=1/hour=1/", "dt=1/hour=2/", ""))
}
SCHEMA, TEXT = "_rayflume/schema/1.json", b'{"version": 1}'


class Trace:
    """One life of a collector on a local lake, and when its promises were made.

    `prepared`, `committed`, `agreed`: the number of calls after which the journal had the Prepared
    record, publish had returned, and the schema version was agreed.
    """

    def __init__(self, lake: Path, traced: TracedOs) -> None:
        self.root = str(lake)
        self._traced = traced
        self.calls: list[Call] = []
        traced.at = self._note
        storage = LocalStorage(lake)
        storage.check()
        self.checked = len(self.calls)
        assert storage.create(SCHEMA, TEXT)
        self.agreed = len(self.calls)
        writers = [(storage.stage(target, DELIVERY), data) for target, data in ROWS.items()]
        for writer, data in writers:
            writer.write(data[:300])
            writer.write(data[300:])
        self.handles = [writer.finish() for writer, _ in writers]
        self.prepared = len(self.calls)
        assert storage.publish(self.handles) == [Published.LANDED] * 3
        self.committed = len(self.calls)
        traced.at = lambda _call: None

    def _note(self, call: Call) -> None:
        if call.after and call.operation in CHANGES:
            self.calls.append(call)


def judge(trace: Trace, state: State, lake: Path) -> None:
    """What a reader sees at once, and what the next process makes of it."""
    visible = {
        p.relative_to(lake).as_posix(): p.read_bytes()
        for p in lake.rglob("*")
        if p.is_file() and STAGING not in p.as_posix()
    }
    for path, data in visible.items():
        assert data == {**ROWS, SCHEMA: TEXT}[path], f"{path} is visible and not whole"
    if state.moment >= trace.agreed:
        assert visible.get(SCHEMA) == TEXT, "an agreed schema is gone"
    if state.moment >= trace.committed:
        assert {p for p in visible if p != SCHEMA} == set(ROWS), "committed rows are gone"
    storage = LocalStorage(lake)
    storage.check()
    if state.moment >= trace.prepared:
        assert storage.publish(trace.handles) == [Published.LANDED] * 3
        assert {p: storage.read(p) for p in ROWS} == ROWS
    else:
        assert not set(visible) & set(ROWS), "rows are visible that were not prepared"
    for _, handle in storage.staged(DELIVERY[:16]):
        storage.discard(handle)
    assert not list((lake / STAGING).glob("*.staged"))


def tried(tmp_path: Path, trace: Trace) -> int:
    """Judge all states; returns how many were different from each other."""
    seen = set()
    for number, state in enumerate(crash_states(trace.root, trace.calls, SEED, EACH)):
        key = (state.moment, tuple(sorted(state.files.items())), state.directories)
        if key in seen:
            continue
        seen.add(key)
        lake = tmp_path / "after" / str(number)
        lake.mkdir(parents=True)
        state.write(trace.root, lake)
        judge(trace, state, lake)
    return len(seen)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> TracedOs:
    return TracedOs(monkeypatch)


def test_f3_a_delivery_is_whole_and_once_after_any_power_failure(
    tmp_path: Path, traced: TracedOs
) -> None:
    states = tried(tmp_path, Trace(tmp_path / "lake", traced))
    assert states > 200, states


def without_fsync(traced: TracedOs, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    fsync = traced.fsync

    def skipping(fd: int) -> None:
        call_site: list[str] = []
        traced.at, note = (lambda call: call_site.append(call.site)), traced.at
        fsync(fd)
        traced.at = note
        if call_site[0] != site:
            fsync(fd)

    monkeypatch.setattr(traced, "fsync", skipping)


@pytest.mark.parametrize(
    "site",
    [
        "check>directory>_make:fsync",
        "create:fsync",
        "finish:fsync",
        "publish>_link>directory>_make:fsync",
        "publish:fsync",
    ],
)
def test_f3_the_model_sees_each_missing_fsync(
    tmp_path: Path, traced: TracedOs, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    without_fsync(traced, monkeypatch, site)
    with pytest.raises((AssertionError, OSError)):
        tried(tmp_path, Trace(tmp_path / "lake", traced))


def test_f3_a_base_that_a_killed_process_made_is_synced_by_the_next(
    tmp_path: Path, traced: TracedOs
) -> None:
    synced: list[str] = []
    traced.at = lambda call: synced.append(call.path) if call.operation == "fsync" else None
    base = tmp_path / "a" / "b" / "lake"
    base.mkdir(parents=True)
    LocalStorage(base).check()
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= set(synced)
