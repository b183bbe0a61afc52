"""`--map` and `java_classes:`: a Python class in the place of a Java class."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.config import load, plan_of
from rayflume.config.java_classes import parse_maps
from rayflume.errors import ConfigError

PARTS = "\n".join(
    [
        "from rayflume.interceptors.host import Host",
        "from rayflume.sinks.null import Null",
        "class Tag(Host): ...",
        "class Gone(Null): ...",
    ]
)
YAML = """\
agent: a
sources:
  s: {type: seq, channels: [c], interceptors: [{type: com.example.Tag$Builder}]}
channels: {c: {type: memory}}
sinks:
  k: {type: com.example.Gone, channel: c}
"""
CLASSES = {"com.example.Tag$Builder": "java_parts.Tag", "com.example.Gone": "java_parts.Gone"}


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "java_parts.py").write_text(PARTS)
    path = tmp_path / "agent.yaml"
    path.write_text(YAML)
    return path


def test_the_section_of_a_file_maps_types_wherever_they_stand(conf: Path) -> None:
    conf.write_text(
        YAML
        + "java_classes:\n"
        + "".join(f"  {java}: {python}\n" for java, python in CLASSES.items())
    )
    plan = load(conf)
    assert plan.sinks["k"].type == "java_parts.Gone"
    assert plan.sources["s"].interceptors[0].type == "java_parts.Tag"


def test_what_the_command_says_wins_over_the_file(conf: Path) -> None:
    conf.write_text(YAML + "java_classes: {com.example.Gone: no_such_module.Gone}\n")
    assert load(conf, None, None, CLASSES).sinks["k"].type == "java_parts.Gone"


def test_without_it_the_error_names_class_and_line_and_says_how(conf: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(conf)
    tag, gone = raised.value.problems
    assert "agent.yaml:6: sinks.k.type: there is no module 'com.example'" in gone
    assert "`--map 'com.example.Gone=my_module.MyPart'`" in gone
    assert "agent.yaml:3: sources.s.interceptors[0].type: " in tag
    assert "--map 'com.example.Tag$Builder=my_module.MyPart'" in tag


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("[a.B]", "must be a mapping from Java classes to dotted names"),
        ("{com.example.Gone: go ne}", "com.example.Gone: 'go ne': write a pair of classes"),
        ("{Gone: java_parts.Gone}", "write a pair of classes"),
        ("{com.example.Gone: 5}", "write a pair of classes"),
    ],
)
def test_a_wrong_section(section: str, text: str, conf: Path) -> None:
    conf.write_text(YAML + f"java_classes: {section}\n")
    with pytest.raises(ConfigError, match="java_classes") as raised:
        load(conf)
    assert text in raised.value.message


def test_a_type_of_rayflume_may_take_its_place(conf: Path) -> None:
    classes = parse_maps(["com.example.Tag$Builder=host", "com.example.Gone=null"])
    plan = load(conf, None, None, classes)
    assert (plan.sinks["k"].type, plan.sources["s"].interceptors[0].type) == ("null", "host")


def test_pairs_and_files_of_pairs(tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("# ours\ncom.example.A = my_parts.A\n\ncom.example.B$C=my_parts.B # inner\n")
    given = ["com.example.D=my_parts.D", f"@{listed}", "com.example.A=my_parts.A"]
    assert parse_maps(given) == {
        "com.example.D": "my_parts.D",
        "com.example.A": "my_parts.A",
        "com.example.B$C": "my_parts.B",
    }


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            ["com.example.A"],
            "--map: 'com.example.A' is no pair of classes, such as com.example.MySink",
        ),
        (["com.example.A=a/b"], "is no pair of classes"),
        (["A=a.B"], "is no pair of classes"),
        (["x.A=a.A", "x.A=a.B"], "--map: x.A is mapped to a.A already; remove one"),
        (["@/no/such/file"], "cannot read /no/such/file: No such file or directory"),
    ],
)
def test_wrong_pairs(given: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_maps(given)
    assert text in raised.value.message


def test_a_wrong_line_of_a_file_is_named(tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("x.A=a.A\nx.B a.B\n")
    with pytest.raises(ConfigError, match=r"classes\.txt:2: 'x\.B a\.B' is no pair"):
        parse_maps([f"@{listed}"])
    listed.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        parse_maps([f"@{listed}"])


def test_values_may_look_like_classes(conf: Path) -> None:
    plan = plan_of(
        {
            "agent": "a",
            "sources": {
                "s": {
                    "type": "seq",
                    "channels": ["c"],
                    "interceptors": [{"type": "static", "value": "com.example.Gone"}],
                }
            },
            "channels": {"c": {"type": "memory"}},
            "sinks": {"k": {"type": "null", "channel": "c"}},
            "java_classes": CLASSES,
        },
        conf.parent,
    )
    assert plan.sources["s"].interceptors[0].options == {"value": "com.example.Gone"}
