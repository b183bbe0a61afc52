"""Ray shells round plain classes: a part, a channel's far end, the supervisor. A few lines a
method.

Errors of rayflume travel as values, not as exceptions of a task, so that they arrive as what they
are.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from rayflume.agent.lean import spare_pandas
from rayflume.agent.parts import ChannelPart, Part, Place, Status, build_part
from rayflume.clock import SystemClock
from rayflume.errors import ChannelClosed, RayflumeError
from rayflume.interfaces import (
    ChannelInfo,
    ChannelState,
    Manifest,
    PutReply,
    PutRequest,
    RowRange,
    RowRef,
    StreamPosition,
    Taken,
)

log = logging.getLogger(__name__)

NAMESPACE = "rayflume"
CALL_TIMEOUT_S = 120.0


def actor_name(agent: str, part: str, replica: int) -> str:
    """`<agent>/<part>/<replica>`: the name a part is found by."""
    return f"{agent}/{part}/{replica}"


@dataclass(frozen=True)
class Assignment:
    """What a part actor is started with. `channels`: channel -> name of its actor."""

    place: Place
    channels: dict[str, str] = field(default_factory=dict)
    orphan_after_ms: int = 60_000


class PartActor:
    """One part in one process. Stops itself when no supervisor asked for `orphan_after`."""

    def __init__(self, assignment: Assignment) -> None:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        spare_pandas()
        self._assignment = assignment
        self._clock = SystemClock()
        self._heard_ms = self._clock.monotonic_ms()
        self._node = ray.get_runtime_context().get_node_id()
        channels = {n: ChannelProxy(n, actor) for n, actor in assignment.channels.items()}
        self._failed: str | None = None
        self._part: Part | None = None
        try:
            self._part = build_part(assignment.place, channels, self._clock)
            self._part.start()
        except RayflumeError as error:
            self._failed = error.message
        threading.Thread(target=self._watch, name="rayflume-orphan", daemon=True).start()

    def _watch(self) -> None:
        limit = self._assignment.orphan_after_ms
        pause = threading.Event()
        while self._clock.monotonic_ms() - self._heard_ms < limit:
            pause.wait(min(5.0, limit / 4000))
        log.warning("no supervisor asked for %d s: stopping", limit // 1000)
        self.stop()
        os._exit(0)

    def status(self) -> Status:
        """What the supervisor asks for, a few times a second."""
        self._heard_ms = self._clock.monotonic_ms()
        if self._part is None:
            status: Status = {"state": "failed", "last_error": self._failed, "metrics": {}}
        else:
            status = self._part.status()
        return status | {"pid": os.getpid(), "node": self._node}

    def drain(self, unterminated: bool) -> None:
        """See parts.Part."""
        if self._part is not None:
            self._part.drain(unterminated)

    def stop(self) -> None:
        """See parts.Part."""
        if self._part is not None:
            self._part.stop()

    def call(self, method: str, *args: Any) -> tuple[bool, object]:  # noqa: ANN401
        """A channel's method for its proxies: (True, result), or (False, the error)."""
        part = self._part
        if not isinstance(part, ChannelPart):
            return False, ChannelClosed(self._failed or "this part is no channel")
        try:
            part.wait_open(5.0)
            return True, getattr(part.channel, method)(*args)
        except RayflumeError as error:
            return False, error


class ChannelProxy:
    """A channel that lives in another actor. See interfaces.Channel; each method is one call.

    An actor that is gone, hangs or is being replaced shows as ChannelClosed; the next call looks
    for it by name again.
    """

    def __init__(self, channel: str, actor: str) -> None:
        self._channel = channel
        self._actor = actor
        self._handle: Any = None

    def _call(self, method: str, *args: Any, wait_ms: int = 0) -> Any:  # noqa: ANN401
        try:
            if self._handle is None:
                self._handle = ray.get_actor(self._actor, NAMESPACE)
            reply = self._handle.call.remote(method, *args)
            good, value = ray.get(reply, timeout=CALL_TIMEOUT_S + wait_ms / 1000)
        except ValueError as error:
            raise ChannelClosed(f"channel {self._channel} has no actor yet") from error
        except (RayActorError, GetTimeoutError) as error:
            self._handle = None
            raise ChannelClosed(
                f"channel {self._channel} does not answer: {type(error).__name__}"
            ) from error
        except RayError as error:
            raise ChannelClosed(
                f"channel {self._channel}: {str(error).splitlines()[-1]}"
            ) from error
        if not good:
            raise value
        return value

    def info(self) -> ChannelInfo:
        info: ChannelInfo = self._call("info")
        return info

    def put(self, request: PutRequest) -> PutReply:
        reply: PutReply = self._call("put", request)
        return reply

    def credit(self) -> int:
        return int(self._call("credit"))

    def positions(self, prefix: str) -> dict[str, StreamPosition]:
        return dict(self._call("positions", prefix))

    def retire(self, streams: Sequence[str]) -> None:
        self._call("retire", list(streams))

    def take(self, holder: str, delivery: str, bytes_max: int, wait_ms: int) -> Taken:
        taken: Taken = self._call("take", holder, delivery, bytes_max, wait_ms, wait_ms=wait_ms)
        return taken

    def fetch(self, refs: Sequence[RowRef]) -> list[pa.Buffer]:
        return list(self._call("fetch", list(refs)))

    def refs(self, ranges: Sequence[RowRange]) -> tuple[RowRef, ...]:
        return tuple(self._call("refs", list(ranges)))

    def damaged(self, ref: RowRef, reason: str) -> None:
        self._call("damaged", ref, reason)

    def heartbeat(self, holder: str) -> None:
        self._call("heartbeat", holder)

    def holder_gone(self, holder: str) -> None:
        self._call("holder_gone", holder)

    def prepare(self, manifest: Manifest, holder: str) -> None:
        self._call("prepare", manifest, holder)

    def commit(self, delivery: str) -> None:
        self._call("commit", delivery)

    def release(self, delivery: str) -> None:
        self._call("release", delivery)

    def adopt(self, sink: str, holder: str) -> tuple[Manifest, ...]:
        return tuple(self._call("adopt", sink, holder))

    def garbage(self, deliveries: Sequence[str]) -> list[str]:
        return list(self._call("garbage", list(deliveries)))

    def drain(self, on: bool) -> None:
        self._call("drain", on)

    def tap(self, rows_max: int) -> list[pa.Buffer]:
        return list(self._call("tap", rows_max))

    def state(self) -> ChannelState:
        state: ChannelState = self._call("state")
        return state

    def close(self) -> None:
        """The supervisor closes channels; a proxy has nothing to close."""
