"""What Flume's listening sources have in common, and its netcat sources, as rayflume's options."""

from __future__ import annotations

import pytest

from rayflume.flume.names import Severity, lookup
from rayflume.flume.servers import SERVER_TLS, listens
from rayflume.interfaces import Json

OPTIONS: dict[str, Json] = {"keystore": "k.p12", "exclude_protocols": ["SSLv3"]}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (
            {"bind": "127.0.0.1", "ssl": False, **OPTIONS},
            {"bind": "127.0.0.1", "max_connections_per_address": 1000},
        ),
        (
            {"bind": "0.0.0.0", "ssl": True, **OPTIONS},
            {"bind": "0.0.0.0", "ssl": True, **OPTIONS, "max_connections_per_address": 1000},
        ),
        (
            {},
            {
                "bind": "0.0.0.0",
                "dangerously_allow_anonymous": True,
                "max_connections_per_address": 1000,
            },
        ),
    ],
)
def test_options_of_a_listening_source(options: dict[str, Json], left: dict[str, Json]) -> None:
    options = dict(options)
    list(listens()(options, {}))
    assert options == left


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "localhost"}, []),
        ({"host": "::1"}, []),
        ({"host": "10.0.0.1"}, [(Severity.WARNING, "host")]),
        ({"host": "10.0.0.1", "ssl": True, "keystore": "k.p12"}, []),
        ({"host": "10.0.0.1", "ssl": True}, [(Severity.ERROR, "keystore")]),
    ],
)
def test_s1_an_open_address_is_warned_about(
    options: dict[str, Json], said: list[tuple[Severity, str]]
) -> None:
    remarks = listens("host")(dict(options), {"host": "given"})
    assert [(remark.severity, remark.name) for remark in remarks] == said


def test_the_netcat_sources() -> None:
    netcat, udp = lookup("source", "netcat"), lookup("source", "NETCATUDP")
    assert netcat is not None
    assert udp is not None
    found = netcat.find("max-line-length")
    assert found is not None
    assert (found.option, found.read(found.default or "")) == ("max_line_length", 512)
    for name in ("remoteAddress", "remoteAddressHeader"):
        prop = udp.find(name)
        assert prop is not None
        assert prop.option == "remote_address"
    assert {prop.name for prop in SERVER_TLS} >= {"ssl", "keystore", "exclude-cipher-suites"}
