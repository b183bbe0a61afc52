"""A channel that lives in another process: each method is one call. Knows no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rayflume.completeness import Counted, Sealed, Watermark, WatermarkQuery
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


class RemoteChannel:
    """See interfaces.Channel. A subclass makes the call: `_call` returns what the method returns in
    the other process, raises what it raises there, and ChannelClosed when no answer comes.
    """

    near: bool = False
    """See gate.Gated."""

    def _call(self, method: str, *args: Any, wait_ms: int = 0) -> Any:  # noqa: ANN401
        raise NotImplementedError

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

    def take(
        self, holder: str, delivery: str, bytes_max: int, wait_ms: int, turn: int = 0
    ) -> Taken:
        arguments = holder, delivery, bytes_max, wait_ms, turn
        taken: Taken = self._call("take", *arguments, wait_ms=wait_ms)
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

    def idle(self, source: str) -> None:
        self._call("idle", source)

    def watermark(self, query: WatermarkQuery) -> Watermark:
        reached: Watermark = self._call("watermark", query)
        return reached

    def seal(self, sink: str, until_ms: int | None) -> Sealed:
        sealed: Sealed = self._call("seal", sink, until_ms)
        return sealed

    def marked(self, sink: str, done: Sequence[Counted]) -> None:
        self._call("marked", sink, list(done))

    def sink_failed(self, sink: str) -> bool:
        """See gate.Gated."""
        return bool(self._call("sink_failed", sink))

    def wake(self, holder: str) -> None:
        """See gate.Gated."""
        self._call("wake", holder)

    def close(self) -> None:
        """The supervisor closes channels; a proxy has nothing to close."""
