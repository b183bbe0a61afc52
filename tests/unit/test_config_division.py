"""What `hash` divides by must be the same when rows are read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.config import guarantees, load
from rayflume.config.guarantee import Level

FILES = "{type: taildir, paths: ['*.log'], file_header: true"
HTTP = "{type: http, port: 0"
EXTRACT = "{type: regex_extractor, regex: '(.)', serializers: [{name: country}]}"


def level(tmp_path: Path, source: str, interceptors: str, header: str) -> tuple[Level, str]:
    conf = tmp_path / "a.yaml"
    conf.write_text(
        f"""\
agent: a
sources:
  s: {source}, channels: [c, d], interceptors: [{interceptors}],
      selector: {{type: hash, headers: [{header}]}}}}
channels: {{c: {{type: file, directory: c}}, d: {{type: file, directory: d}}}}
sinks:
  k: {{type: parquet, channel: c, path: lake, format: {{type: text}}}}
  l: {{type: parquet, channel: d, path: lake, format: {{type: text}}}}
"""
    )
    one, two = guarantees(load(conf))
    assert one.level is two.level
    return one.level, one.reason


@pytest.mark.parametrize(
    ("source", "interceptors", "header"),
    [
        (FILES, "{type: timestamp}", "timestamp"),
        (FILES, "{type: host}", "host"),
        (FILES, "", "file"),
        (HTTP, "", "country"),
        (HTTP, "{type: static, key: country}", "country"),
    ],
)
def test_a_header_that_may_change_makes_it_lossy(
    tmp_path: Path, source: str, interceptors: str, header: str
) -> None:
    found, reason = level(tmp_path, source, interceptors, header)
    assert found is Level.LOSSY
    assert f"divides rows by the header '{header}'" in reason


@pytest.mark.parametrize(
    ("source", "interceptors", "header"),
    [
        (FILES, EXTRACT, "country"),
        (HTTP, EXTRACT, "country"),
        (FILES, "{type: timestamp}", "country"),
        (HTTP, "{type: static, key: country, preserve_existing: false}", "country"),
    ],
)
def test_one_that_comes_of_the_row_keeps_the_promise(
    tmp_path: Path, source: str, interceptors: str, header: str
) -> None:
    assert level(tmp_path, source, interceptors, header)[0] is Level.EXACTLY_ONCE
