"""Drains one channel into one sink, at its own pace: see runner.py."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from functools import partial

from rayflume import flow, releasing
from rayflume.agent.gate import Gated
from rayflume.agent.runner import Runner, describe
from rayflume.batch import EventBatch
from rayflume.component import Context
from rayflume.delivery import Delivery
from rayflume.errors import (
    ChannelClosed,
    ChannelFull,
    Fatal,
    LeaseRevoked,
    RayflumeError,
    Refused,
    Retry,
)
from rayflume.interfaces import Channel, Json, RowRef, Sink
from rayflume.journal.reader import RowsUnreadable, SegmentReader, decode_rows, journal_in
from rayflume.threads import Pool, Work

log = logging.getLogger(__name__)

TAKE_WAIT_MS = 1_000
GATHER_MS, GATHER_BYTES = 100, 2**20
"""After a take of less than that a sink lets so much time pass: a take costs two processes a call,
and each batch its own decoding, however few rows there are.
"""
HEARTBEATS_PER_LEASE = 4
HOLDING_MS = 10
LANDING_S = 0.5


class SinkRunner(Runner):
    """Drains one channel into one sink: one delivery fills while the one before is published."""

    def __init__(self, channel: Channel, sink: Sink, context: Context) -> None:
        super().__init__(f"{context.part}/{context.replica}", context)
        self._sink = sink
        self._channel = channel
        self._reader: SegmentReader | None = None
        holder = f"{self.name}/{secrets.token_hex(4)}"
        self._lane = flow.Lane(
            context.part, holder, channel, sink, self._read, context.clock, context.metrics
        )
        self._lease_ms = 0

    def describe(self) -> dict[str, Json]:
        lane = self._lane
        opened = lane.open
        return {
            "delivery": opened.id if opened else None,
            "delivery_rows": opened.rows if opened else 0,
            "closing": len(lane.closing),
            "deliveries": len(lane.closing) + (opened is not None),
            **getattr(self._sink, "describe", dict)(),
        }

    def drain(self, unterminated: bool = False) -> None:
        """Sinks drain when their channel says so; nothing to do here."""

    def hold(self) -> None:
        """Take no more, deliver what is open or give it back, land what is prepared; then `held`.
        Returns at once, but for a call to the channel, where a take may wait.
        """
        super().hold()
        if isinstance(self._channel, Gated):
            with suppress(Retry):
                self._channel.wake(self._lane.holder)

    def stop(self, wait_s: float = 10.0) -> None:
        """As every part; a take that waits in a channel of this process ends at once. To ask one of
        another process for that could take longer than the take.
        """
        self._stopping.set()
        if isinstance(self._channel, Gated) and self._channel.near:
            with suppress(Retry):
                self._channel.wake(self._lane.holder)
        super().stop(wait_s)

    def _run(self) -> None:
        if not self._up(self._open):
            return
        heart = self._threads.start(f"{self.name}-heart", self._beat)
        closer = self._threads.pool(f"{self.name}-close")
        self._lane.reader = self._threads.pool(f"{self.name}-read")
        try:
            if self._retry(self._recover):
                self._loop(closer)
        except Fatal as error:
            self._tell_failure(error)
            raise
        except Exception:
            self._give_back()
            raise
        finally:
            self._stopping.set()
            closer.shutdown()
            self._lane.reader.shutdown()
            flow.release(self._lane)
            self._sink.close()
            self.metrics.add("ConnectionClosedCount")
            heart.join(5)

    def _open(self) -> None:
        info = self._channel.info()
        self._lease_ms = info.lease_timeout_ms
        try:
            self._sink.open()
        except RayflumeError as error:
            self.metrics.add("ConnectionFailedCount")
            self._tell_failure(error)
            raise
        self.metrics.add("ConnectionCreatedCount")
        if info.directory is not None and journal_in(info.directory) == info.journal:
            # The journal lies on this host: its rows are read where they are.
            self._reader = SegmentReader(info.directory, direct=info.direct)

    def _recover(self) -> None:
        """What earlier lives prepared is finished by the loop like what this one will prepare."""
        self._lane.closing += flow.recover(self._lane)

    def _give_back(self) -> None:
        """After a crash of this lane: its rows count as those of a dead holder."""
        try:
            self._channel.holder_gone(self._lane.holder)
        except Retry:
            log.warning("%s: the channel will notice by itself", self.name)

    def _loop(self, closer: Pool) -> None:
        closing: Work[bool] | None = None
        tries = 0
        while not self._stopping.is_set():
            if closing is not None and len(self._lane.closing) > 1 and not closing.wait(LANDING_S):
                # One fills at most while another lands. Should that not land for long, rows of
                # those behind it may have to go back, for other sinks of the group.
                releasing.tell(self._lane)
                continue
            if closing is not None and closing.done():
                closing.result()
                closing = None
            if closing is None and self._lane.closing:
                closing = closer.submit(partial(self._finish, self._lane.closing[0]))
            if self._holding or self.health.state == "held":
                releasing.close_open(self._lane)
                if not self._held(boundary=closing is None and releasing.idle(self._lane)):
                    self._pause(HOLDING_MS)
                continue
            self._gather()
            try:
                flow.collect(self._lane)
                status = flow.drain(self._lane, TAKE_WAIT_MS)
            except (Retry, Refused) as error:
                self.health.last_error = describe(error)
                self.metrics.add("DeliveryRetryCount")
                self._tell_failure(error)
                self._back_off(tries)
                tries += 1
                continue
            if tries:
                self.health.last_error, tries = None, 0
            if status is flow.Status.DRAINED:
                self._pause(100)
        if closing is not None:
            closing.result()

    def _gather(self) -> None:
        if 0 < self._lane.taken_bytes < GATHER_BYTES:
            self._pause(min(GATHER_MS, flow.time_left(self._lane)))

    def _finish(self, delivery: Delivery) -> bool:
        """Bring one delivery to its end, however often the store fails; False when stopped."""

        def once() -> None:
            try:
                flow.finish(self._lane, delivery)
            except LeaseRevoked as error:
                log.warning("%s: %s", self.name, error.message)
            except Retry as error:
                self.metrics.add("DeliveryRetryCount")
                self.metrics.add("EventWriteFail")
                if self._tell_failure(error) or self._holding:
                    # Others take these rows, here or in the next life; a prepared one stays ours.
                    releasing.give_up(self._lane, delivery)
                raise
            except Fatal as error:
                self._tell_failure(error)
                raise

        done = self._retry(once)
        if done:
            self._lane.closing.remove(delivery)
            self.health.last_error = None
        return done

    def _tell_failure(self, error: RayflumeError) -> bool:
        """The channel learns that this sink's store failed; whether its rows may go to another
        sink of its group. A channel that is away is no failure of the sink.
        """
        ours = not isinstance(error, ChannelClosed | ChannelFull | Refused)
        if not ours or not isinstance(self._channel, Gated):
            return False
        try:
            return self._channel.sink_failed(self._lane.name)
        except Retry:
            return False

    def _read(self, ref: RowRef) -> EventBatch:
        try:
            if self._reader is not None:
                try:
                    return self._reader.read(ref)
                except FileNotFoundError:
                    raise LeaseRevoked(f"segment {ref.segment} is gone") from None
            [record] = self._channel.fetch([ref])
            return decode_rows(record, ref)
        except RowsUnreadable as error:
            self._channel.damaged(ref, str(error))
            return EventBatch.from_events([])

    def _beat(self) -> None:
        """A lease lives as long as this thread does, however long a write or an upload takes."""
        while not self._stopping.is_set():
            try:
                self._channel.heartbeat(self._lane.holder)
            except Exception as error:  # whatever it is, the next one is due
                log.debug("%s: heartbeat: %s", self.name, describe(error))
            self._pause(self._lease_ms / HEARTBEATS_PER_LEASE)
