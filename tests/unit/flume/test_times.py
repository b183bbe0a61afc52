"""A path that asks for a time: it is told which events have none, and only if some have none."""

from __future__ import annotations

from pathlib import Path

import pytest
from flume_tables import BEGIN, flume_file

HDFS = BEGIN.replace("= null", "= hdfs") + "a1.sinks.k1.hdfs.path = hdfs://nn/flume/%Y\n"
INTERCEPTOR = "a1.sources.r1.interceptors = i j\na1.sources.r1.interceptors.j.type = host\n"


def notes(text: str, directory: Path) -> list[str]:
    file = flume_file(directory, text)
    assert file.agents["a1"].plan is not None
    return [one.text for one in file.findings if "without a header `timestamp`" in one.text]


def chain(lines: str) -> str:
    own = "".join(f"a1.sources.r1.interceptors.i.{line}\n" for line in lines.splitlines())
    return f"{HDFS}{INTERCEPTOR}{own}"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("type = timestamp", False),
        ("type = timestamp\nheaderName = when", True),
        ("type = static\nkey = timestamp\nvalue = 0", False),
        ("type = static", True),
        ("type = regex_extractor\nregex = (a)\nserializers = s\nserializers.s.name = timestamp",
         False),
        ("type = regex_extractor\nregex = (a)\nserializers = s\nserializers.s.name = x", True),
    ],
)  # fmt: skip
def test_the_note_depends_on_what_the_interceptors_set(
    lines: str, told: bool, tmp_path: Path
) -> None:
    assert bool(notes(chain(lines), tmp_path)) is told


@pytest.mark.parametrize("lines", ["withName = timestamp", "fromList = a,timestamp"])
def test_a_header_that_is_removed_is_not_there(lines: str, tmp_path: Path) -> None:
    text = chain("type = timestamp").replace("j.type = host", "j.type = remove_header")
    assert notes(f"{text}a1.sources.r1.interceptors.j.{lines}\n", tmp_path)


def test_nothing_is_told_where_no_header_is_read(tmp_path: Path) -> None:
    assert notes(HDFS, tmp_path)
    assert not notes(f"{HDFS}a1.sinks.k1.hdfs.useLocalTimeStamp = true\n", tmp_path)
    assert not notes(HDFS.replace("/%Y", ""), tmp_path)


def test_messages_of_syslog_have_their_time(tmp_path: Path) -> None:
    lines = "a1.sources.r1.host = localhost\na1.sources.r1.port = 5140\n"
    assert not notes(HDFS.replace("= seq", "= syslogtcp") + lines, tmp_path)


def test_the_note_names_the_sources_without(tmp_path: Path) -> None:
    other = "a1.sources.r2.type = seq\na1.sources.r2.channels = c1\n"
    text = chain("type = timestamp").replace("a1.sources = r1", "a1.sources = r1 r2")
    [note] = notes(text + other, tmp_path)
    assert "(nothing of r2 sets it)" in note


def test_a_sink_that_is_alone_is_told_as_well(tmp_path: Path) -> None:
    text = "\n".join(line for line in HDFS.splitlines() if ".sources" not in line)
    assert len(notes(text, tmp_path)) == 1
