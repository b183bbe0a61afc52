"""Sink groups, their processors and selectors. Flume user guide, section Flume Sink Processors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import flag, millis, whole, words

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


def _pause(value: str) -> Json:
    """A time in milliseconds; below 0 there is no pause, as in Flume. Raises ValueError."""
    return millis(str(max(0, whole(value))))


_PAUSE = Prop("maxTimeOut", "30000", "max_time_out", millis)


def _priorities(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """Flume keeps sinks by priority, so of two with the same it drops one."""
    first: dict[str, str] = {}
    for name, value in given.items():
        if not name.startswith("priority."):
            continue
        sink = name.removeprefix("priority.")
        if value.strip() in first:
            yield Remark(
                f"{first[value.strip()]} and {sink} have the same priority: Flume leaves the "
                "second out; here it stands by behind the first",
                Severity.NOTE,
                name,
            )
        first.setdefault(value.strip(), sink)


PARTS = (
    FlumePart(
        kind="sink_group",
        types=(),
        java_class="",
        props=(
            Prop("sinks", option="sinks", read=words, required=True),
            Prop(
                "processor.type", "default", "processor", nested="sink_processor",
                prefix="processor.",
            ),
        ),
    ),
    FlumePart(
        kind="sink_processor",
        types=("default",),
        java_class="org.apache.flume.sink.DefaultSinkProcessor",
        type="default",
    ),
    FlumePart(
        kind="sink_processor",
        types=("failover",),
        java_class="org.apache.flume.sink.FailoverSinkProcessor",
        type="failover",
        props=(
            Prop("priority.<sink>", option="priority.<sink>", read=whole, lenient=True),
            Prop("maxpenalty", "30000", "max_penalty", _pause, lenient=True),
        ),
        finish=_priorities,
    ),
    FlumePart(
        kind="sink_processor",
        types=("load_balance",),
        java_class="org.apache.flume.sink.LoadBalancingSinkProcessor",
        type="load_balance",
        props=(
            Prop("backoff", "false", "backoff", flag),
            Prop("selector", "round_robin", "selector", nested="sink_selector"),
        ),
    ),
    FlumePart(
        kind="sink_selector",
        types=("round_robin",),
        java_class="org.apache.flume.sink.LoadBalancingSinkProcessor$RoundRobinSinkSelector",
        type="round_robin",
        props=(_PAUSE,),
    ),
    FlumePart(
        kind="sink_selector",
        types=("random",),
        java_class="org.apache.flume.sink.LoadBalancingSinkProcessor$RandomOrderSinkSelector",
        type="random",
        props=(_PAUSE,),
    ),
)  # fmt: skip
