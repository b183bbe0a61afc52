"""Events by HTTP: Flume's JSON, lines, or raw bodies. 200 means durable."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import SecretStr

from rayflume.addresses import is_loopback
from rayflume.component import Context, component, option
from rayflume.errors import OptionError
from rayflume.sources._http_server import HttpSource
from rayflume.sources._http_settings import Settings, hash_token
from rayflume.sources._ip_filter import address_rules
from rayflume.sources._listen_options import IpRules
from rayflume.sources._stream import stream_prefix
from rayflume.sources._tls_options import TlsOptions
from rayflume.units import ByteSize, Millis


@component
class Http(TlsOptions):
    """Receive events by HTTP. The answer 200 comes after the rows are durable in every required
    channel.

    `POST /` takes Flume's JSON list of `{"headers": {...}, "body": "..."}`, `POST /ndjson` one
    event per line (empty lines are no events; the lines are not looked into: what is wrong with
    one is found by the sink's format), `POST /raw` the request body as one event. A body may be
    gzip. `GET /healthz` and `GET /readyz` are for load balancers and need no token.

    A request is taken as a whole or not at all. 400: malformed. 401: wrong token. 413: too large.
    422: another request was taken under the same Idempotency-Key. 503 with Retry-After: the
    channel has no room, or the source is draining; send it again. A request with an
    `Idempotency-Key` counts once however often it is sent, for as long as the channel keeps the
    key. Without a key a repeated request is stored again; with several required channels also
    one that was answered with 503 may be in some of them.

    With `handler` the server is Flume's: every path but the two for load balancers takes events of
    that one form, GET is treated like POST, TRACE and OPTIONS are answered with 403, and 500 says
    that the character set is unknown, a parameter is missing or the JSON holds no events.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "keyed"
    server: ClassVar[bool] = True

    port: int = option(
        "TCP port to listen on. 0 takes any free port; status shows which.",
        example=8080,
        ge=0,
        le=65535,
    )
    bind: str = option(
        "Address to listen on. Flume's default is 0.0.0.0; here it is loopback, and another one"
        " needs a token, or client_certificates: required.",
        default="127.0.0.1",
    )
    id: str | None = option(
        "Name of this source in the names of its streams and in its keys; the part's name if"
        " absent. A source that is renamed still knows its keys when this names what it was called"
        " before.",
        default=None,
        min_length=1,
        example="web",
    )
    token: SecretStr | None = option(
        "Secret that clients send as `Authorization: Bearer TOKEN`. Without it anybody who reaches"
        " the port may send.",
        default=None,
    )
    dangerously_allow_anonymous: bool = option(
        "Listen on an address other than loopback without a token.", default=False
    )
    ip_filter_rules: IpRules = option(
        "Who may send: rules `allow|deny:ip:pattern`, the first that matches decides, and no match"
        " allows. `*` and `?` are wildcards; a network (10.0.0.0/8) is a pattern too.",
        factory=list,
        example=["allow:ip:10.0.0.0/8", "deny:ip:*"],
    )
    handler: Literal["", "json", "blob"] = option(
        "What requests hold, as in Flume, whatever their path: `json`, the list of events, or"
        " `blob`, one event that is the body as it came, with the parameters of the query and"
        " Content-Type as headers. Absent: the path says it.",
        default="",
        example="json",
    )
    max_blob_length: ByteSize = option(
        "Longest event of `handler: blob`. The rest of a longer request is cut off, up to"
        " max_request_bytes.",
        default=100_000_000,
        ge=1,
        le=2**30,
    )
    mandatory_parameters: list[str] = option(
        "Parameters that a request to `handler: blob` must have.", factory=list, example=["id"]
    )
    headers_from_request: list[str] = option(
        "Request headers that become headers of every event of the request, in place of the"
        " events' own of that name.",
        factory=list,
    )
    max_request_bytes: ByteSize = option(
        "Largest request body in bytes, also after decompression (which in any case is limited to"
        " 64 MiB and 100:1).",
        default=16 * 2**20,
        ge=1,
        le=2**30,
    )
    max_record_bytes: ByteSize = option(
        "Largest event in bytes. A request with a larger one is refused with 413.",
        default=2**20,
        ge=1,
    )
    max_pending_bytes: ByteSize = option(
        "Bytes of requests that may wait for the channel. Above it, requests are answered with"
        " 503.",
        default=64 * 2**20,
        ge=1,
    )
    batch_bytes: ByteSize = option(
        "Bytes of requests that are put into the channel together, with one fsync. One request is"
        " never parted.",
        default=8 * 2**20,
        ge=1,
        le=2**30,
    )
    max_connections: int = option(
        "Open connections; a further one is answered with 503 and closed.", default=1_000, ge=1
    )
    max_connections_per_address: int = option(
        "Open connections from one address. Raise it if clients come through a proxy.",
        default=64,
        ge=1,
    )
    header_timeout: Millis = option(
        "Time in which the head of a request must arrive, in milliseconds.", default=10_000, ge=1
    )
    idle_timeout: Millis = option(
        "Time after which a connection without a request is closed, in milliseconds.",
        default=60_000,
        ge=1,
    )
    min_body_rate: ByteSize = option(
        "Bytes per second at which a request body must arrive, looked at after 5 seconds; a slower"
        " one is answered with 408.",
        default=1024,
    )

    def build(self, context: Context) -> HttpSource:
        self._check()
        token = None if self.token is None else hash_token(self.token.get_secret_value())
        settings = Settings(
            bind=self.bind,
            port=self.port,
            source=self.id or context.part,
            life_prefix=stream_prefix(context, self.id) + "life/",
            request_bytes_max=self.max_request_bytes,
            record_bytes_max=self.max_record_bytes,
            pending_bytes_max=self.max_pending_bytes,
            batch_bytes=self.batch_bytes,
            connections_max=self.max_connections,
            connections_per_address_max=self.max_connections_per_address,
            header_timeout_ms=self.header_timeout,
            idle_timeout_ms=self.idle_timeout,
            body_rate_min=self.min_body_rate,
            headers_from_request=tuple(self.headers_from_request),
            token_hash=token,
            tls=self.server_tls(context),
            ip_filter=address_rules(self.ip_filter_rules),
            handler=self.handler,
            blob_bytes_max=self.max_blob_length,
            mandatory_parameters=tuple(self.mandatory_parameters),
        )
        return HttpSource(settings, context)

    def _check(self) -> None:
        if self.token is not None and not self.token.get_secret_value().strip():
            raise OptionError("token: it is empty; set a secret or leave the option out")
        known = self.token is not None or self.client_certificates == "required"
        open_to_all = not known and not self.dangerously_allow_anonymous
        if open_to_all and not is_loopback(self.bind):
            raise OptionError(
                f"bind: {self.bind} can be reached from other hosts, and no token is set; set one"
                " (or dangerously_allow_anonymous: true)"
            )
        largest = self.max_request_bytes
        if self.handler == "blob":
            largest = min(largest, self.max_blob_length)
        elif self.mandatory_parameters:
            raise OptionError("mandatory_parameters: only `handler: blob` reads parameters")
        if self.max_pending_bytes < largest:
            raise OptionError("max_pending_bytes: it is less than max_request_bytes; raise it")
        for name in self.headers_from_request:
            if name.lower() in ("authorization", "proxy-authorization", "cookie"):
                raise OptionError(f"headers_from_request: {name} carries secrets; leave it out")
