"""`rayflume gc`: on a local lake, in memory and on S3, with the agent running and stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import put_numbers
from servers import S3Server

from rayflume.agent.parts import Place
from rayflume.channels._journaled import JournaledChannel
from rayflume.cli import run
from rayflume.clock import SystemClock
from rayflume.config import component_of, load
from rayflume.interfaces import Manifest, Storage
from rayflume.journal.reader import decode_rows
from rayflume.sinks.parquet import ParquetSink

Captured = pytest.CaptureFixture[str]
FOREIGN = "ffffffffffffffff-1-1"


@dataclass
class Agent:
    """An agent's channel and sink, driven by hand."""

    conf: Path
    channel: JournaledChannel
    sink: ParquetSink

    def stage(self, holder: str) -> Manifest:
        """Take the oldest put and stage it."""
        taken = self.channel.take(holder, "", 1, 0)
        assert taken.rows == 10
        writer = self.sink.begin(taken.delivery)
        for ref in taken.refs:
            [record] = self.channel.fetch([ref])
            writer.write(decode_rows(record, ref), ref.position)
        return writer.stage()

    def staged(self, journal: str = "") -> set[str]:
        storage: Storage = self.sink.storage
        return {delivery for delivery, _ in storage.staged(journal or self.journal)}

    @property
    def journal(self) -> str:
        return self.channel.info().journal

    def reopen(self) -> None:
        self.channel.close()
        self.channel.open()


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    options: dict[str, Any] = {"path": "lake"}
    if request.param == "memory":
        options = {"path": f"memory://{tmp_path.name}"}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("moto_s3")
        options = {"path": f"s3://{server.bucket()}/lake", "storage": server.options}
    sink = {"type": "parquet", "channel": "wal", "format": {"type": "text"}, **options}
    channel = {"type": "file", "directory": "wal", "capacity": {"bytes": "16MiB"}}
    return agent_of(tmp_path, {"channels": {"wal": channel}, "sinks": {"lake": sink}})


def agent_of(directory: Path, parts: dict[str, Any]) -> Agent:
    source = {"n": {"type": "seq", "channels": ["wal"]}}
    conf = directory / "c.yaml"
    conf.write_text(yaml.safe_dump({"agent": "tidy", "sources": source, **parts}))
    plan = load(conf)
    channel = component_of(plan.channels["wal"]).build(
        Place(plan, plan.channels["wal"]).context(SystemClock())
    )
    channel.open()
    sink = component_of(plan.sinks["lake"]).build(
        Place(plan, plan.sinks["lake"]).context(SystemClock())
    )
    sink.open()
    return Agent(conf, channel, sink)


def collected(agent: Agent, capsys: Captured, *options: str) -> tuple[set[str], int]:
    """Deliveries of what `rayflume gc --json` names, and how many it keeps."""
    capsys.readouterr()
    assert run(["gc", str(agent.conf), "--json", *options]) == 0
    [looked] = json.loads(capsys.readouterr().out)
    assert looked["deleted"] == ("--dry-run" not in options)
    assert all(staged["size"] > 0 for staged in looked["garbage"])
    return {staged["delivery"] for staged in looked["garbage"]}, looked["kept"]


def test_only_what_nobody_will_publish_is_deleted(agent: Agent, capsys: Captured) -> None:
    put_numbers(agent.channel, 0, 10)
    orphan = agent.stage("lake/0/a").delivery
    agent.reopen()
    prepared = agent.stage("lake/0/b")
    agent.channel.prepare(prepared, "lake/0/b")
    put_numbers(agent.channel, 10, 20)
    given_up = agent.stage("lake/0/b").delivery
    agent.channel.release(given_up)
    agent.channel.garbage([])  # what it does first: the Revoked record is durable
    open_now = agent.stage("lake/0/b").delivery
    agent.sink.begin(FOREIGN).stage()
    foreign = agent.sink.storage.stage(f"part-{FOREIGN}-0.parquet", FOREIGN)
    foreign.write(b"another's")
    foreign.finish()
    everything = {orphan, prepared.delivery, given_up, open_now}
    assert agent.staged() == everything

    assert collected(agent, capsys, "--dry-run") == ({orphan, given_up}, 2)
    assert agent.staged() == everything
    assert collected(agent, capsys) == ({orphan, given_up}, 2)
    assert agent.staged() == {prepared.delivery, open_now}

    agent.channel.close()
    assert collected(agent, capsys, "--dry-run") == ({open_now}, 1)
    assert collected(agent, capsys) == ({open_now}, 1)
    assert collected(agent, capsys) == (set(), 1)
    agent.channel.open()
    assert agent.staged() == {prepared.delivery}
    assert agent.staged("f" * 16) == {FOREIGN}
    assert agent.sink.publish(prepared) == []
    agent.channel.commit(prepared.delivery)
    agent.channel.close()
    agent.sink.close()


