"""Deliveries that a sink gives up or brings to an end before their time: flow.py's other exits.

Before the Prepared record a delivery may be given up; its rows return to the channel, first and in
order. Behind it it is the sink's until it has landed.
"""

from __future__ import annotations

from rayflume.delivery import Delivery, State
from rayflume.errors import Retry
from rayflume.lane import Lane


def release(lane: Lane) -> None:
    """Give up what was not prepared: rows return, staged bytes go. Never raises Retry.

    Not to be called while another thread finishes a delivery of this lane.
    """
    release_open(lane)
    unprepared = [d for d in lane.closing if d.state in (State.FILLING, State.STAGED)]
    lane.closing = [d for d in lane.closing if d not in unprepared]
    for delivery in unprepared:
        drop(lane, delivery)
    tell(lane)


def release_open(lane: Lane) -> None:
    """Give up the delivery being filled. Those behind it belong to whoever finishes them, and he
    learns from `prepare` that a lease is gone.
    """
    opened, lane.open = lane.open, None
    if opened is not None:
        drop(lane, opened)
        lane.turn += 1
    tell(lane)


def tell(lane: Lane) -> None:
    """Rows that were given up return now, or with the next `drain`. Never raises Retry."""
    try:
        tell_dropped(lane)
    except Retry:
        # Asked again by the next `drain`: while this holder lives, only it can end the lease.
        lane.metrics.add("DeliveryRetryCount")


def drop(lane: Lane, delivery: Delivery) -> None:
    """Give up a delivery; the channel is told by the thread that drains."""
    delivery.to(State.RELEASED)
    lane.dropped.append(delivery)


def tell_dropped(lane: Lane) -> None:
    """Give leases back. Raises Retry."""
    while lane.dropped:
        delivery = lane.dropped[0]
        lane.channel.release(delivery.id)
        gone = lane.channel.garbage([delivery.id])
        lane.dropped.pop(0)
        # A prepare whose answer was lost may have been heard: then the bytes are still needed.
        if gone and delivery.writer is not None:
            delivery.writer.abandon()


def close_open(lane: Lane) -> None:
    """What is open is finished like what was due, and nothing more comes into it. Rows that were
    given up return now. Never raises Retry.
    """
    if lane.open is not None:
        lane.closing.append(lane.open)
        lane.open = None
    tell(lane)


def give_up(lane: Lane, finishing: Delivery) -> None:
    """Give up all closed deliveries that are not staged yet, so that others can take their rows:
    the store fails, and they would wait behind `finishing`. One that may be prepared already is
    left as it is. To be called by the thread that finishes; `finishing` stays in the lane's list.
    """
    for delivery in [d for d in lane.closing if d.state is State.FILLING]:
        drop(lane, delivery)
        if delivery is not finishing:
            lane.closing.remove(delivery)


def idle(lane: Lane) -> bool:
    """Nothing is open, nothing is on its way, and the channel knows what was given up."""
    return lane.open is None and not lane.closing and not lane.dropped
