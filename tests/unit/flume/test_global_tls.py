"""TLS of all parts: `-D javax.net.ssl...` and FLUME_SSL_*, behind what a source says itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from flume_tables import BEGIN, as_yaml, bare, flume_file, told

from rayflume.config import load as load_yaml
from rayflume.interfaces import Json

TLS = BEGIN.replace("= seq", "= {}") + (
    "a1.sources.r1.{} = 10514\na1.sources.r1.{} = localhost\na1.sources.r1.ssl = true\n"
)
SYSLOG = TLS.format("syslogtcp", "port", "host")
ENVIRON = {
    "FLUME_SSL_KEYSTORE_PATH": "/etc/env.p12",
    "FLUME_SSL_KEYSTORE_PASSWORD": "canary-env",
    "FLUME_SSL_INCLUDE_PROTOCOLS": "TLSv1.2,TLSv1.3",
    "FLUME_SSL_EXCLUDE_PROTOCOLS": "TLSv1.3",
    "FLUME_SSL_INCLUDE_CIPHERSUITES": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, X",
    "FLUME_SSL_EXCLUDE_CIPHERSUITES": "X",
}
DEFINES = {
    "javax.net.ssl.keyStore": "/etc/java.p12",
    "javax.net.ssl.keyStorePassword": "canary-java",
    "flume.ssl.include.protocols": "TLSv1.3",
}
REFERRED: dict[str, Json] = {
    "keystore": "${FLUME_SSL_KEYSTORE_PATH}",
    "keystore_password": "${FLUME_SSL_KEYSTORE_PASSWORD}",
}
LISTS: dict[str, Json] = {
    "include_protocols": ["TLSv1.2", "TLSv1.3"],
    "exclude_protocols": ["TLSv1.3"],
    "include_cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "X"],
    "exclude_cipher_suites": ["X"],
}


def options(
    directory: Path, text: str, environ: Mapping[str, str], defines: Mapping[str, str]
) -> Mapping[str, Json]:
    plan = flume_file(directory, text, environ, defines=defines).agents["a1"].plan
    assert plan is not None
    return plan.sources["r1"].options


@pytest.mark.parametrize(
    "text",
    [
        SYSLOG,
        TLS.format("http", "port", "bind"),
        TLS.format("http", "port", "bind").replace("ssl", "enableSSL"),
        TLS.format("multiport_syslogtcp", "ports", "host"),
    ],
    ids=["syslogtcp", "http", "http, old name", "multiport_syslogtcp"],
)
def test_every_source_with_tls_takes_the_settings_of_all(text: str, tmp_path: Path) -> None:
    found = options(tmp_path, text, ENVIRON, {})
    assert {name: found.get(name) for name in (*REFERRED, *LISTS)} == REFERRED | LISTS


def test_a_property_of_java_comes_before_the_environment(tmp_path: Path) -> None:
    file = flume_file(tmp_path, SYSLOG, ENVIRON, defines=DEFINES)
    plan = file.agents["a1"].plan
    assert plan is not None
    found = plan.sources["r1"].options
    assert found["keystore"] == "/etc/java.p12"
    assert found["keystore_password"] == "${FLUME_SSL_KEYSTORE_PASSWORD}"
    assert found["include_protocols"] == ["TLSv1.3"]
    assert found["exclude_protocols"] == LISTS["exclude_protocols"]
    assert file.exported == {"FLUME_SSL_KEYSTORE_PASSWORD": "canary-java"}


OWN = (
    ("keystore = own.p12", "keystore", "own.p12"),
    ("keystore-password = own", "keystore_password", "own"),
    ("include-protocols = TLSv1.2", "include_protocols", ["TLSv1.2"]),
)


@pytest.mark.parametrize(("line", "option", "value"), OWN)
def test_what_a_source_says_itself_comes_first(
    line: str, option: str, value: Json, tmp_path: Path
) -> None:
    text = f"{SYSLOG}a1.sources.r1.{line}\n"
    assert options(tmp_path, text, ENVIRON, DEFINES)[option] == value


@pytest.mark.parametrize("name", ["keystorePassword", "SslContextFactory.keyStorePassword"])
def test_an_old_name_counts_as_said_by_the_source(name: str, tmp_path: Path) -> None:
    text = f"{TLS.format('http', 'port', 'bind')}a1.sources.r1.{name} = own\n"
    found = options(tmp_path, text, ENVIRON, DEFINES)
    assert found["keystore_password"] == "own"


def test_tls_is_switched_on_by_a_source_alone(tmp_path: Path) -> None:
    text = SYSLOG.replace("ssl = true", "ssl = false")
    found = options(tmp_path, text, ENVIRON, DEFINES)
    assert not {"ssl", *REFERRED, *LISTS} & set(found)


def test_without_a_key_store_anywhere_the_source_is_dropped(tmp_path: Path) -> None:
    file = flume_file(tmp_path, SYSLOG, {"FLUME_SSL_KEYSTORE_PATH": ""})
    assert [one.dropped for one in file.agents["a1"].dropped if one.dropped] == ["sources.r1"]


def test_s12_a_password_for_all_is_in_no_plan_and_no_sentence(tmp_path: Path) -> None:
    file = flume_file(tmp_path, SYSLOG, ENVIRON, defines=DEFINES)
    plan = file.agents["a1"].plan
    assert plan is not None
    assert "canary" not in plan.to_json()
    assert "canary" not in as_yaml(file, tmp_path, "a1").read_text()
    assert "canary" not in "".join(told(file))
    where = "11 note a1.sources.r1.keystore-password"
    assert f"{where}: is that of -D javax.net.ssl.keyStorePassword, as in Flume" in told(file)


def test_the_yaml_of_it_gives_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = flume_file(tmp_path, SYSLOG, ENVIRON)
    plan = file.agents["a1"].plan
    assert plan is not None
    assert bare(load_yaml(as_yaml(file, tmp_path, "a1"), None, ENVIRON)) == bare(plan)
