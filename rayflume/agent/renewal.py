"""From one plan to the next: what brings the parts from the plan before to the one in force.

Pure, as supervisor.py is, which calls it. A part is renewed at a batch boundary, in the order in
which no row is lost: what feeds first, what it feeds later.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflume.agent.changes import adjusted_only
from rayflume.agent.watched import Action, Key, Verb, Watched

_QUIET = ("held", "drained", "stopped", "failed", "dead", "wanted", "starting")
"""States of a sink in which its channel may be opened anew: nothing is open in it."""


def renewals(parts: Mapping[Key, Watched], now_ms: int) -> list[Action]:
    """What brings parts from the plan before to the one in force, as far as it can be done now.

    Sources first: at a batch boundary they end. A channel that is opened anew waits until its sinks
    stand still; one that is dropped, until it is fed no more and empty. A sink lands what it has
    prepared, as it was, and then ends. What stands still for others goes on when they are done.
    """
    actions: list[Action] = []
    for key, part in parts.items():
        if part.unheard:
            continue
        if part.kind == "channel":
            actions += _channel(key, part, parts, now_ms) if part.outdated else []
        elif part.outdated:
            actions += _end_of_flow(key, part, parts, now_ms)
        elif part.kind == "sink" and _waits_for_reopening(part, parts):
            actions += [Action(Verb.HOLD, key)] if part.state == "running" else []
        elif part.state == "held" and all(p.state == "running" for p in _channels(part, parts)):
            actions.append(Action(Verb.RESUME, key))
    return actions


def _reopens(part: Watched) -> bool:
    if part.kind != "channel" or not part.outdated or part.leaving or part.wanted is None:
        return False
    return not adjusted_only(part.runs, part.wanted.print)


def _channels(part: Watched, parts: Mapping[Key, Watched]) -> list[Watched]:
    return [one for (name, _), one in parts.items() if name in part.wires]


def _waits_for_reopening(sink: Watched, parts: Mapping[Key, Watched]) -> bool:
    return any(map(_reopens, _channels(sink, parts)))


def _ended(key: Key, part: Watched) -> Action:
    return Action(Verb.REMOVE if part.leaving else Verb.RENEW, key)


def _as_it_was(key: Key, part: Watched, now_ms: int) -> list[Action]:
    """Start a dead part as it was, for there is something that only it can finish."""
    if part.state not in ("dead", "wanted") or now_ms < part.start_at_ms:
        return []
    part.state, part.started_ms, part.drained = "starting", now_ms, False
    return [Action(Verb.KILL, key), Action(Verb.START, key, former=True)]


def _end_of_flow(
    key: Key, part: Watched, parts: Mapping[Key, Watched], now_ms: int
) -> list[Action]:
    """The next step of a source or sink that is not as it is wanted."""
    if part.kind == "sink":
        channels = _channels(part, parts)
        emptying = any(p.leaving and not (p.drained and p.rows == 0) for p in channels)
        known = all(p.rows >= 0 or p.state == "failed" for p in channels)
        unfinished = emptying or not known or any(key[0] in p.prepared for p in channels)
        if unfinished and part.state in ("dead", "wanted"):
            return _as_it_was(key, part, now_ms)
        if (emptying and part.state != "failed") or (unfinished and part.state == "starting"):
            return []
    if part.state in ("running", "draining"):
        return [Action(Verb.HOLD, key)]
    return [_ended(key, part)]


def _channel(key: Key, part: Watched, parts: Mapping[Key, Watched], now_ms: int) -> list[Action]:
    """The next step of a channel that is not as it is wanted."""
    beside = [p for p in parts.values() if key[0] in p.wires]
    if part.leaving:
        if any(p.kind == "source" for p in beside):
            return []
        if part.state in ("dead", "wanted"):
            return _as_it_was(key, part, now_ms)
        if part.state == "running" and not part.drained:
            part.drained, part.rows = True, -1
            return [Action(Verb.DRAIN, key)]
        gone = part.rows == 0 and not beside
        return [_ended(key, part)] if gone else []
    if not _reopens(part) and part.state in ("running", "starting", "waiting"):
        return [Action(Verb.ADJUST, key)] if part.state == "running" else []
    still = all(p.state in _QUIET for p in beside if p.kind == "sink")
    return [_ended(key, part)] if still or part.state != "running" else []
