"""Who sends rows: writers of rotating files, files dropped in whole, HTTP clients. A thread each.

A feed sends at its rate until `stop`; `hurry` lets it send as fast as it can.
"""

from __future__ import annotations

import http.client
import random
import threading
from pathlib import Path

from chaos.rows import KEYED, SINGLE, SPOOL, TAIL, Kind, Ledger
from rayflume.clock import SystemClock

ROTATE_BYTES = 2 * 2**20
SEND_AGAIN = 0.05
HANG_UP = 0.03
RETRY_S = 0.3


class Feed(threading.Thread):
    """Sends chunks of rows until it is stopped. `error`: what it died of, or was wrongly told."""

    def __init__(self, ledger: Ledger, seed: int, rate: float, chunk: int) -> None:
        super().__init__(name=f"feed {ledger.kind.name}", daemon=True)
        self.ledger = ledger
        self.chance = random.Random(f"{ledger.kind.name} {seed}")
        self.chunk = chunk
        self.error = ""
        self.stopping = threading.Event()
        self.hurry = threading.Event()
        self._rate = rate

    def run(self) -> None:
        clock = SystemClock()
        due_ms = float(clock.monotonic_ms())
        try:
            while not self.stopping.is_set():
                count = self.chance.randint(1, 2 * self.chunk)
                self.send(count)
                due_ms = max(due_ms + count / self._rate * 1000, clock.monotonic_ms() - 1000.0)
                wait_s = (due_ms - clock.monotonic_ms()) / 1000
                if wait_s > 0 and not self.hurry.is_set():
                    self.hurry.wait(min(wait_s, 5.0))
            self.finish()
        except Exception as error:
            self.error = self.error or f"{type(error).__name__}: {error}"

    def send(self, count: int) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Bring what was begun to its end."""

    def stop(self) -> None:
        """Ask it to end; `join` waits for it."""
        self.stopping.set()
        self.hurry.set()


class TailFeed(Feed):
    """Appends to a few files, lines in pieces; a large file is rotated by renaming, all older ones
    with it (`.1` to `.2`, the file to `.1`), as logrotate does.
    """

    def __init__(self, ledger: Ledger, seed: int, rate: float, folder: Path) -> None:
        super().__init__(ledger, seed, rate, chunk=300)
        assert ledger.kind is TAIL
        folder.mkdir(parents=True)
        self._paths = [folder / f"app-{n}.jsonl" for n in range(3)]
        self.rotations = 0

    def send(self, count: int) -> None:
        path = self.chance.choice(self._paths)
        _, text = self.ledger.issue(count)
        cut = self.chance.randrange(len(text))
        with path.open("a") as file:
            file.write(text[:cut])
            file.flush()
            file.write(text[cut:])
        if path.stat().st_size > ROTATE_BYTES:
            self._rotate(path)

    def _rotate(self, path: Path) -> None:
        older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda p: int(p.suffix[1:]))
        for earlier in reversed(older):
            earlier.rename(path.with_name(f"{path.name}.{int(earlier.suffix[1:]) + 1}"))
        path.rename(path.with_name(f"{path.name}.1"))
        self.rotations += 1


class SpoolFeed(Feed):
    """Moves finished files in."""

    def __init__(self, ledger: Ledger, seed: int, rate: float, folder: Path) -> None:
        super().__init__(ledger, seed, rate, chunk=1_000)
        assert ledger.kind is SPOOL
        self._folder, self._made = folder, folder.with_name(f"{folder.name}-made")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._made.mkdir()

    def send(self, count: int) -> None:
        first, text = self.ledger.issue(count)
        made = self._made / f"drop-{first:012}.jsonl"
        made.write_text(text)
        made.rename(self._folder / made.name)


class HttpFeed(Feed):
    """A client. With a key it sends until 200, now and then once more, and hangs up at times before
    the answer; without one it sends again after a failure, or (SINGLE) never.
    """

    def __init__(self, ledger: Ledger, seed: int, rate: float, port: int) -> None:
        super().__init__(ledger, seed, rate, chunk=50)
        self._port = port
        self._life = f"{seed}-{self.chance.getrandbits(32):x}"
        self.answers: dict[int, int] = {}

    def send(self, count: int) -> None:
        first, text = self.ledger.issue(count)
        kind: Kind = self.ledger.kind
        key = f"{self._life}-{first}" if kind is KEYED else ""
        while not self._post(text.encode(), key):
            if kind is SINGLE:
                return
            threading.Event().wait(RETRY_S)  # also when stopping: what was begun is owed
        self.ledger.ack(first, count)
        if key and self.chance.random() < SEND_AGAIN:
            self._post(text.encode(), key)

    def _post(self, data: bytes, key: str) -> bool:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        headers = {"Idempotency-Key": key} if key else {}
        try:
            link.request("POST", "/ndjson", data, headers)
            if self.ledger.kind is not SINGLE and self.chance.random() < HANG_UP:
                return False
            answer = link.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            link.close()
        self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
        if answer.status not in (200, 503):
            self.error = f"{self.ledger.kind.name}: the answer was {answer.status}"
        return answer.status == 200
