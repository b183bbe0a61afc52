"""The HTTP source with its handlers, and the HTTP sink. Flume user guide, sections HTTP Source,
JSONHandler, BlobHandler and HTTP Sink.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rayflume.flume.names import Finish, FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import (
    commas,
    flag,
    millis,
    port,
    positive,
    positive_millis,
    size,
    text,
    whole,
    words,
)
from rayflume.flume.servers import SERVER_TLS, listens
from rayflume.units import parse_bytes

if TYPE_CHECKING:
    from rayflume.interfaces import Json

_IDLE = "ServerConnector.idleTimeout"
_JSON = "org.apache.flume.source.http.JSONHandler"
_REQUEST_BYTES = "64MiB"
_BLOB_REQUEST_BYTES = "1GiB"
_PENDING_BYTES = 128 * 2**20
_BLOB_BYTES, _BLOB_BYTES_MAX = 100_000_000, 2**30


def _blob(value: str) -> Json:
    return size(str(positive(value)))


def _idle(value: str) -> Json:
    """0 is no end in Jetty; here every connection has one (S4), so the default applies."""
    return None if whole(value) <= 0 else millis(value)


def _endpoint(value: str) -> Json:
    """Raises ValueError for a URL to which nothing can be posted, without what is before the @."""
    try:
        url = urlsplit(value)
        good = url.scheme.lower() in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good:
        shown = re.sub(r"//[^/?#@]*@", "//...@", value)
        raise ValueError(f"{shown!r} is no URL; write one such as http://host:8080/events")
    return text(value)


def _handler(name: str) -> Finish:
    def finish(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
        options["handler"] = name
        return ()

    return finish


def _server(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """Flume bounds a request by its heap alone; here by sizes that leave room for others."""
    yield from listens(certificates=True)(options, given)
    if options.get("handler") == "blob":
        kept = min(parse_bytes(options.get("max_blob_length", _BLOB_BYTES)), _BLOB_BYTES_MAX)
        options["max_blob_length"] = f"{kept}B"
        request, pending = _BLOB_REQUEST_BYTES, max(kept, _PENDING_BYTES)
    else:
        request, pending = _REQUEST_BYTES, _PENDING_BYTES
        text = f"a request of more than {request} is refused with 413; in Flume the heap"
        yield Remark(f"{text} is the limit", Severity.NOTE)
    options["max_request_bytes"] = options["max_record_bytes"] = request
    options["max_pending_bytes"] = f"{pending}B"
    if "idle_timeout" not in options and _IDLE in given:
        text = "a connection without end would hold its place for ever: the default applies"
        yield Remark(text, Severity.WARNING, _IDLE)
    clients = options.get("client_certificates")
    if options.get("ssl") is not True:
        for name in ("client_certificates", "truststore", "truststore_password"):
            options.pop(name, None)
    elif clients not in (None, "none") and not options.get("truststore"):
        text = "clients must show a certificate, but no trustStorePath says whose are accepted"
        yield Remark(text, Severity.ERROR, "SslContextFactory.needClientAuth")


def _rules(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """Where rayflume has a rule for 2XX of its own, Flume has none."""
    for name in ("backoff", "rollback", "increment_metrics"):
        options.setdefault(name, {})
    options["connections"] = 1
    endpoint = str(options.get("endpoint", ""))
    if bare := _USER_IN_URL.fullmatch(endpoint):
        options["endpoint"] = bare[1] + bare[2]
        text = "a user and a password in the URL are not sent, as in Flume; remove them"
        yield Remark(text, Severity.WARNING, "endpoint")
    rollback = options["rollback"]
    assert isinstance(rollback, dict)
    default = options.get("default_rollback", True) is not False
    if rollback.get("200", rollback.get("2XX", default)):
        yield Remark(
            "an event that is answered with 200 is rolled back and sent again, for ever, as in "
            "Flume; write rollback.2XX = false",
            Severity.WARNING,
            "rollback.200" if "rollback.200" in given else "",
        )


_USER_IN_URL = re.compile(r"(https?://)[^/?#@]*@(.*)", re.IGNORECASE | re.DOTALL)
_JETTY = "Jetty is not here"

PARTS = (
    FlumePart(
        kind="source",
        types=("http",),
        java_class="org.apache.flume.source.http.HTTPSource",
        type="http",
        props=(
            Prop("port", option="port", read=port, required=True),
            Prop("bind", "0.0.0.0", "bind"),
            Prop("handler", _JSON, nested="http_source_handler"),
            *SERVER_TLS,
            Prop("enableSSL", "false", "ssl", flag),
            Prop("excludeProtocols", "SSLv3", "exclude_protocols", words),
            Prop("keystorePassword", option="keystore_password"),
            Prop("SslContextFactory.keyStorePath", option="keystore"),
            Prop("SslContextFactory.keyStorePassword", option="keystore_password"),
            Prop("SslContextFactory.trustStorePath", option="truststore"),
            Prop("SslContextFactory.trustStorePassword", option="truststore_password"),
            Prop(
                "SslContextFactory.needClientAuth",
                option="client_certificates",
                read=lambda text: "required" if flag(text) else "none",
            ),
            Prop(
                "SslContextFactory.wantClientAuth",
                option="client_certificates",
                read=lambda text: "optional" if flag(text) else "none",
            ),
            Prop(_IDLE, option="idle_timeout", read=_idle),
            Prop(
                "QueuedThreadPool.*",
                why=f"{_JETTY}: one event loop serves all connections; max_connections of the YAML "
                "form bounds them",
            ),
            Prop(
                "HttpConfiguration.*",
                why=f"{_JETTY}: a head has at most 8 KiB a line, and answers say nothing of the "
                "server's version; see max_request_bytes and header_timeout of the YAML form",
            ),
            Prop(
                "SslContextFactory.*",
                why=f"{_JETTY}: use keystore, include-protocols and the like, and of this one "
                "keyStorePath, trustStorePath, their passwords, needClientAuth and wantClientAuth",
            ),
            Prop(
                "ServerConnector.*",
                why=f"{_JETTY}: of it only idleTimeout; see max_connections and header_timeout of "
                "the YAML form",
            ),
        ),
        finish=_server,
    ),
    FlumePart(
        kind="http_source_handler",
        types=(),
        java_class=_JSON,
        finish=_handler("json"),
    ),
    FlumePart(
        kind="http_source_handler",
        types=(),
        java_class="org.apache.flume.sink.solr.morphline.BlobHandler",
        props=(Prop("maxBlobLength", "100000000", "max_blob_length", _blob),),
        finish=_handler("blob"),
    ),
    FlumePart(
        kind="http_source_handler",
        types=(),
        java_class="org.apache.flume.source.http.BLOBHandler",
        props=(
            Prop(
                "mandatoryParameters",
                "",
                "mandatory_parameters",
                commas,
                why="an event also gets the header Content-Type",
            ),
        ),
        finish=_handler("blob"),
    ),
    FlumePart(
        kind="sink",
        types=("http",),
        java_class="org.apache.flume.sink.http.HttpSink",
        type="http",
        props=(
            Prop("endpoint", option="endpoint", read=_endpoint, required=True),
            Prop("connectTimeout", "5000", "connect_timeout", positive_millis),
            Prop("requestTimeout", "5000", "request_timeout", positive_millis),
            Prop("contentTypeHeader", "text/plain", "content_type_header"),
            Prop("acceptHeader", "text/plain", "accept_header"),
            Prop("defaultBackoff", "true", "default_backoff", flag),
            Prop("defaultRollback", "true", "default_rollback", flag),
            Prop("defaultIncrementMetrics", "false", "default_increment_metrics", flag),
            Prop("backoff.<code>", option="backoff.<code>", read=flag),
            Prop("rollback.<code>", option="rollback.<code>", read=flag),
            Prop("incrementMetrics.<code>", option="increment_metrics.<code>", read=flag),
        ),
        finish=_rules,
    ),
)
