"""Flume's names of the syslog sources: what cannot be said property by property."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.flume import names
from rayflume.flume.names import FlumePart, Severity
from rayflume.interfaces import Json
from rayflume.metrics import Metrics


def part_of(name: str) -> FlumePart:
    part = names.lookup("source", name)
    assert part is not None and part.finish is not None
    return part


def translated(name: str, given: dict[str, str]) -> tuple[dict[str, Json], list[str]]:
    """The options, as the translation makes them of these tables, and what is remarked."""
    part = part_of(name)
    options: dict[str, Json] = {}
    defaults = {
        p.name: p.default for p in part.props if p.default is not None and "<" not in p.name
    }
    for key, text in {**defaults, **given}.items():
        prop = part.find(key)
        assert prop is not None and text is not None
        if prop.option:
            *path, last = prop.path(prop.match(key) or {})
            place = options
            for step in path:
                inner = place.setdefault(step, {})
                assert isinstance(inner, dict)
                place = inner
            place[last] = prop.read(text)
    assert part.finish is not None
    remarks = [f"{one.name}: {one.text}" for one in part.finish(options, given)]
    # What comes out is what the part takes.
    context = Context("a", "s", ManualClock(), Metrics(), Path("/nowhere"))
    lookup("source", part.type).model_validate(options).build(context)
    return options, remarks


LOOPBACK = {"host": "127.0.0.1", "port": "5140"}
MULTIPORT = {"host": "127.0.0.1", "ports": "5140 5141"}


def test_defaults_of_flume() -> None:
    options, remarks = translated("syslogtcp", LOOPBACK)
    assert remarks == []
    assert (options["event_size"], options["keep_fields"]) == (2500, "none")
    assert options["port"] == 5140


def test_every_address_is_remarked() -> None:
    options, remarks = translated("syslogudp", {"port": "5140"})
    assert options["host"] == "0.0.0.0"
    assert options["dangerously_allow_anonymous"] is True
    assert remarks == []  # told for all sources together


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("TRUE", "all"),
        ("false", "none"),
        ("hostname,Priority", ["priority", "hostname"]),
        ("all timestamps", ["timestamp"]),
    ],
)
def test_kept_fields(text: str, option: object) -> None:
    options, remarks = translated("syslogudp", LOOPBACK | {"keepFields": text})
    assert (options["keep_fields"], remarks) == (option, [])


def test_kept_fields_that_are_none() -> None:
    options, remarks = translated("multiport_syslogtcp", MULTIPORT | {"keepFields": "yes"})
    assert options["keep_fields"] == "none"
    assert remarks == [
        "keepFields: 'yes' names none of priority, version, timestamp, hostname, so none is kept,"
        " as in Flume"
    ]


def test_a_form_of_the_users_own() -> None:
    form = {"format.regex": "(.*)", "format.search": "T", "format.replace": " "}
    options, remarks = translated("syslogtcp", LOOPBACK | form)
    assert options["format"] == {"regex": "(.*)", "search": "T", "replace": " "}
    assert remarks == []


def test_a_form_without_its_expression_does_nothing() -> None:
    options, remarks = translated("syslogudp", LOOPBACK | {"format.dateFormat": "yyyy"})
    assert "format" not in options
    assert "without format.regex" in remarks[0]


def test_a_replacement_of_nothing() -> None:
    form = {"format.regex": "(.*)", "format.replace": " "}
    options, remarks = translated("syslogtcp", LOOPBACK | form)
    assert options["format"] == {"regex": "(.*)"}
    assert remarks == ["format.replace: does nothing without format.search"]


def test_several_ports() -> None:
    given = {
        "host": "127.0.0.1",
        "ports": "10001 10002  10001",
        "charset.default": "ISO-8859-1",
        "charset.port.10002": "UTF-8",
        "charset.port.9": "UTF-8",
        "portHeader": "port",
        "readBufferBytes": "4096",
    }
    options, remarks = translated("multiport_syslogtcp", given)
    assert options["ports"] == [10001, 10002]
    assert options["charset"] == {"default": "ISO-8859-1", "port": {"10002": "UTF-8"}}
    assert options["port_header"] == "port"
    assert remarks == [
        "ports: a port is there twice; the second is ignored",
        "charset.port.9: 9 is none of the ports",
    ]


@pytest.mark.parametrize(
    "name", ["batchSize", "readBufferBytes", "readBufferSize", "numProcessors"]
)
def test_what_needs_no_option_is_only_noted(name: str) -> None:
    prop = part_of("multiport_syslogtcp").find(name)
    assert prop is not None
    assert (prop.option, prop.severity) == ("", Severity.NOTE)
    assert prop.why
