"""What is around the parts: classes of users, where a file is, monitoring, Java's properties.

User guide: Configuration, Monitoring, SSL/TLS support.
"""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Severity, Status
from rayflume.flume.parts._refused import KEYSTORE, refused

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

_PROTOCOLS = (
    "rayflume speaks TLS 1.2 and newer; what one part shall allow is an option of that part"
)
JAVA = (
    FlumePart(
        kind="global_ssl",
        types=(),
        java_class="org.apache.flume.util.SSLUtil",
        props=(
            *refused(KEYSTORE, "javax.net.ssl.keyStore", "javax.net.ssl.keyStorePassword"),
            *refused(KEYSTORE, "javax.net.ssl.keyStoreType=JKS", "javax.net.ssl.trustStore"),
            *refused(KEYSTORE, "javax.net.ssl.trustStorePassword"),
            *refused(KEYSTORE, "javax.net.ssl.trustStoreType=JKS"),
            *refused(_PROTOCOLS, "flume.ssl.include.protocols", "flume.ssl.exclude.protocols"),
            *refused(_PROTOCOLS, "flume.ssl.include.cipherSuites"),
            *refused(_PROTOCOLS, "flume.ssl.exclude.cipherSuites"),
        ),
        status=Status.NEVER,
        why="Java's own settings for all parts are not read; name PEM files in each part that "
        "speaks TLS",
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
                "names a Java class; `${env:NAME}` in a file reads the environment",
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
