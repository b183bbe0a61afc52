"""Sinks into stores of the Hadoop world, and the JDBC channel. User guide: Hive Sink, HBaseSinks,
MorphlineSolrSink, ElasticSearchSink, Kite Dataset Sink, JDBC Channel.
"""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Status
from rayflume.flume.parts._refused import KEYTAB, refused

_OWN = "write a sink of your own in Python (docs/own-parts.md)"


def _never(part: str) -> str:
    return f"belongs to {part}, which rayflume will not have"


# -- Hive ------------------------------------------------------------------------------------------

_HIVE = _never("the Hive sink")
_HIVE_WHY = (
    "Hive takes streams only from its own Java client, into transactional ORC tables; write "
    "Parquet with the `hdfs` sink (`hdfs.fileType = Parquet`) below an external table of Hive, or "
    "with the `parquet` sink into an Iceberg or Delta table that Hive reads"
)
_ESCAPES = "the `hdfs` sink has it as `hdfs.{}`: use that sink below an external table"
HIVE = (
    FlumePart(
        kind="sink",
        types=("hive",),
        java_class="org.apache.flume.sink.hive.HiveSink",
        batch="batchSize",
        props=(
            *refused(_HIVE, "hive.metastore!", "hive.database!", "hive.table!"),
            *refused(
                f"{_HIVE}; directories below an external table do the same: "
                "`hdfs.path = .../day=%Y-%m-%d`",
                "hive.partition",
            ),
            *refused(
                _HIVE,
                "hive.txnsPerBatchAsk=100", "heartBeatInterval=240", "autoCreatePartitions=true",
                "batchSize=15000", "maxOpenConnections=500", "callTimeout=10000",
            ),
            Prop("idleTimeout", "0", why=_ESCAPES.format("idleTimeout")),
            *refused(
                f"{_HIVE}; the `parquet` sink makes columns with `format: {{type: csv}}` or "
                "`{type: json}`",
                "serializer!", "serializer.*",
            ),
            Prop("round", "false", why=_ESCAPES.format("round")),
            Prop("roundUnit", "minute", why=_ESCAPES.format("roundUnit")),
            Prop("roundValue", "1", why=_ESCAPES.format("roundValue")),
            Prop("timeZone", "local time", why=_ESCAPES.format("timeZone")),
            Prop("useLocalTimeStamp", "false", why=_ESCAPES.format("useLocalTimeStamp")),
        ),
        status=Status.NEVER,
        why=_HIVE_WHY,
    ),
    FlumePart(
        kind="hive_serializer",
        types=("DELIMITED",),
        java_class="org.apache.flume.sink.hive.HiveDelimitedTextSerializer",
        props=(
            Prop("delimiter", ",", why="is `delimiter` of the format `csv` of the `parquet` sink"),
            Prop(
                "fieldnames",
                required=True,
                why="are the names in `schema` of the format `csv` of the `parquet` sink",
            ),
            *refused(_HIVE, "serdeSeparator=\x01"),
        ),
        status=Status.NEVER,
        why=f"{_HIVE}; the `parquet` sink reads such lines with `format: {{type: csv}}`",
    ),
    FlumePart(
        kind="hive_serializer",
        types=("JSON",),
        java_class="org.apache.flume.sink.hive.HiveJsonSerializer",
        status=Status.NEVER,
        why=f"{_HIVE}; the `parquet` sink reads such rows with `format: {{type: json}}`",
    ),
)  # fmt: skip

# -- HBase -----------------------------------------------------------------------------------------

_HBASE = _never("the HBase sinks")
_HBASE_WHY = (
    "HBase is written to from Java; write Parquet and load it in bulk, or " + _OWN + " with the "
    "package `happybase`, which uses HBase's Thrift server"
)
_HBASE_PROPS = (
    "table!", "columnFamily!", "zookeeperQuorum", "znodeParent=/hbase", "batchSize=100",
    "coalesceIncrements=false", "enableWal=true", "serializer.*",
)  # fmt: skip
_SIMPLE = (
    "rowPrefix=default", "suffix=uuid", "payloadColumn=pCol", "incrementColumn=iCol",
    "incrementRow=incRow",
)  # fmt: skip
_REGEX = (
    "regex=(.*)", "regexIgnoreCase=false", "colNames=payload", "rowKeyIndex=-1",
    "depositHeaders=false", "charset=UTF-8",
)  # fmt: skip


def _hbase(name: str, java_class: str, serializer: str, *more: Prop) -> FlumePart:
    return FlumePart(
        kind="sink",
        types=(name,),
        java_class=java_class,
        batch="batchSize",
        props=(
            *refused(_HBASE, *_HBASE_PROPS),
            *refused(_HBASE, f"serializer=org.apache.flume.sink.{serializer}"),
            *more,
        ),
        status=Status.NEVER,
        why=_HBASE_WHY,
    )


