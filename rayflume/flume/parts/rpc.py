"""Avro and Thrift RPC, and the clients that send them. User guide: Avro Source, Avro Sink, Thrift
Source, Thrift Sink, Log4J Appender; developer guide: Client SDK, Embedded Agent.
"""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Status
from rayflume.flume.parts._refused import CLIENT_TLS, KEYSTORE, KEYTAB, SERVER_TLS, refused

_RECEIVE = (
    "{} RPC is not yet in rayflume; until then let the senders use HTTP (source `http`), syslog "
    "(source `syslogtcp`) or files, or keep a small Flume agent in front that forwards with its "
    "`http` sink. To join two agents that both move to rayflume, write their parts into one agent: "
    "its parts may run on several hosts"
)
_SEND = (
    "{} RPC is not yet in rayflume; until then send with the `http` sink to an `http` source of "
    "the next hop. To join two agents that both move to rayflume, write their parts into one "
    "agent: its parts may run on several hosts"
)
_WITH = "belongs to the {} {}, which is not yet in rayflume"
_LATER = {
    (kind, name): _WITH.format(name.capitalize(), kind)
    for kind in ("source", "sink")
    for name in ("avro", "thrift")
}
_CLIENT = "is set in the program that sends, not in an agent, and stays there"
_CLIENT_LATER = (
    "is a library of programs that send by {} RPC, which rayflume does not yet receive; until then "
    "let them send over HTTP to the `http` source, or by syslog to `syslogtcp`"
)
_SENT = ("hostname!", "port!", "batch-size=100", "connect-timeout=20000", "request-timeout=20000")
_HOSTS = (
    "client.type=default", "hosts!", "hosts.<alias>!", "batch-size=100", "connect-timeout=20000",
    "request-timeout=20000",
)  # fmt: skip
_DEFLATE = ("compression-type=none", "compression-level=6")
_KERBEROS = ("kerberos=false", "client-principal", "client-keytab", "server-principal")


def _server_tls(later: str) -> tuple[Prop, ...]:
    stores = refused(f"{later}; {KEYSTORE}", *SERVER_TLS[1:4])
    return refused(later, SERVER_TLS[0]) + stores + refused(later, *SERVER_TLS[4:])


def _client_tls(later: str) -> tuple[Prop, ...]:
    stores = refused(f"{later}; {KEYSTORE}", *CLIENT_TLS[1:4])
    return refused(later, CLIENT_TLS[0]) + stores + refused(later, *CLIENT_TLS[4:])


_AVRO_SOURCE = FlumePart(
    kind="source",
    types=("avro",),
    java_class="org.apache.flume.source.AvroSource",
    props=(
        *refused(_LATER["source", "avro"], "bind!", "port!", "compression-type=none"),
        *refused("Flume reads it and ignores it; remove it", "threads=0"),
        *_server_tls(_LATER["source", "avro"]),
        *refused(_LATER["source", "avro"], "ipFilter=false", "ipFilterRules"),
    ),
    status=Status.NOT_YET,
    why=_RECEIVE.format("Avro"),
)
_THRIFT_SOURCE = FlumePart(
    kind="source",
    types=("thrift",),
    java_class="org.apache.flume.source.ThriftSource",
    props=(
        *refused(_LATER["source", "thrift"], "bind!", "port!", "threads", "protocol=compact"),
        *_server_tls(_LATER["source", "thrift"]),
        *refused(_LATER["source", "thrift"], "kerberos=false"),
        *refused(f"{_LATER['source', 'thrift']}; {KEYTAB}", "agent-principal", "agent-keytab"),
    ),
    status=Status.NOT_YET,
    why=_RECEIVE.format("Thrift"),
)
_AVRO_SINK = FlumePart(
    kind="sink",
    types=("avro",),
    java_class="org.apache.flume.sink.AvroSink",
    batch="batch-size",
    props=(
        *refused(_LATER["sink", "avro"], *_SENT, "reset-connection-interval=0", *_DEFLATE),
        *_client_tls(_LATER["sink", "avro"]),
        *refused(
            f"{_LATER['sink', 'avro']}; a certificate that is not checked protects nothing: name "
            "the authority that signed it instead",
            "trust-all-certs=false",
        ),
        *refused("Flume ignores it since 1.10; remove it", "maxIoWorkers"),
        *refused(_LATER["sink", "avro"], "client.type=DEFAULT"),
    ),
    status=Status.NOT_YET,
    why=_SEND.format("Avro"),
)
_THRIFT_SINK = FlumePart(
    kind="sink",
    types=("thrift",),
    java_class="org.apache.flume.sink.ThriftSink",
    batch="batch-size",
    props=(
        *refused(_LATER["sink", "thrift"], *_SENT, "reset-connection-interval=0"),
        *refused(
            "Flume 1.11 reads only `reset-connection-interval`; write that name",
            "connection-reset-interval",
        ),
        *refused(_LATER["sink", "thrift"], "protocol=compact", "kerberos=false"),
        *_client_tls(_LATER["sink", "thrift"]),
        *refused(f"{_LATER['sink', 'thrift']}; {KEYTAB}", "client-principal", "client-keytab"),
        *refused(_LATER["sink", "thrift"], "server-principal"),
    ),
    status=Status.NOT_YET,
    why=_SEND.format("Thrift"),
)


