"""Sink processors and their selectors. Flume user guide, section Flume Sink Processors."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop
from rayflume.flume.readers import flag, millis, whole

_SELECTOR = (Prop("maxTimeOut", "30000", "max_time_out", millis),)

PARTS = (
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
            Prop("priority.<sink>", option="priority.<sink>", read=whole),
            Prop("maxpenalty", "30000", "max_penalty", millis),
        ),
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
        props=_SELECTOR,
    ),
    FlumePart(
        kind="sink_selector",
        types=("random",),
        java_class="org.apache.flume.sink.LoadBalancingSinkProcessor$RandomOrderSinkSelector",
        type="random",
        props=_SELECTOR,
    ),
)
