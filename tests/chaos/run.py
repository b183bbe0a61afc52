"""`make chaos`: real processes that die, and the count of rows afterwards.

    python -m chaos.run --seed 1 --faults 200 --rows 2000000 --store both --results chaos-results

Prints a line for each fault. Exit code 0: nothing lost, nothing doubled. 1: rows are wrong, or the
agent did not get on again; the tables and the JSON have the ids. Ctrl-C ends all processes.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import pyarrow.fs as pafs
from fault_proxy import FaultProxy
from servers import S3Server, free_ports, weed_server

from chaos import judge
from chaos.feeds import Feed, HttpFeed, SpoolFeed, TailFeed
from chaos.hosts import three_hosts
from chaos.monkey import SHORT, Monkey, Rig, faults, kinds
from chaos.plant import DISK_BYTES, STORES, Place, Plant
from chaos.rows import KEYED, RETRIED, SINGLE, SPOOL, TAIL, Kind, Ledgers
from chaos.watcher import Watcher, wait_for
from rayflume.clock import SystemClock

START_S = 120
RATES = ((TAIL, 1_500.0), (SPOOL, 800.0), (KEYED, 150.0), (RETRIED, 75.0), (SINGLE, 75.0))


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    seed: int
    faults: int
    rows: int
    stores: tuple[str, ...]
    results: Path
    keep: bool = False


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[bool]:
    """A file system of its own that can be filled; False where this user may not mount one."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=False)


def feed_of(kind: Kind, place: Place, sent: Ledgers, seed: int, rate: float) -> Feed:
    """A sender of that kind, not yet started."""
    if kind is TAIL:
        return TailFeed(sent[kind], seed, rate, place.folder / "tail")
    if kind is SPOOL:
        return SpoolFeed(sent[kind], seed, rate, place.folder / "spool")
    return HttpFeed(sent[kind], seed, rate, place.port)


def feeds_of(place: Place, sent: Ledgers, seed: int) -> list[Feed]:
    """All senders: one of files of each kind, two HTTP clients of each."""
    feeds = [feed_of(kind, place, sent, seed, rate) for kind, rate in RATES]
    again = [(kind, rate) for kind, rate in RATES if kind not in (TAIL, SPOOL)]
    return feeds + [feed_of(kind, place, sent, seed + 1, rate) for kind, rate in again]


def send_all(feeds: list[Feed], sent: Ledgers, options: Options) -> None:
    """Send on until there are as many rows as wanted, then let every sender finish."""
    files = [feed for feed in feeds if not isinstance(feed, HttpFeed)]
    for feed in files:
        if sent.issued < options.rows:
            feed.hurry.set()
    wait_for(lambda: sent.issued >= options.rows or any(f.error for f in feeds), 3_600, 0.5)
    for feed in feeds:
        feed.stop()
    for feed in feeds:
        feed.join(120)
        if feed.is_alive():
            feed.error = feed.error or "it did not end: no answer for what it began to send"


@contextlib.contextmanager
def stores_of(
    options: Options, folder: Path
) -> Iterator[tuple[Place, S3Server | None, FaultProxy | None]]:
    """The lakes' stores: a folder, and an S3 server behind the proxy."""
    (port,) = free_ports(1)
    if "s3" not in options.stores:
        yield Place(folder, options.stores, port), None, None
        return
    with weed_server() as server:
        url = urlsplit(server.endpoint)
        with FaultProxy(str(url.hostname), int(url.port or 0)) as proxy:
            storage = {**server.options, "endpoint": proxy.endpoint}
            place = Place(folder, options.stores, port, server.bucket(), storage)
            yield place, server, proxy


def filesystem_of(store: str, place: Place, server: S3Server | None) -> tuple[pafs.FileSystem, str]:
    """A reader of a lake that goes past the proxy, and the place of the lake in it."""
    if store == "local":
        return pafs.LocalFileSystem(), place.lake("local")
    assert server is not None
    options = server.options
    s3 = pafs.S3FileSystem(
        access_key=str(options["access_key"]),
        secret_key=str(options["secret_key"]),
        endpoint_override=server.endpoint,
        region=server.region,
    )
    return s3, f"{place.bucket}/lake"


