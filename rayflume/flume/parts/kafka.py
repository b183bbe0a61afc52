"""Kafka's source, sink and channel. User guide: Kafka Source, Kafka Sink, Kafka Channel."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Status
from rayflume.flume.parts._refused import refused

_OLD = "is an old name; write `{}` for both Flume and rayflume. Kafka is not yet in rayflume"
_NO_ZOOKEEPER = (
    "Kafka keeps offsets itself since 0.9, and ZooKeeper is gone from Kafka 4; remove it, and name "
    "the brokers with `kafka.bootstrap.servers`"
)
_OLD_SERIALIZER = "Flume only warns that it is deprecated; remove it"
_KAFKA = "Kafka is not yet in rayflume; until then "


def _old(**names: str) -> tuple[Prop, ...]:
    return tuple(Prop(old, why=_OLD.format(new)) for old, new in names.items())


def _later(kind: str) -> str:
    return f"belongs to the Kafka {kind}, which is not yet in rayflume"


_SOURCE = FlumePart(
    kind="source",
    types=(),
    java_class="org.apache.flume.source.kafka.KafkaSource",
    batch="batchSize",
    props=(
        *refused(
            _later("source"),
            "kafka.bootstrap.servers!", "kafka.topics", "kafka.topics.regex",
            "kafka.consumer.group.id=flume", "batchSize=1000", "batchDurationMillis=1000",
            "backoffSleepIncrement=1000", "maxBackoffSleep=5000", "useFlumeEventFormat=false",
            "setTopicHeader=true", "topicHeader=topic", "header.<NAME>",
            "kafka.consumer.security.protocol=PLAINTEXT",
            "kafka.consumer.ssl.disableTLSHostnameVerification=false", "kafka.consumer.*",
        ),
        *refused(
            "Flume 1.11 does not read it: the header is always called `timestamp`; remove it",
            "timestampHeader",
        ),
        *_old(topic="kafka.topics", groupId="kafka.consumer.group.id"),
        *refused(_NO_ZOOKEEPER, "zookeeperConnect", "migrateZookeeperOffsets=true"),
    ),
    status=Status.NOT_YET,
    why=f"{_KAFKA}keep a small Flume agent that reads the topic and forwards with its `http` sink "
    "to the `http` source, or write a source of your own in Python (docs/own-parts.md)",
)  # fmt: skip
_SINK = FlumePart(
    kind="sink",
    types=(),
    java_class="org.apache.flume.sink.kafka.KafkaSink",
    batch="flumeBatchSize",
    props=(
        *refused(
            _later("sink"),
            "kafka.bootstrap.servers!", "kafka.topic=default-flume-topic", "flumeBatchSize=100",
            "kafka.producer.acks=1", "useFlumeEventFormat=false", "defaultPartitionId",
            "partitionIdHeader", "allowTopicOverride=true", "topicHeader=topic",
            "timestampHeader", "header.<NAME>", "kafka.producer.security.protocol=PLAINTEXT",
            "kafka.producer.ssl.disableTLSHostnameVerification=false", "kafka.producer.*",
        ),
        *_old(
            brokerList="kafka.bootstrap.servers", topic="kafka.topic", batchSize="flumeBatchSize",
            requiredAcks="kafka.producer.acks",
        ),
        *refused(_OLD_SERIALIZER, "serializer.class", "key.serializer.class"),
    ),
    status=Status.NOT_YET,
    why=f"{_KAFKA}write Parquet files with the `hdfs` or `parquet` sink, or write a sink of your "
    "own in Python (docs/own-parts.md)",
)  # fmt: skip
_CHANNEL = FlumePart(
    kind="channel",
    types=(),
    java_class="org.apache.flume.channel.kafka.KafkaChannel",
    props=(
        *refused(
            _later("channel"),
            "kafka.bootstrap.servers!", "kafka.topic=flume-channel",
            "kafka.consumer.group.id=flume", "parseAsFlumeEvent=true", "kafka.pollTimeout=500",
            "defaultPartitionId", "partitionIdHeader",
            "kafka.consumer.auto.offset.reset=earliest", "kafka.producer.acks=all",
            "kafka.producer.security.protocol=PLAINTEXT",
            "kafka.consumer.security.protocol=PLAINTEXT",
            "kafka.producer.ssl.disableTLSHostnameVerification=false",
            "kafka.consumer.ssl.disableTLSHostnameVerification=false",
            "kafka.producer.*", "kafka.consumer.*",
        ),
        *refused(
            "Flume 1.11 reads only `kafka.pollTimeout`; write that name", "pollTimeout=500"
        ),
        *_old(
            brokerList="kafka.bootstrap.servers", topic="kafka.topic",
            groupId="kafka.consumer.group.id",
        ),
        *refused(
            "is an old name; write `kafka.consumer.auto.offset.reset = earliest` (for true) or "
            "`latest`",
            "readSmallestOffset=false",
        ),
        *refused(_NO_ZOOKEEPER, "migrateZookeeperOffsets=true", "zookeeperConnect"),
    ),
    status=Status.NOT_YET,
    why=f"{_KAFKA}use a `file` channel: it is durable as well, and drain the topic with Flume "
    "before you change over",
)  # fmt: skip

PARTS = (_SOURCE, _SINK, _CHANNEL)