def test_for_people_it_says_what_and_how_much(tmp_path: Path, capsys: Captured) -> None:
    channel = {"type": "file", "directory": "wal", "capacity": {"bytes": "16MiB"}}
    sink = {"type": "parquet", "channel": "wal", "format": {"type": "text"}, "path": "lake"}
    parts = {"channels": {"wal": channel}, "sinks": {"lake": sink, "log": LOGGER}}
    agent = agent_of(tmp_path, parts)
    put_numbers(agent.channel, 0, 10)
    delivery = agent.stage("lake/0/a").delivery
    agent.reopen()
    assert run(["gc", str(agent.conf), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert delivery in text and "_rayflume/staging/" in text
    assert "lake: 0 staged files are kept; the journal is in use by tidy/wal on " in text
    assert "log: not judged: it stages nothing\n" in text
    [size] = [path.stat().st_size for path in tmp_path.rglob("*.staged")]
    assert text.endswith(f"1 staged files ({size} B) would be deleted\n")
    agent.channel.close()


LOGGER = {"type": "logger", "channel": "wal"}


def test_a_damaged_journal_judges_nothing(tmp_path: Path, capsys: Captured) -> None:
    channel = {"type": "file", "directory": "wal", "capacity": {"bytes": "16MiB"}}
    sink = {"type": "parquet", "channel": "wal", "format": {"type": "text"}, "path": "lake"}
    agent = agent_of(tmp_path, {"channels": {"wal": channel}, "sinks": {"lake": sink}})
    put_numbers(agent.channel, 0, 10)
    put_numbers(agent.channel, 10, 20)
    agent.channel.prepare(agent.stage("lake/0/a"), "lake/0/a")
    put_numbers(agent.channel, 20, 30)
    agent.channel.close()
    [segment] = (tmp_path / "wal").glob("segment-*")
    data = bytearray(segment.read_bytes())
    data[data.index(b'"sink":"lake"')] ^= 1
    segment.write_bytes(data)
    assert run(["gc", str(agent.conf)]) == 1
    error = capsys.readouterr().err
    assert "is damaged, so it can't tell what is garbage" in error and "--repair" in error
    assert len(list(tmp_path.rglob("*.staged"))) == 1


def test_without_a_journal_nothing_is_judged_and_none_is_made(
    tmp_path: Path, capsys: Captured
) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(
        "agent: a\nsources: {n: {type: seq, channels: [wal]}}\n"
        "channels: {wal: {type: file, directory: wal}}\n"
        "sinks: {lake: {type: parquet, channel: wal, path: lake, format: {type: text}}}\n"
    )
    assert run(["gc", str(conf)]) == 0
    assert "lake: not judged: channel wal has no journal on this host" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_what_a_running_memory_channel_prepared_is_not_judged(
    tmp_path: Path, capsys: Captured
) -> None:
    sink = {"type": "parquet", "channel": "wal", "format": {"type": "text"}, "path": "lake"}
    parts = {"channels": {"wal": {"type": "memory"}}, "sinks": {"lake": sink}, "state_dir": "state"}
    agent = agent_of(tmp_path, parts)
    put_numbers(agent.channel, 0, 10)
    delivery = agent.stage("lake/0/a")
    agent.channel.prepare(delivery, "lake/0/a")
    assert (
        collected_none(agent, capsys)
        == "what a memory channel has prepared is known only to its process"
    )
    assert agent.staged() == {delivery.delivery}
    agent.channel.close()
    assert collected(agent, capsys) == ({delivery.delivery}, 0)


def collected_none(agent: Agent, capsys: Captured) -> str:
    assert run(["gc", str(agent.conf), "--json"]) == 0
    [looked] = json.loads(capsys.readouterr().out)
    assert looked["garbage"] == []
    return str(looked["not_judged"])
