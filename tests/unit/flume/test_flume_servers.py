"""What Flume's listening sources have in common, and its netcat sources, as rayflume's options."""

from __future__ import annotations

from pathlib import Path

import pytest
from flume_tables import BEGIN, flume_file, told

from rayflume.component import lookup as lookup_part
from rayflume.flume.names import Severity, lookup
from rayflume.flume.servers import SERVER_TLS, address_of, listens
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
    ("options", "is_open", "said"),
    [
        ({"host": "localhost"}, False, []),
        ({"host": "::1"}, False, []),
        ({"host": "10.0.0.1"}, True, []),
        ({"host": "10.0.0.1", "ssl": True, "keystore": "k.p12"}, False, []),
        ({"host": "10.0.0.1", "ssl": True}, False, [(Severity.ERROR, "keystore")]),
    ],
)
def test_s1_an_open_address_is_noticed(
    options: dict[str, Json], is_open: bool, said: list[tuple[Severity, str]]
) -> None:
    options = dict(options)
    remarks = list(listens("host")(options, {"host": "given"}))
    assert [(remark.severity, remark.name) for remark in remarks] == said
    assert address_of(options) == ("10.0.0.1" if is_open else "")


NET = BEGIN.replace("= seq", "= netcat") + "a1.sources.r1.port = 4000\n"


def warned(text: str, directory: Path) -> list[str]:
    file = flume_file(directory, text)
    assert file.agents["a1"].plan is not None, told(file)
    return [line for line in told(file) if "from other hosts" in line]


def test_s1_open_sources_are_told_once_with_what_each_can_do(tmp_path: Path) -> None:
    text = f"{NET}a1.sources.r1.bind = 0.0.0.0\n".replace(
        "a1.sources = r1", "a1.sources = r1 r2 r3"
    )
    text += (
        "a1.sources.r2.type = syslogudp\na1.sources.r2.port = 514\na1.sources.r2.channels = c1\n"
    )
    text += (
        "a1.sources.r3.type = syslogtcp\na1.sources.r3.port = 514\na1.sources.r3.channels = c1\n"
    )
    text += "a1.sources.r3.host = 10.0.0.1\n"
    assert warned(text, tmp_path) == [
        "10 warning a1.sources.r1.bind: r1 on 0.0.0.0, r2 on 0.0.0.0, r3 on 10.0.0.1 can all be "
        "reached from other hosts, in plain and by anybody, as in Flume; bind 127.0.0.1, or for "
        "netcat a certificate in YAML, for Flume's has no TLS; for syslogudp ip_filter_rules in "
        "YAML, for UDP has no TLS; for syslogtcp ssl = true with a keystore"
    ]


def test_s1_a_source_of_this_host_alone_is_not_told(tmp_path: Path) -> None:
    assert warned(f"{NET}a1.sources.r1.bind = 127.0.0.1\n", tmp_path) == []


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("", "in plain and by anybody, as in Flume; bind 127.0.0.1, or for http ssl = true with a "
         "keystore and SslContextFactory.needClientAuth = true (or a token, in YAML)"),
        ("ssl = true\nkeystore = k.p12", "r1 on 0.0.0.0 can be reached from other hosts, by "
         "anybody, as in Flume; bind 127.0.0.1, or for http SslContextFactory.needClientAuth"),
        ("ssl = true\nkeystore = k.p12\nSslContextFactory.needClientAuth = true\n"
         "SslContextFactory.trustStorePath = t.pem", ""),
    ],
)  # fmt: skip
def test_s1_an_https_source_of_flume_runs_and_is_told_to_be_open(
    lines: str, sentence: str, tmp_path: Path
) -> None:
    own = "".join(f"a1.sources.r1.{line}\n" for line in lines.splitlines())
    text = NET.replace("= netcat", "= http") + own
    found = warned(text, tmp_path)
    assert len(found) == bool(sentence) and all(sentence in line for line in found), found
    plan = flume_file(tmp_path, text).agents["a1"].plan
    assert plan is not None
    lookup_part("source", "http").model_validate(plan.sources["r1"].options)._check()  # type: ignore[attr-defined]


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
