"""The http sink as the runner sees it, and what of its rows is out already.

A delivery that is given up comes again, and other rows of it may have been taken before the one
that was not. The sink remembers them by their place in the journal and does not send them twice,
as long as it lives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from rayflume.batch import EventBatch
from rayflume.errors import StorageUnavailable
from rayflume.interfaces import DeliveryLimits, DeliveryWriter, Manifest, StagedFile
from rayflume.metrics import Metrics
from rayflume.sinks._http_post import Answer, Poster
from rayflume.sinks._unstaged import UnstagedSink

_ROUND = 4096
"""Requests that are prepared at a time."""
_LIMITS = DeliveryLimits(bytes=64 << 20, rows=10_000, age_ms=1_000)
"""Rows of open deliveries are remembered one by one."""


@dataclass
class _Memory:
    """Places of rows that are out and not committed. `counted`: those that count as delivered."""

    out: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)


class HttpSink(UnstagedSink):
    """A Sink of one journal. `batch_size`: rows of one request."""

    staged: ClassVar[bool] = False

    def __init__(self, name: str, poster: Poster, batch_size: int, metrics: Metrics) -> None:
        super().__init__(name, self._nothing)
        self._poster = poster
        self._batch_size = batch_size
        self._metrics = metrics
        self._memory = _Memory()
        self._staged: dict[str, list[tuple[int, int]]] = {}

    @staticmethod
    def _nothing(batch: EventBatch) -> None:
        """Rows go out through the deliveries of this sink."""

    def open(self) -> None:
        self._poster.open()

    def close(self) -> None:
        self._poster.close()

    def begin(self, delivery: str) -> DeliveryWriter:
        return _HttpDelivery(self, Manifest(delivery, self._name))

    def limits(self) -> DeliveryLimits:
        return _LIMITS

    def publish(self, manifest: Manifest) -> list[StagedFile]:
        """Forget the rows: they are prepared, and will not come again."""
        for start, stop in self._staged.pop(manifest.delivery, []):
            places = range(start, stop)
            self._memory.out.difference_update(places)
            self._memory.counted.difference_update(places)
        return []

    def staged_rows(self, delivery: str, ranges: list[tuple[int, int]]) -> int:
        """Note the rows of a delivery that is complete; how many of them count as delivered."""
        self._staged[delivery] = ranges
        counted = self._memory.counted
        return sum(place in counted for start, stop in ranges for place in range(start, stop))

    def send(self, batch: EventBatch, position: int) -> None:
        """Send the rows that are not out yet. Blocks. Raises StorageUnavailable: send them again
        later, those that are out by then are passed over.
        """
        waiting = _requests(batch, position, self._memory.out, self._batch_size)
        while group := list(islice(waiting, _ROUND)):
            answers = self._poster.post_all([body for _, body in group])
            halt: Answer | None = None
            for (places, _), answer in zip(group, answers, strict=True):
                if answer is not None:
                    self._note(places, answer)
                    if halt is None and (answer.verdict.rollback or answer.verdict.backoff):
                        halt = answer
            if halt is not None:
                raise StorageUnavailable(f"the HTTP server {halt.reason}")

    def _note(self, places: Sequence[int], answer: Answer) -> None:
        if answer.verdict.rollback:
            self._metrics.add("EventWriteFail", len(places))
            return
        self._memory.out.update(places)
        if answer.verdict.counts:
            self._memory.counted.update(places)


def _requests(
    batch: EventBatch, position: int, out: set[int], size: int
) -> Iterator[tuple[list[int], bytes]]:
    """Places and body of each request. A body is one event, so rows are looked at one by one."""
    places: list[int] = []
    bodies: list[bytes] = []
    for place, value in enumerate(batch.body, position):
        body = value.as_buffer()
        if body is None or not len(body) or place in out:
            continue
        places.append(place)
        bodies.append(body.to_pybytes())
        if len(places) == size:
            yield places, b"\n".join(bodies)
            places, bodies = [], []
    if places:
        yield places, b"\n".join(bodies)


class _HttpDelivery:
    """A DeliveryWriter; `stage` may be called in another thread, after the last `write`."""

    def __init__(self, sink: HttpSink, empty: Manifest) -> None:
        self._sink = sink
        self._empty = empty
        self._ranges: list[tuple[int, int]] = []
        self._poisonous = 0

    def write(self, batch: EventBatch, position: int, poison: str = "") -> None:
        """Poisonous rows are done unsent: a sink without files has no dead letters."""
        if poison:
            self._poisonous += batch.num_rows
        else:
            self._sink.send(batch, position)
        self._ranges.append((position, position + batch.num_rows))

    def stage(self) -> Manifest:
        rows = sum(stop - start for start, stop in self._ranges)
        counted = self._sink.staged_rows(self._empty.delivery, self._ranges) + self._poisonous
        return Manifest(
            self._empty.delivery, self._empty.sink, rows=rows, written=counted,
            filtered=rows - counted,
        )  # fmt: skip

    def abandon(self) -> None:
        """What is out cannot be taken back, and is remembered."""
