"""The Prepared deliveries of a journal: their manifests, rows, and those that nobody has. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rayflume.interfaces import Manifest, RowRange
from rayflume.journal.holders import Holders


@dataclass(frozen=True, slots=True)
class Prepared:
    """One delivery. `ranges`: its rows."""

    manifest: Manifest
    ranges: tuple[RowRange, ...]

    @property
    def rows(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    @property
    def stop(self) -> int:
        """The position behind its last row."""
        return max((stop for _, stop in self.ranges), default=0)


class PreparedDeliveries:
    """All Prepared deliveries by id, oldest first. `holders` knows who publishes each."""

    def __init__(self, holders: Holders) -> None:
        self.rows = 0
        self._holders = holders
        self._by_id: dict[str, Prepared] = {}
        self._orphans: dict[str, dict[str, None]] = {}
        """Sink -> its deliveries without a holder."""

    def __contains__(self, delivery: str) -> bool:
        return delivery in self._by_id

    def __iter__(self) -> Iterator[Prepared]:
        return iter(self._by_id.values())

    def get(self, delivery: str) -> Prepared | None:
        """The delivery of that id, None if it is not Prepared."""
        return self._by_id.get(delivery)

    def set(self, prepared: Prepared) -> None:
        """A delivery is Prepared so from now on, and nobody's."""
        delivery = prepared.manifest.delivery
        self._leave(delivery)
        self._by_id[delivery] = prepared
        self.rows += prepared.rows
        self.set_holder(delivery, "")

    def drop(self, delivery: str) -> Prepared | None:
        """A delivery is done; returns it. One that is not there is ignored."""
        self._leave(delivery)
        return self._by_id.pop(delivery, None)

    def _leave(self, delivery: str) -> None:
        before = self._by_id.get(delivery)
        if before is not None:
            self.rows -= before.rows
            self._holders.end(delivery)
            self._no_orphan(before.manifest.sink, delivery)

    def set_holder(self, delivery: str, holder: str) -> None:
        """Who publishes a delivery; "" for nobody."""
        sink = self._by_id[delivery].manifest.sink
        if holder:
            self._no_orphan(sink, delivery)
            self._holders.give(delivery, holder)
        else:
            self._orphans.setdefault(sink, {})[delivery] = None

    def has_orphans(self, sink: str) -> bool:
        """Whether nobody has one of this sink's deliveries."""
        return sink in self._orphans

    def adopt(self, sink: str, holder: str) -> tuple[Manifest, ...]:
        """What `holder` has of this sink's, and what nobody had: that is its own now."""
        own = [self._by_id[d] for d in self._holders.held(holder) if d in self._by_id]
        found = [prepared.manifest for prepared in own if prepared.manifest.sink == sink]
        for delivery in list(self._orphans.get(sink, ())):
            self.set_holder(delivery, holder)
            found.append(self._by_id[delivery].manifest)
        return tuple(found)

    def _no_orphan(self, sink: str, delivery: str) -> None:
        orphans = self._orphans.get(sink, {})
        orphans.pop(delivery, None)
        if not orphans:
            self._orphans.pop(sink, None)
