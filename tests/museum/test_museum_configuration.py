"""Museum, configuration: options that take a guarantee away without a word, or are not heeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.config import AgentPlan, load
from rayflume.errors import ConfigError

TEXT = """\
agent: museum
guarantee: {guarantee}
sources:
  web: {{type: taildir, paths: [in/*.log], channels: [wal]}}
channels:
  wal: {channel}
sinks:
  lake: {{type: parquet, channel: wal, path: lake, format: {{type: text}}{more}}}
"""
FILE = "{type: file, directory: wal}"


def loaded(directory: Path, **given: str) -> AgentPlan:
    values = {"guarantee": "exactly_once", "channel": FILE, "more": "", **given}
    path = directory / "agent.yaml"
    path.write_text(TEXT.format(**values))
    return load(path, environ={})


def test_kafka_connect_s3_341_no_option_voids_exactly_once_in_silence(tmp_path: Path) -> None:
    """Reference: confluentinc/kafka-connect-storage-cloud#341, #388, #165. One rotation option took
    exactly-once away, which only its documentation said. rayflume computes what a plan guarantees
    and refuses one that gives less than it asks for, naming the part that is to blame.
    """
    assert loaded(tmp_path, more=", roll: {age: 1s, idle: 1s, rows: 10}").agent
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, channel="{type: memory}")
    assert "at_least_once" in str(caught.value) and "wal" in str(caught.value)
    assert loaded(tmp_path, channel="{type: memory}", guarantee="at_least_once").agent


def test_flume_memory_channel_bad_values_are_not_replaced_by_defaults(tmp_path: Path) -> None:
    """Reference: apache/logging-flume MemoryChannel.configure. A capacity that was not positive was
    replaced by the default, with a line in the log. In rayflume a bad value is an error that names
    the place and the value, and nothing starts.
    """
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, channel="{type: file, directory: wal, capacity: {events: -5}}")
    assert "channels.wal" in str(caught.value) and "-5" in str(caught.value)


def test_vector_3829_sizes_have_one_unit_and_wrong_names_are_errors(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#3829, #21696. `max_bytes` counted bytes in memory, so that 50
    MB made files of 4 to 13 MB. rayflume's roll.bytes is encoded bytes in the store; an option by
    the old name is refused with the right one beside it.
    """
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, more=", roll: {byte: 50MiB}")
    assert "bytes" in str(caught.value)
    plan = loaded(tmp_path, more=", roll: {bytes: 50MiB}")
    assert plan.sinks["lake"].options["roll"] == {"bytes": "50MiB"}