def _hbase_serializer(java_class: str, *props: str) -> FlumePart:
    return FlumePart(
        kind="hbase_serializer",
        types=(),
        java_class=f"org.apache.flume.sink.{java_class}",
        props=refused(_HBASE, *props),
        status=Status.NEVER,
        why=_HBASE_WHY,
    )


_HBASE_KERBEROS = refused(f"{_HBASE}; {KEYTAB}", "kerberosPrincipal", "kerberosKeytab")
HBASE = (
    _hbase(
        "hbase",
        "org.apache.flume.sink.hbase.HBaseSink",
        "hbase.SimpleHbaseEventSerializer",
        *_HBASE_KERBEROS,
    ),
    _hbase(
        "hbase2",
        "org.apache.flume.sink.hbase2.HBase2Sink",
        "hbase2.SimpleHBase2EventSerializer",
        *_HBASE_KERBEROS,
    ),
    _hbase(
        "asynchbase",
        "org.apache.flume.sink.hbase.AsyncHBaseSink",
        "hbase.SimpleAsyncHbaseEventSerializer",
        *refused(_HBASE, "timeout=60000", "maxConsecutiveFails=10", "async.*"),
    ),
    _hbase_serializer("hbase.SimpleHbaseEventSerializer", *_SIMPLE),
    _hbase_serializer("hbase.RegexHbaseEventSerializer", *_REGEX),
    _hbase_serializer("hbase.SimpleAsyncHbaseEventSerializer", *_SIMPLE),
    _hbase_serializer("hbase2.SimpleHBase2EventSerializer", *_SIMPLE),
    _hbase_serializer("hbase2.RegexHBase2EventSerializer", *_REGEX),
)

# -- Kudu ------------------------------------------------------------------------------------------

_KUDU = _never("the Kudu sink")
_KUDU_WHY = (
    "the Kudu sink is not in Flume's distribution either; " + _OWN + " with the package "
    "`kudu-python`, or write Parquet with the `parquet` sink, which Impala reads beside Kudu"
)


def _kudu_producer(java_class: str, *props: str) -> FlumePart:
    return FlumePart(
        kind="kudu_operations_producer",
        types=(),
        java_class=f"org.apache.flume.sink.kudu.{java_class}",
        props=refused(_KUDU, *props),
        status=Status.NEVER,
        why=_KUDU_WHY,
    )


KUDU = (
    FlumePart(
        kind="sink",
        types=(),
        java_class="org.apache.flume.sink.kudu.KuduSink",
        batch="batchSize",
        props=(
            *refused(
                _KUDU,
                "masterAddresses!", "tableName!", "batchSize=1000", "ignoreDuplicateRows=true",
                "timeoutMillis=30000",
                "producer=org.apache.flume.sink.kudu.SimpleKuduOperationsProducer", "producer.*",
                "proxyUser",
            ),
            *refused(f"{_KUDU}; {KEYTAB}", "kerberosPrincipal", "kerberosKeytab"),
        ),
        status=Status.NEVER,
        why=_KUDU_WHY,
    ),
    _kudu_producer("SimpleKuduOperationsProducer", "payloadColumn=payload"),
    _kudu_producer(
        "SimpleKeyedKuduOperationsProducer",
        "payloadColumn=payload", "keyColumn=key", "operation=upsert",
    ),
    _kudu_producer(
        "RegexpKuduOperationsProducer",
        "pattern!", "encoding=utf-8", "operation=upsert", "missingColumnPolicy=REJECT",
        "badColumnValuePolicy=REJECT", "unmatchedRowPolicy=WARN", "skipMissingColumn=false",
        "skipBadColumnValue=false", "skipUnmatchedRows=true",
    ),
    _kudu_producer("AvroKuduOperationsProducer", "schemaPath", "operation=upsert"),
)  # fmt: skip

# -- Kite ------------------------------------------------------------------------------------------

_KITE = _never("the Kite sink")
KITE = (
    FlumePart(
        kind="sink",
        types=(),
        java_class="org.apache.flume.sink.kite.DatasetSink",
        batch="kite.batchSize",
        props=(
            *refused(
                f"{_KITE}; the `parquet` sink has it as `path`",
                "kite.dataset.uri!", "kite.repo.uri", "kite.dataset.namespace=default",
                "kite.dataset.name",
            ),
            *refused(f"{_KITE}; the `parquet` sink counts bytes, see `roll`", "kite.batchSize=100"),
            *refused(f"{_KITE}; the `parquet` sink has it as `roll.age`", "kite.rollInterval=30"),
            *refused(
                f"{_KITE}; the `parquet` sink commits a file only when all of it is durable",
                "kite.flushable.commitOnBatch=true", "kite.flushable.commiteOnBatch=true",
                "kite.syncable.syncOnBatch=true",
            ),
            *refused(
                f"{_KITE}; the `parquet` sink has it as `format: {{type: avro}}`",
                "kite.entityParser=avro",
            ),
            *refused(
                f"{_KITE}; the `parquet` sink keeps rows it cannot decode as dead letters",
                "kite.failurePolicy=retry", "kite.error.dataset.uri",
            ),
            *refused(f"{_KITE}; {KEYTAB}", "auth.kerberosPrincipal", "auth.kerberosKeytab"),
            *refused(_KITE, "auth.proxyUser"),
        ),
        status=Status.NEVER,
        why="Kite is given up and Flume removed the sink in 1.10; the `parquet` sink with "
        "`format: {type: avro}` writes such datasets",
    ),
)  # fmt: skip

