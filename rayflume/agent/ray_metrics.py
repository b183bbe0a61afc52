"""A part's metrics as Ray's own: they come out where those of the cluster do, with their labels.

Ray shows them in small letters, as `ray_rayflume_eventreceivedcount_total`, at the metrics port of
the node where the part runs, every 10 s (Ray's documentation, "Application-level metrics").
"""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from rayflume.agent.exposed import LABELS, PREFIX
from rayflume.interfaces import Json
from rayflume.metrics import METRICS


class RayMetrics:
    """Hands what has changed since the last time over to Ray. Does not block."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """`labels`: a value for each of LABELS."""
        self._labels = dict(labels)
        self._shown: dict[str, int] = {}
        self._ours: dict[str, Counter | Gauge] = {}

    def show(self, metrics: Mapping[str, Json]) -> None:
        """Names and values of one life of a part, as in its status."""
        for name, metric in METRICS.items():
            value, before = int(str(metrics.get(name, 0))), self._shown.get(name, 0)
            if value == before:
                continue
            kind = Counter if metric.kind == "counter" else Gauge
            ours = self._ours.get(name)
            if ours is None:
                ours = self._ours[name] = kind(PREFIX + name, metric.meaning, tag_keys=LABELS)
            if isinstance(ours, Gauge):
                ours.set(value, self._labels)
            else:
                ours.inc(value - before, self._labels)
            self._shown[name] = value
