"""Small tables of Flume's names for tests of what is done with tables, whatever they hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rayflume.config import AgentPlan, PartPlan
from rayflume.flume import names
from rayflume.flume.names import FlumePart, Prop, Remark, Severity, Status
from rayflume.flume.parts import agent, processors
from rayflume.flume.read import FlumeFile, findings_of, read_flume
from rayflume.flume.readers import flag, seconds, whole, words
from rayflume.flume.values import Surroundings
from rayflume.flume.yaml_text import yaml_text
from rayflume.interfaces import Json

ERROR = Severity.ERROR


def _finish(options: dict[str, Json], given: Mapping[str, str]) -> Iterator[Remark]:
    if given.get("totalEvents") == "13":
        yield Remark("13 brings bad luck", ERROR, "totalEvents")
    if "totalEvents" not in given:
        yield Remark("it never ends", Severity.NOTE)


TABLES = (
    *agent.PARTS,
    *processors.PARTS,
    FlumePart(
        "source", ("seq",), "org.apache.flume.source.SequenceGeneratorSource", "seq",
        (
            Prop("batchSize", "1", "batch_size", whole),
            Prop("totalEvents", "9223372036854775807", "total_events", whole),
            Prop("total-events", option="total_events", read=whole),
            Prop("streamName", option="id"),
            Prop("threads", "5", why="one loop counts"),
            Prop("keytab", severity=ERROR, why="a keytab is not read; say `kinit`"),
        ),
        batch="batchSize",
        finish=_finish,
    ),
    FlumePart(
        "source", ("kafka",), "org.apache.flume.source.kafka.KafkaSource",
        props=(
            Prop("kafka.topics", required=True, why="x"),
            Prop("batchSize", "1000", why="x"),
        ),
        status=Status.NOT_YET, why="it has an issue of its own", batch="batchSize",
    ),
    FlumePart(
        "source", ("http",), "org.apache.flume.source.http.HTTPSource", "http",
        (Prop("port", option="port", read=whole, required=True), Prop("token", option="token")),
    ),
    FlumePart(
        "channel", ("memory",), "org.apache.flume.channel.MemoryChannel", "memory",
        (
            Prop("capacity", "100", "capacity.events", whole, lenient=True),
            Prop("transactionCapacity", "100", why="for comparison", severity=Severity.NOTE),
            Prop("keep-alive", "3", "lease_timeout", seconds, why="the lease of a sink"),
        ),
        capacity="transactionCapacity",
    ),
    FlumePart("sink", ("null",), "org.apache.flume.sink.NullSink", "null", (
        Prop("logEveryNEvents", "10000", "log_every_n_events", whole),
        Prop("batchSize", "100", why="rows are discarded as they come"),
    ), batch="batchSize"),
    FlumePart("sink", ("logger",), "org.apache.flume.sink.LoggerSink", "logger", (
        Prop("maxBytesToLog", "16", "max_bytes_to_log", whole),
    )),
    FlumePart("sink", ("irc",), "", status=Status.NEVER, why="write to a file instead"),
    FlumePart("interceptor", ("static",), "org.apache.flume.interceptor.StaticInterceptor$Builder",
        "static", (
            Prop("key", "key", "key"), Prop("value", "value", "value"),
            Prop("preserveExisting", "true", "preserve_existing", flag),
        )),
    FlumePart("interceptor", ("host",), "org.apache.flume.interceptor.HostInterceptor$Builder",
        "host", (Prop("hostHeader", "host", "host_header"), Prop("useIP", "true", "use_ip", flag))),
    FlumePart("channel_selector", ("replicating",), "", "replicating", (
        Prop("optional", option="optional", read=words),
    )),
)  # fmt: skip


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flume has these parts and no others."""
    names._by_name.cache_clear()
    monkeypatch.setattr(names, "all_parts", lambda: TABLES)
    yield
    names._by_name.cache_clear()


BEGIN = """\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
"""


def flume_file(
    directory: Path, text: str | bytes, environ: Mapping[str, str] | None = None, **more: object
) -> FlumeFile:
    """The reading of a file `f.properties` with that text."""
    path = directory / "f.properties"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    around = Surroundings(environ or {}, **more)  # type: ignore[arg-type]
    return read_flume([path], around)


def bare(plan: AgentPlan) -> AgentPlan:
    """Without file and lines."""
    folders = {
        name: {key: _bare(part) for key, part in getattr(plan, name).items()}
        for name in ("sources", "channels", "sinks")
    }
    groups = getattr(plan, "groups", {})
    if groups:
        folders["groups"] = {
            name: dataclasses.replace(group, line=0, processor=_bare(group.processor))
            for name, group in groups.items()
        }
    return dataclasses.replace(plan, file="", line=0, **folders)  # type: ignore[arg-type]


def _bare(part: PartPlan) -> PartPlan:
    return dataclasses.replace(
        part,
        line=0,
        selector=part.selector and _bare(part.selector),
        interceptors=tuple(map(_bare, part.interceptors)),
    )


def as_yaml(file: FlumeFile, directory: Path, agent: str) -> Path:
    """The agent converted, in a file."""
    path = directory / "converted.yaml"
    path.write_text(yaml_text(file.chosen(agent), findings_of(file, agent), file.files))
    return path


def told(file: FlumeFile) -> list[str]:
    """The findings, without the name of the file."""
    return [
        f"{one.place.line} {one.severity}{' fatal' if one.fatal else ''} {one.key}: {one.text}"
        for one in file.findings
    ]
