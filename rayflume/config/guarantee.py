"""What a plan promises, path by path, from what its parts declare of themselves.

Class variables that a part declares; one that declares nothing is taken for the weakest:

    source   replay: "replayable"  it can read again what no channel has yet
                     "keyed"       its callers repeat a request under the same key until answered
                     "lossy"       what no channel has yet is gone with the source
    channel  durable: bool         what it acknowledged survives any crash
    sink     staged: bool          it stages, and publishes exactly what was prepared
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from rayflume.component import lookup
from rayflume.config.division import undecided
from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan, PartPlan

_UNDECIDED = (
    "the selector divides rows by the header {!r}, which may be another when rows are read again"
)


class Level(StrEnum):
    """How often a row of the source is in the sink's target, whatever dies."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"
    LOSSY = "lossy"

    @property
    def rank(self) -> int:
        return list(Level)[::-1].index(self)


@dataclass(frozen=True, slots=True)
class PathGuarantee:
    """The promise of one path and the reason, a clause that follows "because"."""

    source: str
    channel: str
    sink: str
    level: Level
    reason: str


def guarantees(plan: AgentPlan, environ: Mapping[str, str] | None = None) -> list[PathGuarantee]:
    """One per source -> channel -> sink, in the order of the file. Imports the parts' modules."""
    found = []
    for source in plan.sources.values():
        required, header = required_channels(source, environ), undecided(source, environ)
        for name in source.channels:
            for sink in plan.sinks.values():
                if sink.channel != name:
                    continue
                level, reason = _judge(source, plan.channels[name], sink)
                if header:
                    level, reason = Level.LOSSY, _UNDECIDED.format(header)
                if name not in required:
                    level, reason = Level.LOSSY, "the channel is optional: it skips rows when full"
                found.append(PathGuarantee(source.name, name, sink.name, level, reason))
    return found


def required_channels(source: PartPlan, environ: Mapping[str, str] | None = None) -> Sequence[str]:
    """The channels without which the source's batches are not accepted."""
    if source.selector is None:
        return source.channels
    options = component_of(source.selector, environ)
    return options.required(source.channels) if isinstance(options, Requires) else source.channels


@runtime_checkable
class Requires(Protocol):
    """The options of a selector that can tell without being built."""

    def required(self, channels: Sequence[str]) -> list[str]: ...


def replay_of(source: PartPlan) -> str:
    """`replayable`, `keyed` or `lossy`."""
    return str(getattr(lookup("source", source.type), "replay", "lossy"))


def is_durable(channel: PartPlan) -> bool:
    """Whether what the channel acknowledged survives any crash."""
    return bool(getattr(lookup("channel", channel.type), "durable", False))


def _judge(source: PartPlan, channel: PartPlan, sink: PartPlan) -> tuple[Level, str]:
    replay, durable = replay_of(source), is_durable(channel)
    staged = bool(getattr(lookup("sink", sink.type), "staged", False))
    if replay == "lossy":
        return Level.LOSSY, f"a {source.type} source cannot repeat what no channel has yet"
    if not durable and replay == "keyed":
        return Level.LOSSY, f"a {channel.type} channel forgets rows whose sender has its answer"
    if not durable:
        return Level.AT_LEAST_ONCE, f"a {channel.type} channel forgets rows, which are read again"
    if not staged:
        return Level.AT_LEAST_ONCE, f"a {sink.type} sink cannot stage, so a retry repeats rows"
    if replay == "keyed":
        reason = "requests with an Idempotency-Key count once; others may repeat"
        return Level.EXACTLY_ONCE, reason
    return Level.EXACTLY_ONCE, "positions and rows are in one journal and files are staged"
