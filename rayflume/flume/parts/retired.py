"""Sources and sinks whose other end is gone, or is no store.

User guide: Twitter 1% firehose Source, Legacy Sources, Scribe Source, IRC Sink.
"""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Status
from rayflume.flume.parts._refused import refused


def _never(part: str) -> str:
    return f"belongs to {part}, which rayflume will not have"


_LEGACY = (
    "receives events of Flume 0.9; put rayflume on those hosts instead of Flume 0.9: it reads the "
    "same files and sockets (`TAILDIR`, `spooldir`, `syslogtcp`)"
)


def _legacy(java_class: str) -> FlumePart:
    return FlumePart(
        kind="source",
        types=(),
        java_class=f"org.apache.flume.source.{java_class}",
        props=refused(_never("a source for Flume 0.9"), "host!", "port!"),
        status=Status.NEVER,
        why=_LEGACY,
    )


PARTS = (
    FlumePart(
        kind="source",
        types=(),
        java_class="org.apache.flume.source.twitter.TwitterSource",
        batch="maxBatchSize",
        props=refused(
            _never("the Twitter source"),
            "consumerKey!", "consumerSecret!", "accessToken!", "accessTokenSecret!",
            "maxBatchSize=1000", "maxBatchDurationMillis=1000",
        ),
        status=Status.NEVER,
        why="the streaming interface of Twitter that it reads was switched off; for the present "
        "interface write a source of your own in Python (docs/own-parts.md)",
    ),
    _legacy("avroLegacy.AvroLegacySource"),
    _legacy("thriftLegacy.ThriftLegacySource"),
    FlumePart(
        kind="source",
        types=(),
        java_class="org.apache.flume.source.scribe.ScribeSource",
        props=refused(
            _never("the Scribe source"),
            "port=1499", "maxReadBufferBytes=16384000", "workerThreads=5",
        ),
        status=Status.NEVER,
        why="Scribe is given up by its makers; let its clients send syslog (`syslogtcp`) or HTTP "
        "(`http`), or read the files they write (`TAILDIR`)",
    ),
    FlumePart(
        kind="sink",
        types=("irc",),
        java_class="org.apache.flume.sink.irc.IRCSink",
        props=refused(
            _never("the IRC sink"),
            "hostname!", "port=6667", "nick!", "user", "password", "chan!", "name",
            "splitlines=false", "splitchars=\n",
        ),
        status=Status.NEVER,
        why="IRC never says whether a message arrived, so no delivery could be kept; to be told of "
        "events use the alerts of your metrics, or write a sink of your own in Python "
        "(docs/own-parts.md)",
    ),
)  # fmt: skip
