"""A realistic clickstream, made from a seed: what `make demo`, the notebook and the bench read.

Sessions of a few clicks each, users and pages with the skew of real traffic (Zipf), some clicks
late, some lines malformed. The same arguments give the same bytes.

    python -m rayflume.demo demo/clicks --rows 400000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HOUR_MS = 3_600_000
START_MS = 1_763_791_200_000
"""2025-11-22 06:00 UTC: the first click, unless told otherwise."""
_BLOCK_ROWS = 50_000
_EVENTS = ("view", "view", "view", "view", "view", "view", "search", "cart", "purchase", "login")
_REFERRERS = ("", "https://search.example/", "https://news.example/today", "https://mail.example/")
_AGENTS = ("Firefox/145.0 (Linux)", "Safari/26.1 (iPhone)", "Chrome/142.0 (Windows)", "bot/2.1")
_COUNTRIES = ("NO", "SE", "DE", "FR", "US", "IN", "BR", "JP")
_MALFORMED = ('{"user_id": 17, "url": "/cut/of', "not json at all", '{"user_id": "seven"}', "[]")


@dataclass(frozen=True)
class Clickstream:
    """What to make. `malformed` and `late`: how many of a thousand rows."""

    rows: int = 400_000
    files: int = 4
    hours: float = 4.0
    seed: int = 7
    malformed: int = 1
    late: int = 10
    start_ms: int = START_MS

    def lines(self) -> Iterator[list[str]]:
        """All lines in the order they were clicked, in blocks; without newlines."""
        random = np.random.default_rng(self.seed)
        step_ms = self.hours * HOUR_MS / max(self.rows, 1)
        for first in range(0, self.rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, self.rows - first)
            times = self.start_ms + ((first + np.arange(count)) * step_ms).astype(np.int64)
            yield self._block(random, times)

    def _block(self, random: np.random.Generator, times: np.ndarray) -> list[str]:
        count = len(times)
        late = random.random(count) < self.late / 1000
        times = np.where(late, times - random.integers(0, 3 * HOUR_MS, count), times)
        users = np.minimum(random.zipf(1.3, count), 250_000)
        visits = times // (30 * 60_000)
        pages = np.minimum(random.zipf(1.2, count), 40_000)
        columns = zip(
            users.tolist(),
            ((users * 2_654_435_761 + visits * 97) & 0xFFFFFFFFFFFF).tolist(),
            times.tolist(),
            [_EVENTS[i] for i in random.integers(0, len(_EVENTS), count)],
            pages.tolist(),
            random.integers(0, 10_000, count).tolist(),
            [_REFERRERS[i] for i in random.integers(0, len(_REFERRERS), count)],
            [_AGENTS[i] for i in random.integers(0, len(_AGENTS), count)],
            [_COUNTRIES[i] for i in random.integers(0, len(_COUNTRIES), count)],
            random.integers(1, 90_000, count).tolist(),
            (random.integers(0, 50_000, count) / 100).tolist(),
            strict=True,
        )
        rows = [
            f'{{"user_id":{user},"session_id":"{session:012x}","ts":{ts},"event":"{event}",'
            f'"url":"/catalog/product/{page}?variant={variant}","referrer":"{referrer}",'
            f'"user_agent":"{agent}","country":"{country}","dwell_ms":{dwell},"price":{price}}}'
            for user, session, ts, event, page, variant, referrer, agent, country, dwell, price
            in columns
        ]  # fmt: skip
        for i in np.flatnonzero(random.random(count) < self.malformed / 1000).tolist():
            rows[i] = _MALFORMED[i % len(_MALFORMED)]
        return rows


@dataclass(frozen=True)
class Written:
    """What was made: files, rows, how many of them malformed, bytes."""

    files: tuple[Path, ...]
    rows: int
    malformed: int
    bytes: int


def write(directory: Path, stream: Clickstream) -> Written:
    """Write the stream into `clicks-<n>.jsonl` files of equal row counts. Blocks."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = tuple(directory / f"clicks-{i:04d}.jsonl" for i in range(stream.files))
    per_file = -(-stream.rows // max(stream.files, 1))
    written = malformed = size = 0
    handles = [path.open("w", encoding="utf-8") for path in paths]
    try:
        for block in stream.lines():
            malformed += sum(line in _MALFORMED for line in block)
            while block:
                room = per_file - written % per_file
                piece, block = block[:room], block[room:]
                size += handles[written // per_file].write("\n".join(piece) + "\n")
                written += len(piece)
    finally:
        for handle in handles:
            handle.close()
    return Written(paths, written, malformed, size)


def main() -> None:
    """Write a clickstream as the command line says."""
    parser = argparse.ArgumentParser(description="Write a clickstream as JSON lines.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=int, default=Clickstream.rows)
    parser.add_argument("--files", type=int, default=Clickstream.files)
    parser.add_argument("--hours", type=float, default=Clickstream.hours)
    parser.add_argument("--seed", type=int, default=Clickstream.seed)
    args = parser.parse_args()
    stream = Clickstream(args.rows, args.files, args.hours, args.seed)
    done = write(args.directory, stream)
    sys.stdout.write(
        f"{done.rows:,} clicks ({done.malformed:,} of them malformed), {done.bytes / 1e6:.0f} MB, "
        f"in {len(done.files)} files below {args.directory}\n"
    )


if __name__ == "__main__":
    main()
