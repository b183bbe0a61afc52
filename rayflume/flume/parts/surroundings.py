"""What is around the parts: classes of users, where a file is, monitoring, Java's properties.

User guide: Configuration, Monitoring, SSL/TLS support.
"""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Severity, Status
from rayflume.flume.parts._refused import refused

# -- classes of users ------------------------------------------------------------------------------

_MAPPED = (
    "a Java class cannot run here: write the part in Python (docs/own-parts.md) and say "
    "`--map CLASS=my_module.MyPart`"
)
_HANDED = Prop(
    "*",
    option="<*>",
    why="is handed to the Python class as the option of that name, or of its snake_case",
)


def _custom(kind: str, *props: Prop) -> FlumePart:
    return FlumePart(kind=kind, types=("<custom class>",), java_class="", props=props, why=_MAPPED)


CUSTOM = (
    _custom("source", _HANDED),
    _custom("sink", _HANDED),
    _custom("channel", _HANDED),
    _custom("interceptor", _HANDED),
    _custom("channel_selector", _HANDED),
    FlumePart(
        kind="sink_processor",
        types=("<custom class>",),
        java_class="",
        status=Status.NEVER,
        why="a sink processor of one's own is not supported, as Flume's guide says of its own; use "
        "`failover` or `load_balance`, or write a sink that does it",
    ),
    FlumePart(
        kind="monitoring",
        types=("<custom class>",),
        java_class="",
        props=refused(
            "is handed to a Java class, which cannot run here", "type!", "*"
        ),
        status=Status.NEVER,
        why="a Java class cannot run here; read `GET /metrics` (Flume's JSON), "
        "`/metrics/prometheus`, or `rayflume status NAME --json`",
    ),
)  # fmt: skip

# -- where a file is ----------------------------------------------------------------------

_FETCH = "fetch the file before the start: `{} > flume.conf`, then `rayflume run flume.conf`"
CONFIGURATIONS = (
    FlumePart(
        kind="configuration_source",
        types=("file",),
        java_class="org.apache.flume.node.FileConfigurationSource",
    ),
    FlumePart(
        kind="configuration_source",
        types=("http", "https"),
        java_class="org.apache.flume.node.HttpConfigurationSource",
        status=Status.NEVER,
        why="what an agent runs is not taken from a network; "
        + _FETCH.format("curl -fsS URL")
        + " (`--watch` notices when it changes)",
    ),
    FlumePart(
        kind="configuration_source",
        types=("classpath",),
        java_class="org.apache.flume.node.ClasspathConfigurationSource",
        status=Status.NEVER,
        why="there is no Java class path; " + _FETCH.format("unzip -p agent.jar flume.conf"),
    ),
    FlumePart(
        kind="configuration_source",
        types=("zookeeper",),
        java_class="org.apache.flume.node.PollingZooKeeperConfigurationProvider",
        status=Status.NEVER,
        why="what an agent runs is not taken from a network; "
        + _FETCH.format("zkCli.sh get /BASE/AGENT"),
    ),
)

# -- monitoring ------------------------------------------------------------------------------------

_METRICS = "rayflume serves Flume's counters with `monitoring: {{port: {}}}`"


def _monitoring(name: str, java_class: str, *props: Prop) -> FlumePart:
    return FlumePart(
        kind="monitoring",
        types=(name,),
        java_class=f"org.apache.flume.instrumentation.{java_class}",
        props=(Prop("type", why="names the part", required=True), *props),
    )


MONITORING = (
    _monitoring(
        "http",
        "http.HTTPMetricsServer",
        Prop(
            "port", "41414", why=_METRICS.format("41414") + " at /metrics", severity=Severity.NOTE
        ),
    ),
    _monitoring(
        "prometheus",
        "http.PrometheusHTTPMetricsServer",
        Prop(
            "port",
            "41414",
            why=_METRICS.format("41414") + " at /metrics/prometheus",
            severity=Severity.NOTE,
        ),
    ),
    FlumePart(
        kind="monitoring",
        types=("ganglia",),
        java_class="org.apache.flume.instrumentation.GangliaServer",
        props=refused(
            "belongs to Ganglia's reporter, which rayflume will not have; see "
            "/metrics/prometheus",
            "type!", "hosts!", "pollFrequency=60", "isGanglia3=false",
        ),
        status=Status.NEVER,
        why="Ganglia is given up; let Prometheus read /metrics/prometheus, or read Flume's JSON at "
        "/metrics",
    ),
    FlumePart(
        kind="monitoring",
        types=("jmx",),
        java_class="",
        status=Status.NEVER,
        why="there is no Java machine to ask; the same counters are at /metrics (Flume's JSON) and "
        "/metrics/prometheus",
    ),
)  # fmt: skip

# -- Java's properties -----------------------------------------------------------------------------

_STORE = (
    "is what a source with `ssl = true` takes that names no key store itself; PKCS12 or PEM, see "
    "`keystore` of the sources"
)
_PASSWORD = (
    "goes with the key store of all; the plan has the name of the variable in its place, which is "
    "to be set where the source runs"
)
_LIST = "is what a source with `ssl = true` takes that has no such list itself; commas part it"
_TRUST = (
    "a trust store for all is not read; the http sink trusts the authorities of its host: name a "
    "PEM file with yours in the variable SSL_CERT_FILE"
)
_IN_THE_FILE = "what a store is, is seen in the file itself; remove it"
JAVA = (
    FlumePart(
        kind="global_ssl",
        types=(),
        java_class="org.apache.flume.util.SSLUtil",
        props=(
            Prop("javax.net.ssl.keyStore", why=_STORE),
            Prop("javax.net.ssl.keyStorePassword", why=_PASSWORD),
            Prop("javax.net.ssl.keyStoreType", "JKS", why=_IN_THE_FILE, severity=Severity.NOTE),
            *refused(_TRUST, "javax.net.ssl.trustStore", "javax.net.ssl.trustStorePassword"),
            *refused(_TRUST, "javax.net.ssl.trustStoreType=JKS"),
            Prop("flume.ssl.include.protocols", why=_LIST),
            Prop("flume.ssl.exclude.protocols", why=_LIST),
            Prop("flume.ssl.include.cipherSuites", why=_LIST),
            Prop("flume.ssl.exclude.cipherSuites", why=_LIST),
        ),
        why="-D, or else FLUME_SSL_* of the environment, for the sources http, syslogtcp and "
        "multiport_syslogtcp with `ssl = true`; what a source says itself comes first",
    ),
    FlumePart(
        kind="system_property",
        types=(),
        java_class="",
        props=(
            *refused(
                "rayflume never logs values of a configuration; `rayflume convert` shows what it "
                "makes of a file",
                "org.apache.flume.log.printconfig=false",
            ),
            *refused(
                "events are never logged but by the `logger` sink; `rayflume tap` shows the rows "
                "of a channel",
                "org.apache.flume.log.rawdata=false",
            ),
            *refused("Flume 1.11 does not read it; remove it", "flume.called.from.service"),
            *refused(
                "names a Java class; of them only org.apache.flume.node.EnvVarResolverProperties "
                "is known, with which `${NAME}` reads the environment",
                "propertiesImplementation",
            ),
            *refused(
                "names Java classes that look values up; the look-ups that Flume has itself are "
                "there",
                "lookups=lookups.properties",
            ),
            *refused(
                "belongs to the JMS source, which is not yet in rayflume",
                "JndiAllowedProtocols=java",
            ),
        ),
        status=Status.NEVER,
        why="there is no Java machine that could have properties",
    ),
)

PARTS = (*CUSTOM, *CONFIGURATIONS, *MONITORING, *JAVA)
