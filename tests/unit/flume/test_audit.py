"""Flume files with the real tables: secrets in what is said, channels whose numbers do not go
together, agents of sources or sinks alone, parts that wait for their host.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from flume_tables import BEGIN, bare, flume_file, told

from rayflume.cli import run
from rayflume.cli.run_ import refuse_host
from rayflume.config import load as load_yaml
from rayflume.flume.read import load
from rayflume.flume.yaml_text import yaml_text

HTTP = BEGIN.replace("= seq", "= http") + (
    "a1.sources.r1.port = 0\na1.sources.r1.bind = localhost\n"
    "a1.sources.r1.ssl = true\na1.sources.r1.keystore = k.p12\n"
)
POST = BEGIN.replace("= null", "= http")
KEY = "a1.sources.r1.keystore-password"
JAAS = "a1.sources.r1.kafka.consumer.sasl.jaas.config"
ENDPOINT = "a1.sinks.k1.endpoint"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{HTTP}{KEY} = abc # canary", "what begins with `#` is part of the value"),
        (f"{HTTP}{KEY} = abc${{canary}}", "nothing is known of a `${...}` in it"),
        (f"{HTTP}{KEY} = abc${{env:canary}}", "nothing is known of a `${...}` in it"),
        (f'{BEGIN}{JAAS} = x password="a # canary";', "what begins with `#`"),
        (f"{POST}{ENDPOINT} = ftp://me:canary@host/", "'ftp://...@host/' is no URL"),
        (f"{POST}{ENDPOINT} = http://me:canary@host:99999/", "is no URL"),
        (f"{POST}{ENDPOINT} = http://me:canary@host/", "a user and a password in the URL are not"),
    ],
)
def test_s12_what_is_said_of_a_file_holds_no_secret(
    text: str, sentence: str, tmp_path: Path
) -> None:
    found = told(flume_file(tmp_path, text))
    assert any(sentence in line for line in found), found
    assert not any("canary" in line for line in found)


@pytest.mark.parametrize("asked", ["${env:PORT_OF_IT}", "${e['PORT_OF_IT']}"])
def test_s12_a_variable_in_the_wrong_place_is_not_told(asked: str, tmp_path: Path) -> None:
    filters = "a1.configfilters = e\na1.configfilters.e.type = env\n"
    text = f"{filters}{HTTP}a1.sources.r1.port = {asked}\n"
    file = flume_file(tmp_path, text, {"PORT_OF_IT": "canary"})
    found = told(file)
    assert any("'${PORT_OF_IT}' is not a whole number" in line for line in found), found
    assert not any("canary" in line for line in found)
    assert "canary" not in yaml_text(file.agents["a1"], file.findings, file.files)


def test_a_password_in_an_endpoint_is_left_out_and_the_sink_runs_as_in_flume(
    tmp_path: Path,
) -> None:
    file = flume_file(tmp_path, f"{POST}{ENDPOINT} = https://me:canary@host:8443/in?a=b@c")
    plan = file.agents["a1"].plan
    assert plan is not None
    assert plan.sinks["k1"].options["endpoint"] == "https://host:8443/in?a=b@c"


@pytest.mark.parametrize(
    ("numbers", "dropped"),
    [
        ("transactionCapacity = 1000", True),
        ("capacity = 1000\ntransactionCapacity = 1001", True),
        ("capacity = 10k\ntransactionCapacity = 101", True),  # Flume's default of 100 applies
        ("capacity = 0\ntransactionCapacity = 101", True),
        ("capacity = 1000\ntransactionCapacity = 1000", False),
        ("capacity = 100\ntransactionCapacity = many", False),
    ],
)
def test_a_transaction_larger_than_its_channel_drops_the_channel(
    numbers: str, dropped: bool, tmp_path: Path
) -> None:
    lines = "".join(f"a1.channels.c1.{line}\n" for line in numbers.splitlines())
    reading = flume_file(tmp_path, BEGIN + lines).agents["a1"]
    found = {one.dropped for one in reading.dropped}
    assert found == ({"channels.c1", "sources.r1", "sinks.k1"} if dropped else set())


@pytest.mark.parametrize("key", ["sources.r1", "sinks.k1"])
def test_the_yaml_of_sources_or_sinks_alone_can_be_loaded(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in BEGIN.splitlines(keepends=True) if f"{key}.type" not in line]
    file = flume_file(tmp_path, "".join(lines))
    plan = file.agents["a1"].plan
    assert plan is not None
    converted = tmp_path / "a1.yaml"
    converted.write_text(yaml_text(file.agents["a1"], (), file.files))
    assert bare(load_yaml(converted)) == bare(plan)


def test_an_extractor_without_serializers_drops_its_source_alone_as_in_flume(
    tmp_path: Path,
) -> None:
    text = BEGIN.replace("sources = r1", "sources = r1 r2") + (
        "a1.sources.r2.type = seq\na1.sources.r2.channels = c1\n"
        "a1.sources.r2.interceptors = i1\na1.sources.r2.interceptors.i1.type = regex_extractor\n"
        "a1.sources.r2.interceptors.i1.regex = (a)\n"
    )
    reading = flume_file(tmp_path, text).agents["a1"]
    assert [(one.key, one.dropped) for one in reading.dropped] == [
        ("a1.sources.r2.interceptors.i1.serializers", "sources.r2")
    ]
    assert reading.plan is not None and set(reading.plan.sources) == {"r1"}


MISSING = BEGIN.replace("sources = r1", "sources = r1 r2") + (
    "a1.sources.r1.totalEvents = 5\na1.sources.r2.type = spooldir\n"
    "a1.sources.r2.spoolDir = gone\na1.sources.r2.channels = c1\n"
)
ALONE = MISSING.replace("sources = r1 r2", "sources = r2")


def test_a_part_that_cannot_start_yet_stops_no_other_as_in_flume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flume goes on trying; only what would leave nothing to do is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("f.conf").write_text(MISSING)
    assert run(["validate", "f.conf"]) == 0
    lacks = (
        f"sources.r2: spool_dir: '{tmp_path}/gone' is no directory; create it or correct the path"
    )
    said = capsys.readouterr().out
    assert f"f.conf:10: error: {lacks}; until then sources.r2 is tried again and again" in said
    refuse_host(load("f.conf"), patient=True)
    assert capsys.readouterr().err.splitlines() == [
        "rayflume: a1 waits with sources.r2, tried again and again as in Flume:",
        f"f.conf:10: {lacks}",
    ]
    for text, option in ((ALONE, None), (MISSING, "--strict"), (MISSING, "--until-drained")):
        Path("f.conf").write_text(text)
        options = [option] if option else []
        assert run(["run", "f.conf", "--inline", *options]) == 2
        assert "is no directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "line", "default", "option"),
    [
        ("channels.c1", "memoryCapacity = many", "10000", 100_010_000),
        ("channels.c1", "memoryCapacity = -1", "10000", 100_010_000),
        ("channels.c1", "overflowCapacity = 1e9", "100000000", 100_010_000),
        ("sinks.k1", "maxBytesToLog = all", "16", None),
    ],
)
def test_a_number_that_flume_has_a_default_for_costs_no_part(
    part: str, line: str, default: str, option: int | None, tmp_path: Path
) -> None:
    text = BEGIN.replace("= memory", "= SPILLABLEMEMORY").replace("= null", "= logger")
    file = flume_file(tmp_path, f"{text}a1.{part}.{line}\n")
    plan = file.agents["a1"].plan
    assert plan is not None and not file.agents["a1"].dropped, told(file)
    assert any("warning" in one and f"the default {default} applies" in one for one in told(file))
    if option:
        assert plan.channels["c1"].options["capacity"] == {"events": option}
    else:
        assert "max_bytes_to_log" not in plan.sinks["k1"].options
