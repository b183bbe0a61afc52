"""Ray shells round plain classes: a part, a channel's far end, the supervisor. A few lines a
method.

Errors of rayflume travel as values, not as exceptions of a task, so that they arrive as what they
are.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from rayflume.agent.exposed import LABELS
from rayflume.agent.lean import spare_pandas
from rayflume.agent.parts import ChannelPart, Part, Place, Status, build_part
from rayflume.agent.ray_metrics import RayMetrics
from rayflume.agent.remote import RemoteChannel
from rayflume.clock import SystemClock
from rayflume.errors import ChannelClosed, RayflumeError
from rayflume.interfaces import PutReply, PutRequest

log = logging.getLogger(__name__)

NAMESPACE = "rayflume"
CALL_TIMEOUT_S = 120.0
WATCH_S = 30.0
WATCH_LOOK_S = 1.0
INLINE_BYTES, PIECE_BYTES = 2**20, 96 * 2**10
"""Ray puts an argument of 100 KB into its object store, which costs several processes a call; below
that it travels in the message. In pieces so does a small batch: 360 KB took 2.5 ms of CPU, not 5.3.
"""


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
        part = assignment.place.part
        labels = (assignment.place.plan.agent, part.kind, part.name, part.type)
        self._metrics = RayMetrics(
            dict(zip(LABELS, (*labels, str(assignment.place.replica)), strict=True))
        )
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
        metrics = status["metrics"]
        self._metrics.show(metrics if isinstance(metrics, dict) else {})
        made_of = self._assignment.place.print
        return status | {"pid": os.getpid(), "node": self._node, "plan": made_of}

    def watch(self) -> None:
        """Return when this part runs no more, or after WATCH_S. Blocks.

        Who waits for the answer also learns at once when this process dies.
        """
        pause, end_ms = threading.Event(), self._clock.monotonic_ms() + WATCH_S * 1000
        while self._state() == "running" and self._clock.monotonic_ms() < end_ms:
            pause.wait(WATCH_LOOK_S)

    def _state(self) -> str:
        return "failed" if self._part is None else str(self._part.status()["state"])

    def drain(self, unterminated: bool) -> None:
        """See parts.Part."""
        if self._part is not None:
            self._part.drain(unterminated)

    def hold(self) -> None:
        """See parts.Part."""
        if self._part is not None:
            self._part.hold()

    def resume(self) -> None:
        """See parts.Part."""
        if self._part is not None:
            self._part.resume()

    def adjust(self, place: Place) -> None:
        """See parts.ChannelPart."""
        if isinstance(self._part, ChannelPart):
            self._part.adjust(place)
        self._assignment = replace(self._assignment, place=place)

    def stop(self) -> None:
        """See parts.Part."""
        if self._part is not None:
            self._part.stop()

    def put(self, request: PutRequest, *pieces: bytes) -> tuple[bool, object]:
        """A put whose payload came in pieces."""
        return self.call("put", replace(request, payload=pa.py_buffer(b"".join(pieces))))

    def call(self, method: str, *args: Any) -> tuple[bool, object]:  # noqa: ANN401
        """A channel's method for its proxies: (True, result), or (False, the error)."""
        try:
            if not isinstance(self._part, ChannelPart):
                raise ChannelClosed(self._failed or "this part is no channel")
            return True, self._part.call(method, *args)
        except RayflumeError as error:
            return False, error


class ChannelProxy(RemoteChannel):
    """A channel that lives in another actor.

    An actor that is gone, hangs or is being replaced shows as ChannelClosed; the next call looks
    for it by name again.
    """

    def __init__(self, channel: str, actor: str) -> None:
        self._channel = channel
        self._actor = actor
        self._handle: Any = None

    def put(self, request: PutRequest) -> PutReply:
        payload = request.payload
        if len(payload) > INLINE_BYTES:
            return super().put(request)
        starts = range(0, len(payload), PIECE_BYTES)
        pieces = [payload[start : start + PIECE_BYTES].to_pybytes() for start in starts]
        message = replace(request, payload=pa.py_buffer(b""))
        reply: PutReply = self._answer(lambda actor: actor.put.remote(message, *pieces))
        return reply

    def _call(self, method: str, *args: Any, wait_ms: int = 0) -> Any:  # noqa: ANN401
        return self._answer(lambda actor: actor.call.remote(method, *args), wait_ms)

    def _answer(self, call: Callable[[Any], Any], wait_ms: int = 0) -> Any:  # noqa: ANN401
        handle = self._found()
        try:
            good, value = ray.get(call(handle), timeout=CALL_TIMEOUT_S + wait_ms / 1000)
        except RayTaskError:
            raise  # a bug in there: no reason to ask again
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

    def _found(self) -> Any:  # noqa: ANN401
        if self._handle is None:
            try:
                self._handle = ray.get_actor(self._actor, NAMESPACE)
            except ValueError as error:
                raise ChannelClosed(f"channel {self._channel} has no actor yet") from error
        return self._handle