# -- search ----------------------------------------------------------------------------------------

_SOLR = _never("the morphline sink")
_MORPHLINE = (
    "morphlines are scripts for a Java library, Kite, which is given up; "
    "what `regex_extractor`, `search_replace` and the formats cannot do, write in Python as an "
    "interceptor of your own (docs/own-parts.md)"
)
_ELASTIC = _never("the Elasticsearch sink")
_ELASTIC_WHY = (
    "Flume removed the Elasticsearch sink in 1.10, and the transport it used is gone from "
    "Elasticsearch 8; " + _OWN + " with the package `elasticsearch` or `opensearch-py`"
)


def _elastic(kind: str, java_class: str, *props: str) -> FlumePart:
    return FlumePart(
        kind=f"elasticsearch_{kind}",
        types=(),
        java_class=f"org.apache.flume.sink.elasticsearch.{java_class}",
        props=refused(_ELASTIC, *props),
        status=Status.NEVER,
        why=_ELASTIC_WHY,
    )


SEARCH = (
    FlumePart(
        kind="sink",
        types=("morphline_solr",),
        java_class="org.apache.flume.sink.solr.morphline.MorphlineSolrSink",
        batch="batchSize",
        props=refused(
            _SOLR,
            "morphlineFile!", "morphlineId", "morphlineVariable.*", "batchSize=1000",
            "batchDurationMillis=1000",
            "handlerClass=org.apache.flume.sink.solr.morphline.MorphlineHandlerImpl",
            "isProductionMode=false",
            "recoverableExceptionClasses=org.apache.solr.client.solrj.SolrServerException",
            "isIgnoringRecoverableExceptions=false",
        ),
        status=Status.NEVER,
        why=f"{_MORPHLINE}; for Solr itself {_OWN} that posts to its HTTP interface",
    ),
    FlumePart(
        kind="interceptor",
        types=(),
        java_class="org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder",
        props=refused(
            _never("the morphline interceptor"),
            "morphlineFile!", "morphlineId", "morphlineVariable.*",
        ),
        status=Status.NEVER,
        why=_MORPHLINE,
    ),
    FlumePart(
        kind="sink",
        types=("elasticsearch",),
        java_class="org.apache.flume.sink.elasticsearch.ElasticSearchSink",
        batch="batchSize",
        props=refused(
            _ELASTIC,
            "hostNames!", "indexName=flume", "indexType=log", "clusterName=elasticsearch",
            "batchSize=100", "ttl",
            "serializer=org.apache.flume.sink.elasticsearch.ElasticSearchLogStashEventSerializer",
            "serializer.*",
            "indexNameBuilder=org.apache.flume.sink.elasticsearch.TimeBasedIndexNameBuilder",
            "indexNameBuilder.*", "client=transport", "client.*",
        ),
        status=Status.NEVER,
        why=_ELASTIC_WHY,
    ),
    _elastic("serializer", "ElasticSearchLogStashEventSerializer"),
    _elastic("serializer", "ElasticSearchDynamicSerializer"),
    _elastic(
        "index_name_builder", "TimeBasedIndexNameBuilder",
        "dateFormat=yyyy-MM-dd", "timeZone=Etc/UTC",
    ),
    _elastic("index_name_builder", "SimpleIndexNameBuilder"),
)  # fmt: skip

# -- JDBC channel ----------------------------------------------------------------------------------

_JDBC = "a `file` channel keeps its rows in files of its own and needs no database; remove it"
JDBC = (
    FlumePart(
        kind="channel",
        types=("jdbc",),
        java_class="org.apache.flume.channel.jdbc.JdbcChannel",
        props=(
            *refused(
                _JDBC,
                "db.type=DERBY", "driver.class=org.apache.derby.jdbc.EmbeddedDriver",
                "driver.url", "db.username=sa", "db.password", "connection.properties.file",
                "create.schema=true", "create.index=true", "create.foreignkey=true",
                "transaction.isolation=READ_COMMITTED", "maximum.connections=10",
                "sysprop.*", "org.apache.flume.channel.jdbc.*",
            ),
            *refused("is `capacity` of a `file` channel", "maximum.capacity=0"),
            *refused("is `dataDirs` of a `file` channel", "sysprop.user.home"),
        ),
        status=Status.NEVER,
        why="use `type = file`: it is durable as well and needs no database. Let Flume deliver "
        "what is in the database before you change over",
    ),
)  # fmt: skip

PARTS = (*HIVE, *HBASE, *KUDU, *KITE, *SEARCH, *JDBC)
