"""The agent itself and config filters. Flume user guide, sections Setup, Configuration Filters."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Severity, Status
from rayflume.flume.readers import words

_PLAN = "is part of the plan"
_JCEKS = "belongs to a Hadoop credential store, which only Java can read"

PARTS = (
    FlumePart(
        kind="agent",
        types=(),
        java_class="",
        props=(
            Prop("sources", option="sources", read=words),
            Prop("sinks", option="sinks", read=words),
            Prop("channels", option="channels", read=words, required=True),
            Prop("sinkgroups", option="sink_groups", read=words),
            Prop("configfilters", why="resolved when the file is read"),
            Prop("sources.NAME.*", why=_PLAN),
            Prop("sinks.NAME.*", why=_PLAN),
            Prop("channels.NAME.*", why=_PLAN),
            Prop("sinkgroups.NAME.*", why=_PLAN),
            Prop("configfilters.NAME.*", why="resolved when the file is read"),
            Prop("<component>.NAME.config", why="a Java class; rayflume checks settings itself"),
        ),
    ),
    FlumePart(
        kind="config_filter",
        types=("env",),
        java_class="org.apache.flume.configfilter.EnvironmentVariableConfigFilter",
        type="env",
    ),
    FlumePart(
        kind="config_filter",
        types=("external",),
        java_class="org.apache.flume.configfilter.ExternalProcessConfigFilter",
        type="external",
        props=(
            Prop(
                "command",
                required=True,
                severity=Severity.NOTE,
                why="runs only with --allow-exec PROGRAM; its answers become variables of the "
                "environment",
            ),
            Prop("charset", "UTF-8", severity=Severity.NOTE, why="of the program's output"),
        ),
    ),
    FlumePart(
        kind="config_filter",
        types=("hadoop",),
        java_class="org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter",
        status=Status.NEVER,
        why="a credential store of Hadoop (JCEKS) can only be read by Java; put the secrets into "
        "the environment and use a config filter of type env, or ${env:NAME}",
        props=(
            Prop("credential.provider.path", required=True, why=_JCEKS),
            Prop("credstore.java-keystore-provider.password-file", why=_JCEKS),
        ),
    ),
)
