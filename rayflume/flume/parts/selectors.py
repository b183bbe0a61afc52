"""The channel selectors. Flume user guide, section Flume Channel Selectors."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop
from rayflume.flume.readers import one_of, single_blanks, words

_PACKAGE = "org.apache.flume.channel."

PARTS = (
    FlumePart(
        kind="channel_selector",
        types=("replicating",),
        java_class=f"{_PACKAGE}ReplicatingChannelSelector",
        type="replicating",
        props=(Prop("optional", option="optional", read=words),),
    ),
    FlumePart(
        kind="channel_selector",
        types=("multiplexing",),
        java_class=f"{_PACKAGE}MultiplexingChannelSelector",
        type="multiplexing",
        props=(
            Prop("header", "flume.selector.header", "header"),
            Prop("mapping.<value>", option="mapping.<value>", read=single_blanks),
            Prop("default", option="default", read=single_blanks),
            Prop(
                "optional.<value>",
                option="optional.<value>",
                read=single_blanks,
                why="a channel that another value requires does not miss rows of this one either",
            ),
        ),
    ),
    FlumePart(
        kind="channel_selector",
        types=("load_balancing",),
        java_class=f"{_PACKAGE}LoadBalancingChannelSelector",
        type="load_balancing",
        props=(
            Prop(
                "policy",
                "round_robin",
                "policy",
                one_of({"round_robin": "round_robin", "random": "random"}),
                why="events that may be read again are dealt out by a checksum of their body, so "
                "that each goes the same way again",
            ),
        ),
    ),
)
