"""An agent's metrics as others read them: Flume's JSON, and the text format of Prometheus.

Pure: a status goes in (`rayflume status --json`), text comes out. Names are Flume's (its user
guide, sections "JSON Reporting" and "Available Component Metrics"); what Flume shows of a component
is shown whole, also what stays 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from rayflume.interfaces import Json
from rayflume.metrics import FLUME, METRICS, Name

PREFIX = "rayflume_"
"""Of every name in the text of Prometheus: `rayflume_EventReceivedCount_total`."""
LABELS = ("agent", "kind", "component", "type", "replica")
_TIMES: tuple[Name, ...] = ("StartTime", "StopTime")
_FLAGS = {"Open"}
"""Flume writes these as true and false; its other flags are numbers."""
_MEAN = {"ChannelFillPercentage", "FileFillPercentage"}
_LOWEST = {"StartTime", "WatermarkMs"}
_LARGEST = {"StopTime", "OldestEventAgeMs", "EventTimeLagMs"}


def flume_document(status: Mapping[str, Json]) -> dict[str, dict[str, str]]:
    """`{"SOURCE.web": {"Type": "SOURCE", "EventReceivedCount": "5", ...}, ...}`.

    One entry per component: of several replicas the sum, of fill percentages the mean, of times the
    first start and the last stop. All values are text.
    """
    lives: dict[str, list[dict[str, Json]]] = {}
    for part in _components(status):
        lives.setdefault(f"{str(part['kind']).upper()}.{part['name']}", []).append(part)
    return {name: _entry(parts) for name, parts in lives.items()}


def _entry(parts: list[dict[str, Json]]) -> dict[str, str]:
    kind = str(parts[0]["kind"])
    values: dict[str, list[int]] = {name: [] for name in (*_TIMES, *_whole_set(parts[0]))}
    for part in parts:
        for name, value in _metrics(part).items():
            values.setdefault(name, []).append(value)
    shown = {name: _text(name, found) for name, found in values.items()}
    return {"Type": kind.upper(), **shown}


def _whole_set(part: Mapping[str, Json]) -> tuple[Name, ...]:
    kind, named = str(part["kind"]), f"{part['type']} {part['kind']}"
    return FLUME[kind] + (FLUME.get(named, ()) if named != kind else ())


def _text(name: str, found: list[int]) -> str:
    if name in _FLAGS:
        return str(bool(found) and all(found)).lower()
    if not found:
        return "0"
    if name in _MEAN:
        return str(sum(found) / len(found))
    if name in _LOWEST or name in _LARGEST:
        return str(min(found) if name in _LOWEST else max(found))
    return str(sum(found))


def prometheus_text(status: Mapping[str, Json]) -> bytes:
    """The text exposition format, version 0.0.4: a sample per component and replica.

    Beside the metrics: `rayflume_up`, 1 for a part that runs, and `rayflume_restarts_total`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families(status)))
    return generate_latest(registry)


class _Once(Collector):
    """Gives families that are there already."""

    def __init__(self, found: Iterable[Family]) -> None:
        self._found = list(found)

    def collect(self) -> Iterable[Family]:
        return self._found


def families(status: Mapping[str, Json]) -> Iterator[Family]:
    """One family per metric, with a sample for each part that has it."""
    parts = _components(status)
    for name, metric in METRICS.items():
        having = [part for part in parts if name in _shown_names(part)]
        if having:
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            found = family(PREFIX + name, f"{metric.meaning} ({metric.unit})", labels=LABELS)
            for part in having:
                found.add_metric(_labels(status, part), _metrics(part).get(name, 0))
            yield found
    up = GaugeMetricFamily(f"{PREFIX}up", "1 while the part runs", labels=LABELS)
    restarts = CounterMetricFamily(f"{PREFIX}restarts", "times it was restarted", labels=LABELS)
    for part in parts:
        labels = _labels(status, part)
        up.add_metric(labels, float(part["state"] in ("running", "draining")))
        restarts.add_metric(labels, int(str(part["restarts"])))
    yield from (up, restarts)


def _shown_names(part: Mapping[str, Json]) -> set[str]:
    return {*_whole_set(part), *_metrics(part)}


def _labels(status: Mapping[str, Json], part: Mapping[str, Json]) -> list[str]:
    values = (status["agent"], *(part[name] for name in ("kind", "name", "type", "replica")))
    return [str(value) for value in values]


def _components(status: Mapping[str, Json]) -> list[dict[str, Json]]:
    found = status["components"]
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def _metrics(part: Mapping[str, Json]) -> dict[str, int]:
    found = part["metrics"]
    return {k: int(str(v)) for k, v in found.items()} if isinstance(found, dict) else {}