def run(options: Options, folder: Path) -> judge.Result:
    """One whole run: start, break, drain, count."""
    result, sent, clock = judge.Result(options.seed, options.stores), Ledgers(), SystemClock()
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        place, server, proxy = stack.enter_context(stores_of(options, folder))
        say(f"starting three Ray nodes; lakes: {', '.join(options.stores)}")
        hosts = stack.enter_context(
            three_hosts(Path(tempfile.mkdtemp(prefix="chaos-", dir=folder)))
        )
        plant = Plant(place, hosts.address)
        stack.callback(plant.end)
        if not disk:
            result.notes.append("full disk: not done, this user may not mount a small disk")
        feeds = feeds_of(place, sent, options.seed)
        plant.start()
        watcher = Watcher(plant)
        watcher.start()
        stack.callback(watcher.stop)
        for feed in feeds:
            feed.start()
        began_ms = clock.monotonic_ms()
        if not wait_for(lambda: watcher.running(0) and watcher.advanced_since(0), START_S):
            result.wrong.append(f"the agent did not start: {plant.log_tail(5)}")
            return result
        rig = Rig(hosts, plant, watcher, proxy, say)
        _break(result, rig, options, disk)
        if proxy is not None:
            result.s3_requests_hit = proxy.total
            proxy.heal()
        say("the monkey rests; sending what is left, then draining")
        send_all(feeds, sent, options)
        result.wrong += [f"{feed.name}: {feed.error}" for feed in feeds if feed.error]
        result.rotations = sum(getattr(feed, "rotations", 0) for feed in feeds)
        _drain(result, plant)
        result.seconds = (clock.monotonic_ms() - began_ms) / 1000
        result.rss_mib = {name: size >> 20 for name, size in sorted(watcher.rss.items())}
        for store in options.stores:
            ids, dead = judge.ids_in(*filesystem_of(store, place, server))
            result.verdicts += judge.judge(store, ids, sent)
            result.dead_letters[store] = len(dead)
            good = dead[~judge.bad(dead)]
            if len(good):
                result.notes.append(f"{store}: {len(good)} good rows are dead letters: {good[:9]}")
    return result


def _break(result: judge.Result, rig: Rig, options: Options, disk: bool) -> None:
    monkey = Monkey(rig, options.seed, overlap=0.5 if options.faults < SHORT else 0.25)
    try:
        monkey.play(faults(options.seed, options.faults, kinds(options.stores, disk)))
    finally:
        result.struck = monkey.struck
        result.notes += monkey.notes
        result.wrong += monkey.wrong


def _drain(result: judge.Result, plant: Plant) -> None:
    code, last = plant.drain()
    if code != 0:
        states = [(p["name"], p["state"], p["last_error"], p["detail"]) for p in plant.parts()]
        result.wrong.append(f"the drain ended with {code}: {last} {states}")


def parse(arguments: list[str]) -> Options:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="chaos.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2_000_000, help="at least so many are sent")
    parser.add_argument("--store", choices=[*STORES, "both"], default="both")
    parser.add_argument("--results", type=Path, default=Path("chaos-results"))
    parser.add_argument("--keep", action="store_true", help="leave journals, lake and logs there")
    given = parser.parse_args(arguments)
    stores = STORES if given.store == "both" else (given.store,)
    return Options(given.seed, given.faults, given.rows, stores, given.results, given.keep)


def main(arguments: list[str]) -> int:
    faulthandler.register(signal.SIGUSR1)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has it ignored
        signal.signal(number, interrupt)
    options = parse(arguments)
    folder = Path(tempfile.mkdtemp(prefix="rfc-"))  # short: Ray's sockets lie below it
    try:
        result = run(options, folder)
    except KeyboardInterrupt:
        say("interrupted: all processes were ended")
        return 130
    finally:
        if options.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    say("")
    say(judge.markdown(result))
    for note in result.notes:
        say(f"note: {note}")
    say(f"results: {', '.join(str(path) for path in judge.write(result, options.results))}")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
