"""A configuration that changes on the disk: what is applied, what is refused, what is no change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from reload_agent import until

from rayflume.agent.changes import Changes, changes
from rayflume.agent.reload import Reload, Reloader
from rayflume.config import AgentPlan, load
from rayflume.errors import ChannelClosed, ConfigError

TEXT = """\
agent: a
sources: {s: {type: seq, channels: [c]}}
channels: {c: {type: memory, capacity: SIZE}}
sinks: {k: {type: "null", channel: c}}
"""


class Agent:
    """Takes every plan but those it refuses."""

    def __init__(self, plan: AgentPlan) -> None:
        self.plan = plan
        self.sizes: list[object] = []
        self.waiting: list[str] = []
        self.error: Exception | None = None

    def apply(self, plan: AgentPlan) -> Changes:
        if self.error is not None:
            raise self.error
        found, self.plan = changes(self.plan, plan), plan
        if found:
            self.sizes.append(plan.channels["c"].options["capacity"])
        return found

    def renewing(self) -> list[str]:
        return self.waiting


class Watched:
    """A file, an agent that runs by it, and what was said."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "a.yaml"
        self.write("1")
        self.said: list[str] = []
        plan = load(self.file)
        self.agent = Agent(plan)
        reload = Reload(self.file, lambda: load(self.file), self.said.append, plan)
        self.reloader = Reloader(self.agent, reload)

    def write(self, size: str) -> None:
        self.file.write_text(TEXT.replace("SIZE", size))

    def replace(self, size: str) -> None:
        """As editors save."""
        other = self.file.with_suffix(".new")
        other.write_text(TEXT.replace("SIZE", size))
        other.replace(self.file)

    def comes(self, *sizes: int) -> None:
        """Wait until these were applied, one after the other."""

        def found() -> bool:
            self.reloader.look()
            return self.agent.sizes == list(sizes)

        until(found, 10)

    def says(self, text: str) -> None:
        def found() -> bool:
            self.reloader.look()
            return any(text in said for said in self.said)

        until(found, 10)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.reloader.close()


def test_a_file_is_applied_when_it_is_written_or_replaced(watched: Watched) -> None:
    watched.reloader.look()
    watched.write("2")
    watched.comes(2)
    watched.replace("3")
    watched.comes(2, 3)
    assert any(
        "a.yaml has changed: adjust c (capacity); keep s, k" in text for text in watched.said
    )
    watched.says("reloaded: all parts are as the file says")


def test_many_writes_at_once_are_one_change(watched: Watched) -> None:
    watched.reloader.look()
    for size in range(2, 30):
        watched.write(str(size))
    watched.comes(29)


def test_a_bad_file_is_refused_and_the_next_good_one_applied(watched: Watched) -> None:
    watched.write("-5")
    watched.says("is not applied; the plan before goes on")
    assert any("a.yaml:3: channels.c.capacity" in text for text in watched.said)
    assert watched.agent.sizes == []
    watched.write("6")
    watched.comes(6)


def test_a_file_that_is_gone_changes_nothing(watched: Watched) -> None:
    watched.reloader.look()
    watched.file.unlink()
    for _ in range(20):
        watched.reloader.look()
    assert (watched.agent.sizes, watched.said) == ([], [])
    watched.write("7")
    watched.comes(7)


def test_what_the_agent_refuses_is_said_and_tried_again_when_it_is_saved_again(
    watched: Watched,
) -> None:
    watched.agent.error = ConfigError("channel wal holds 3 rows", problems=("channel wal holds 3",))
    watched.write("8")
    watched.says("channel wal holds 3")
    watched.agent.error = None
    watched.reloader.look()
    assert watched.agent.sizes == []
    os.utime(watched.file)
    watched.comes(8)


def test_an_agent_that_does_not_answer_or_is_still_changing_is_asked_again(
    watched: Watched,
) -> None:
    watched.reloader.look()
    watched.agent.error = ChannelClosed("the supervisor does not answer")
    watched.write("9")

    def unanswered() -> bool:
        try:
            watched.reloader.look()
        except ChannelClosed:
            return True
        return False

    until(unanswered, 10)
    watched.agent.error, watched.agent.waiting = None, ["sink k is held"]
    watched.reloader.look()
    assert watched.agent.sizes == []
    watched.agent.waiting = []
    watched.comes(9)


def test_a_link_that_moves_on_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes mounts a configuration: the file is a link through a link that is replaced."""
    for name, size in (("v1", "1"), ("v2", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(TEXT.replace("SIZE", size))
    (tmp_path / "data").symlink_to("v1")
    mounted = tmp_path / "conf"
    mounted.mkdir()
    (mounted / "a.yaml").symlink_to("../data/a.yaml")
    plan = load(mounted / "a.yaml")
    agent = Agent(plan)
    said: list[str] = []
    file = mounted / "a.yaml"
    reloader = Reloader(agent, Reload(file, lambda: load(file), said.append, plan))
    try:
        reloader.look()
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").replace(tmp_path / "data")

        def found() -> bool:
            reloader.look()
            return agent.sizes == [2]

        until(found, 10)
    finally:
        reloader.close()


def test_every_file_that_is_merged_is_watched(tmp_path: Path) -> None:
    file, more = tmp_path / "a.yaml", tmp_path / "other" / "size"
    more.parent.mkdir()
    more.write_text("1")
    file.write_text(TEXT)

    def read() -> AgentPlan:
        plan = tmp_path / "merged.yaml"
        plan.write_text(file.read_text().replace("SIZE", more.read_text()))
        return load(plan)

    first = read()
    agent = Agent(first)
    said: list[str] = []
    reloader = Reloader(agent, Reload(file, read, said.append, first, more=(more,)))

    def applied(sizes: list[object]) -> bool:
        reloader.look()
        return agent.sizes == sizes

    try:
        until(lambda: applied([]), 10)
        more.write_text("2")
        until(lambda: applied([2]), 10)
        more.unlink()
        file.write_text(TEXT + "# changed while the other is gone\n")
        assert applied([2])
        more.write_text("3")
        until(lambda: applied([2, 3]), 10)
        assert any(f"{file}, {more} has changed: adjust c" in text for text in said)
    finally:
        reloader.close()
