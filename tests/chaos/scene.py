"""One agent in the test run's own cluster, with senders: what the tests of single faults share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs
from servers import free_ports

from chaos import judge
from chaos.feeds import Feed
from chaos.plant import Part, Place, Plant
from chaos.rows import Kind, Ledgers
from chaos.run import RATES, feed_of
from chaos.watcher import Watcher, wait_for

START_S = 90
RECOVER_S = 120


@dataclass
class Scene:
    """A running agent with one channel and a local lake, its senders, and the count of rows."""

    plant: Plant
    watcher: Watcher
    sent: Ledgers
    feeds: list[Feed]

    def part(self, name: str, replica: int = 0) -> Part:
        """A part as the supervisor shows it now. Waits until it runs."""
        found: list[Part] = []

        def runs() -> bool:
            found[:] = [
                part
                for part in self.plant.parts()
                if (part["name"], part["replica"], part["state"]) == (name, replica, "running")
            ]
            return bool(found and found[0]["pid"])

        assert wait_for(runs, RECOVER_S), f"{name}/{replica} does not run: {self.plant.parts()}"
        return found[0]

    def await_flow(self, since_ms: int) -> None:
        """All parts run, and rows were committed after that moment."""
        watcher = self.watcher
        flowing = wait_for(
            lambda: watcher.running(since_ms) and watcher.advanced_since(since_ms), RECOVER_S
        )
        assert flowing, self.plant.parts()

    def finish(self) -> list[judge.Verdict]:
        """Let the senders end, drain the agent, count: nothing is lost, nothing doubled."""
        for feed in self.feeds:
            feed.stop()
        for feed in self.feeds:
            feed.join(60)
        assert [(feed.name, feed.error) for feed in self.feeds if feed.error] == []
        assert not any(feed.is_alive() for feed in self.feeds)
        self.watcher.stop()
        self.plant.drain_here()
        lake = self.plant.place.lake("local")
        ids, dead = judge.ids_in(pafs.LocalFileSystem(), lake)
        verdicts = judge.judge("local", ids, self.sent)
        assert [verdict for verdict in verdicts if not verdict.good] == []
        assert dead[~judge.bad(dead)].tolist() == []
        assert {verdict.kind for verdict in verdicts} == {f.ledger.kind.name for f in self.feeds}
        return verdicts


@contextlib.contextmanager
def scene(place: Place, address: str, kinds: Sequence[Kind], rate: float = 0.0) -> Iterator[Scene]:
    """Start an agent and senders of these kinds; rows flow when it is entered. `rate`: rows per
    second of each sender, else the usual one.
    """
    (place.folder / "spool").mkdir(parents=True, exist_ok=True)
    sent, plant = Ledgers(), Plant(place, address)
    feeds = [feed_of(kind, place, sent, 1, rate or dict(RATES)[kind]) for kind in kinds]
    plant.start_here()
    watcher = Watcher(plant)
    watcher.start()
    try:
        for feed in feeds:
            feed.start()
        began = wait_for(lambda: watcher.running(0) and watcher.advanced_since(0), START_S)
        assert began, plant.parts()
        yield Scene(plant, watcher, sent, feeds)
    finally:
        watcher.stop()
        for feed in feeds:
            feed.stop()
        plant.end()


def local_place(folder: Path, hosts: tuple[int, int] | None = None, **more: object) -> Place:
    """A place for one agent with a local lake, named after the folder."""
    (port,) = free_ports(1)
    return Place(folder, ("local",), port, agent=folder.name, hosts=hosts, **more)  # type: ignore[arg-type]
