"""What is said of `-D name=value`: honoured, or a sentence says what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from flume_tables import BEGIN, flume_file, told

GANGLIA = {"flume.monitoring.type": "ganglia", "flume.monitoring.hosts": "canary:8651"}


def said(directory: Path, defines: Mapping[str, str], text: str = BEGIN) -> list[str]:
    found = flume_file(directory, text, defines=defines)
    return [line for line in told(found) if "-D " in line or "monitoring" in line]


@pytest.mark.parametrize(
    ("defines", "sentences"),
    [
        ({"flume.root.logger": "INFO,console"}, ["note -D flume.root.logger: there is no log4j;"]),
        ({"x": "canary"}, ["note -D x: nothing reads it: there is no Java here, and nothing"]),
        ({"lookups": "canary"}, ["warning -D lookups: is not used: names Java classes that look"]),
        ({"javax.net.ssl.keyStore": "k"}, ["note -D javax.net.ssl.keyStore: no source with"]),
        ({"javax.net.ssl.keyStoreType": "JKS"}, ["note -D javax.net.ssl.keyStoreType: is not"]),
        ({"javax.net.ssl.trustStore": "k"}, ["warning -D javax.net.ssl.trustStore: is not used:"]),
        ({"propertiesImplementation": "a.B"}, ["warning -D propertiesImplementation: is not"]),
        (
            {"propertiesImplementation": "org.apache.flume.node.EnvVarResolverProperties"},
            [],
        ),
        ({"org.apache.flume.log.rawdata": "true"}, ["warning -D org.apache.flume.log.rawdata: is"]),
        (
            GANGLIA,
            [
                "warning -D flume.monitoring.type: no metrics are served: Ganglia is given up;",
                "warning -D flume.monitoring.hosts: is not used, for its flume.monitoring.type",
            ],
        ),
        (
            {"flume.monitoring.type": "com.example.Mine"},
            ["warning -D flume.monitoring.type: no metrics are served: a Java class cannot run"],
        ),
        ({"flume.monitoring.port": "1"}, ["warning -D flume.monitoring.port: is not used without"]),
    ],
)
def test_each_property_is_honoured_or_told(
    defines: dict[str, str], sentences: list[str], tmp_path: Path
) -> None:
    found = said(tmp_path, defines)
    assert len(found) == len(sentences), found
    for line, sentence in zip(found, sentences, strict=True):
        assert f"0 {sentence}" in line
        assert "canary" not in line


def test_a_property_that_the_file_asks_for_is_not_told(tmp_path: Path) -> None:
    text = BEGIN + "a1.sources.r1.batchSize = ${sys:n}\n"
    assert said(tmp_path, {"n": "7"}, text) == []


@pytest.mark.parametrize("kind", ["http", "HTTP", "prometheus"])
def test_flumes_monitoring_by_either_name_is_served(kind: str, tmp_path: Path) -> None:
    defines = {"flume.monitoring.type": kind, "flume.monitoring.port": "34545"}
    file = flume_file(tmp_path, BEGIN, defines=defines)
    plan = file.agents["a1"].plan
    assert plan is not None and plan.monitoring is not None
    assert plan.monitoring.port == 34545
    assert not any("-D" in line for line in told(file))


def test_a_trust_store_of_the_environment_is_told(tmp_path: Path) -> None:
    found = told(flume_file(tmp_path, BEGIN, {"FLUME_SSL_TRUSTSTORE_PATH": "/canary.jks"}))
    (line,) = [line for line in found if "TRUSTSTORE" in line]
    assert "name a PEM file with yours in the variable SSL_CERT_FILE" in line
    assert "canary" not in line