def _client(
    types: tuple[str, ...], java_class: str, wire: str, props: tuple[Prop, ...]
) -> FlumePart:
    return FlumePart(
        kind="rpc_client",
        types=types,
        java_class=f"org.apache.flume.api.{java_class}",
        props=props,
        status=Status.NOT_YET,
        why=_CLIENT_LATER.format(wire),
    )


_AVRO_CLIENT = ("trust-all-certs=false", *_DEFLATE, *CLIENT_TLS)
_CLIENTS = (
    _client(("default",), "NettyAvroRpcClient", "Avro", refused(_CLIENT, *_HOSTS, *_AVRO_CLIENT)),
    _client(
        ("default_failover",),
        "FailoverRpcClient",
        "Avro",
        refused(_CLIENT, *_HOSTS, "max-attempts=number of hosts", *_AVRO_CLIENT),
    ),
    _client(
        ("default_loadbalance",),
        "LoadBalancingRpcClient",
        "Avro",
        refused(
            _CLIENT, *_HOSTS, "host-selector=round_robin", "backoff=false", "maxBackoff=0",
            *_AVRO_CLIENT,
        ),
    ),
    _client(
        ("thrift",),
        "ThriftRpcClient",
        "Thrift",
        refused(_CLIENT, *_HOSTS, "protocol=compact", "maxConnections=5", *CLIENT_TLS),
    ),
    _client(
        (),
        "SecureThriftRpcClient",
        "Thrift",
        refused(
            _CLIENT, *_HOSTS, _KERBEROS[0], *(f"{name}!" for name in _KERBEROS[1:]),
        ),
    ),
)  # fmt: skip

_APPENDER = "is set in log4j's configuration, not in an agent, and stays there"
_APPENDER_WHY = (
    "sends by Avro RPC, which rayflume does not yet receive; until then let log4j write files "
    "(source `TAILDIR`) or send with its SyslogAppender or SocketAppender to `syslogtcp`"
)
_APPENDERS = (
    FlumePart(
        kind="log4j_appender",
        types=(),
        java_class="org.apache.flume.clients.log4jappender.Log4jAppender",
        props=refused(
            _APPENDER, "Hostname!", "Port!", "UnsafeMode=false", "AvroReflectionEnabled=false",
            "AvroSchemaUrl", "Timeout=20000",
        ),
        status=Status.NOT_YET,
        why=_APPENDER_WHY,
    ),
    FlumePart(
        kind="log4j_appender",
        types=(),
        java_class="org.apache.flume.clients.log4jappender.LoadBalancingLog4jAppender",
        props=refused(
            _APPENDER, "Hosts!", "Selector=ROUND_ROBIN", "MaxBackoff", "UnsafeMode=false",
            "AvroReflectionEnabled=false", "AvroSchemaUrl", "Timeout=20000",
        ),
        status=Status.NOT_YET,
        why=_APPENDER_WHY,
    ),
)  # fmt: skip

_INSIDE = (
    "an agent inside a Java program is not possible; let the program send over HTTP to the `http` "
    "source of an agent beside it, or write a file that `TAILDIR` reads. Inside a Python program "
    "`rayflume.Agent(conf).start(inline=True)` runs an agent"
)
_EMBEDDED = (
    FlumePart(
        kind="embedded_agent",
        types=(),
        java_class="org.apache.flume.agent.embedded.EmbeddedAgent",
        props=refused(
            "is set in the Java program that holds the agent, which rayflume cannot be part of",
            "source.type=embedded", "source.interceptors", "source.interceptors.*",
            "channel.type!", "channel.*", "sinks!", "<sink>.type!", "<sink>.*",
            "processor.type!", "processor.*",
        ),
        status=Status.NEVER,
        why=_INSIDE,
    ),
    FlumePart(
        kind="source",
        types=("embedded",),
        java_class="org.apache.flume.agent.embedded.EmbeddedSource",
        status=Status.NEVER,
        why=_INSIDE,
    ),
)  # fmt: skip

PARTS = (
    _AVRO_SOURCE,
    _THRIFT_SOURCE,
    _AVRO_SINK,
    _THRIFT_SINK,
    *_CLIENTS,
    *_APPENDERS,
    *_EMBEDDED,
)
