"""The table of Flume's names: finding parts and properties, and reading values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rayflume.component import FOLDERS, lookup, types_of
from rayflume.flume import names, readers
from rayflume.flume.names import FlumePart, Prop, Severity, Status

UNNAMED = ("agent", "sink_group", "system_property")
MEMORY = names.lookup("channel", "memory")


@pytest.mark.parametrize(
    "name", ["memory", "MEMORY", "Memory", "org.apache.flume.channel.MemoryChannel"]
)
def test_a_part_is_found_by_alias_and_class_without_regard_to_case(name: str) -> None:
    assert MEMORY is not None and names.lookup("channel", name) is MEMORY


@pytest.mark.parametrize("name", ["", "memor", "memory ", "org.apache.flume.channel"])
def test_nothing_else_is_that_part(name: str) -> None:
    assert names.lookup("channel", name) is None
    assert names.lookup("source", "memory") is None


@pytest.mark.parametrize(
    ("pattern", "name", "filled"),
    [
        ("port", "port", {}),
        ("port", "ports", None),
        ("hdfs.path", "hdfsxpath", None),
        ("filegroups.<group>", "filegroups.f1", {"group": "f1"}),
        ("filegroups.<group>", "filegroups.", None),
        ("mapping.<value>", "mapping.10.0.0.1", {"value": "10.0.0.1"}),
        ("headers.<group>.<key>", "headers.g.a.b", {"group": "g", "key": "a.b"}),
        ("serializers.<s>.type", "serializers.a.b.type", None),
        ("kafka.consumer.*", "kafka.consumer.a.b", {"*": "a.b"}),
        ("*", "anything.at.all", {"*": "anything.at.all"}),
    ],
)
def test_placeholders(pattern: str, name: str, filled: dict[str, str] | None) -> None:
    assert Prop(pattern, option="x").match(name) == filled


def test_a_placeholder_of_the_name_is_one_key_of_the_option() -> None:
    prop = Prop("headers.<group>.<key>", option="headers.<group>.<key>")
    filled = prop.match("headers.g.a.b")
    assert filled is not None and prop.path(filled) == ("headers", "g", "a.b")
    rest = Prop("kafka.consumer.*", option="consumer.<*>")
    assert rest.path({"*": "a.b"}) == ("consumer", "a.b")


def test_the_full_name_wins_over_placeholders_and_those_over_nested_parts() -> None:
    full, group = Prop("m.default", option="a"), Prop("m.<value>", option="b")
    inner = Prop("m", option="c", nested="event_serializer")
    part = FlumePart("sink", ("x",), "", "x", (inner, group, full))
    assert part.find("m.default") is full
    assert part.find("m.other") is group
    assert part.find("m") is inner
    assert FlumePart("sink", ("x",), "", "x", (inner,)).find("m.whatever") is inner
    assert part.find("n") is None


def test_what_every_source_has_is_known_of_each() -> None:
    part = FlumePart("source", ("x",), "", "x")
    for name in ("type", "channels", "selector.type", "selector.mapping.a.b", "interceptors.i.x"):
        assert part.find(name) is not None, name


def test_a_property_without_option_needs_a_reason_and_so_does_a_missing_part() -> None:
    with pytest.raises(ValueError, match="say why"):
        Prop("port")
    with pytest.raises(ValueError, match="say why"):
        FlumePart("source", ("x",), "", status=Status.NOT_YET)


def test_tables_name_parts_and_options_that_exist() -> None:
    for part in names.all_parts():
        assert part.types or part.java_class or part.kind in UNNAMED
        for prop in part.known:
            assert isinstance(prop.severity, Severity)
            if prop.default is not None and not prop.nested:
                prop.read(prop.default)
        kind = {"channel_selector": "selector"}.get(part.kind, part.kind)
        if part.type and kind in FOLDERS and part.type in types_of(kind):
            cls = lookup(kind, part.type)
            options = {prop.option.split(".")[0] for prop in part.props if prop.option}
            assert options <= set(cls.model_fields), f"{part.kind} {part.name}"


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (readers.text, " x", " x"),
        (readers.whole, "+12", 12),
        (readers.whole, "9223372036854775807", 2**63 - 1),
        (readers.number, "1.5", 1.5),
        (readers.number, "2f", 2.0),
        (readers.number, "7", 7),
        (readers.flag, "TRUE", True),
        (readers.flag, "yes", False),
        (readers.inverted, "true", False),
        (readers.words, " a\t b ", ["a", "b"]),
        (readers.commas, "a , b,,c", ["a", "b", "c"]),
        (readers.millis, "3000", "3s"),
        (readers.millis, "1500", "1500ms"),
        (readers.millis, "0", "0ms"),
        (readers.seconds, "90", "90s"),
        (readers.seconds, "3600", "1h"),
        (readers.size, "1024", "1KiB"),
        (readers.size, "1000", "1000B"),
        (readers.one_of({"never": "keep"}), "NEVER", "keep"),
        (readers.unless("0", readers.seconds), "0", None),
        (readers.unless("0", readers.seconds), "30", "30s"),
    ],
)
def test_readers(read: Callable[[str], object], text: str, value: object) -> None:
    got = read(text)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (readers.whole, "1_000"),
        (readers.whole, "0x10"),
        (readers.whole, "${env:PORT}"),
        (readers.whole, "9223372036854775808"),
        (readers.whole, "1" * 5_000),
        (readers.whole, "٣"),
        (readers.number, "1,5"),
        (readers.millis, "-1"),
        (readers.seconds, "30s"),
        (readers.one_of({"never": "keep"}), "always"),
    ],
)
def test_what_cannot_be_read_is_said(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read(text)
