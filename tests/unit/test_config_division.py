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


SELECTED = [
    ("{type: multiplexing, header: country, mapping: {no: [c]}, default: [d]}", EXTRACT, True),
    ("{type: multiplexing, header: host, mapping: {no: [c]}, default: [d]}", "{type: host}", False),
    ("{type: multiplexing, header: id, default: [c, d]}", "{type: uuid}", False),
    ("{type: load_balancing}", "{type: timestamp}", True),
    ("{type: load_balancing, policy: random}", "", True),
]


@pytest.mark.parametrize(("selector", "interceptors", "once"), SELECTED)
def test_what_other_selectors_divide_by(
    tmp_path: Path, selector: str, interceptors: str, once: bool
) -> None:
    conf = tmp_path / "a.yaml"
    conf.write_text(
        f"""\
agent: a
sources:
  s: {FILES}, channels: [c, d], interceptors: [{interceptors}], selector: {selector}}}
channels: {{c: {{type: file, directory: c}}, d: {{type: file, directory: d}}}}
sinks:
  k: {{type: parquet, channel: c, path: lake, format: {{type: text}}}}
  l: {{type: parquet, channel: d, path: lake, format: {{type: text}}}}
"""
    )
    levels = {one.level for one in guarantees(load(conf))}
    assert levels == {Level.EXACTLY_ONCE if once else Level.LOSSY}


def test_a_channel_that_only_optional_names_is_lossy(tmp_path: Path) -> None:
    conf = tmp_path / "a.yaml"
    conf.write_text(
        f"""\
agent: a
sources:
  s:
    {{type: taildir, paths: ["*.log"], channels: [c, d], interceptors: [{EXTRACT}],
     selector: {{type: multiplexing, header: country, default: [c], optional: {{no: [d]}}}}}}
channels: {{c: {{type: file, directory: c}}, d: {{type: file, directory: d}}}}
sinks:
  k: {{type: parquet, channel: c, path: lake, format: {{type: text}}}}
  h: {{type: http, channel: d, endpoint: "http://localhost/"}}
"""
    )
    one, two = guarantees(load(conf))
    assert (one.level, two.level) == (Level.EXACTLY_ONCE, Level.LOSSY)
