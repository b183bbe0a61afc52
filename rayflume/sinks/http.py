"""Sink `http`: each event as the body of one POST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from rayflume.component import Component, Context, component, option
from rayflume.sinks._http_post import Poster, Target
from rayflume.sinks._http_rules import Rules
from rayflume.sinks._http_sink import HttpSink
from rayflume.units import Millis


def _checked_endpoint(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("is no URL; write one such as http://host:8080/events")
    if parts.username or parts.password:
        raise ValueError("a user and a password in the URL are not sent; remove them")
    return url


def _texts(value: object) -> object:
    """Codes are numbers in YAML."""
    if isinstance(value, Mapping):
        return {str(code).upper(): rule for code, rule in value.items()}
    return value


Code = Annotated[str, StringConstraints(pattern=r"^[1-9]([0-9]{2}|XX)$")]
ByCode = Annotated[dict[Code, bool], BeforeValidator(_texts)]


@component
class Http(Component):
    """Send each event as the body of one HTTP POST, and let the status of the answer decide.

    For a status the rule for its code wins over the one for its group (`4XX`), and that over the
    default. `rollback`: the event was not taken; it is sent again, and what follows it waits.
    Otherwise the event is done. `backoff`: wait before anything else is sent. No answer, or none
    in time: as with both. Redirects are not followed. An event without a body is done unsent.

    Order: events are sent in the order of the channel. With `connections: 1` each is answered
    before the next is sent, as in Flume; with more, as many are under way at once, and the server
    may see them in another order. After a rollback nothing new is sent; those that were under way
    with it may have been taken, and are not sent again as long as this sink lives.

    The sink cannot stage, so a crash between answer and commit repeats events: at least once.
    """

    staged: ClassVar[bool] = False

    endpoint: Annotated[str, AfterValidator(_checked_endpoint)] = option(
        "URL that receives the requests, http or https.", example="http://localhost:8080/events"
    )
    connect_timeout: Millis = option("Time to connect.", default=5_000, gt=0, example="5s")
    request_timeout: Millis = option(
        "Time without a byte of the answer.", default=5_000, gt=0, example="5s"
    )
    content_type_header: str = option(
        "Content-Type of the requests.", default="text/plain", example="application/json"
    )
    accept_header: str = option(
        "Accept of the requests.", default="text/plain", example="application/json"
    )
    connections: int = option(
        "Requests that may be under way at once, each on a connection that is kept open.",
        default=8,
        ge=1,
        le=256,
    )
    batch_size: int = option(
        "Events of one request. Above 1 their bodies are joined with a line feed (NDJSON, if each "
        "is a JSON value without one), and the answer is for all of them.",
        default=1,
        ge=1,
        le=100_000,
    )
    default_backoff: bool = option("Wait after a status without a rule of its own.", default=True)
    default_rollback: bool = option(
        "Send the event again after a status without a rule of its own.", default=True
    )
    default_increment_metrics: bool = option(
        "Count the event as delivered after a status without a rule of its own.", default=False
    )
    backoff: ByCode = option(
        "Code (200) or group (2XX) -> whether to wait.",
        factory=lambda: {"2XX": False},
        example={"2XX": False, "4XX": False},
    )
    rollback: ByCode = option(
        "Code or group -> whether to send the event again. `4XX: false` gives up events that the "
        "server will never take.",
        factory=lambda: {"2XX": False},
        example={"2XX": False, "400": False},
    )
    increment_metrics: ByCode = option(
        "Code or group -> whether the event counts as delivered (`EventDrainSuccessCount`), which "
        "changes nothing else.",
        factory=lambda: {"2XX": True},
        example={"2XX": True},
    )

    def build(self, context: Context) -> HttpSink:
        rules = Rules(
            (self.default_rollback, self.rollback),
            (self.default_backoff, self.backoff),
            (self.default_increment_metrics, self.increment_metrics),
        )
        target = Target(
            self.endpoint,
            {"Content-Type": self.content_type_header, "Accept": self.accept_header},
            self.connect_timeout,
            self.request_timeout,
            self.connections,
        )
        return HttpSink(context.part, Poster(target, rules), self.batch_size, context.metrics)
