from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sinks_support import context, rows

from rayflume.sinks.logger import Logger
from rayflume.sinks.null import Null


def log_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, body: bytes | None, **options: int
) -> str:
    writer = Logger.model_validate(options).build(context(tmp_path)).begin("d")
    with caplog.at_level(logging.INFO, "rayflume.sinks.logger"):
        writer.write(rows([body], [{"k": "v", "a": "b"}]), 0)
    (record,) = caplog.records
    return record.getMessage()


def test_a_row_is_one_line_as_in_flume(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    line = log_of(caplog, tmp_path, b"Hello world!\r")
    assert line == (
        "Event: { headers:{a=b, k=v} "
        "body: 48 65 6C 6C 6F 20 77 6F 72 6C 64 21 0D          Hello world!. }"
    )


def test_max_bytes_to_log_is_honoured(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    line = log_of(caplog, tmp_path, b"abcdef", max_bytes_to_log=2)
    assert line.endswith(f"body: {'61 62':<47} ab }}")


@pytest.mark.parametrize(("body", "shown"), [(b"", 16), (b"abc", 0)])
def test_a_body_of_which_nothing_is_shown(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, body: bytes, shown: int
) -> None:
    assert log_of(caplog, tmp_path, body, max_bytes_to_log=shown).endswith("} body: }")


@pytest.mark.parametrize(
    ("body", "dump"),
    [
        (b"\x00\x1f \x7f\xff~", "00 1F 20 7F FF 7E                               .. ..~"),
        (b"0123456789abcdefg", "30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef"),
    ],
)
def test_hexadecimals_and_text(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, body: bytes, dump: str
) -> None:
    assert log_of(caplog, tmp_path, body).endswith(f"body: {dump} }}")


def test_a_tombstone_is_shown_as_null(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert log_of(caplog, tmp_path, None).endswith("body: null }")


def test_s13_user_data_stays_on_one_bounded_line(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    writer = Logger().build(context(tmp_path)).begin("d")
    hostile = "\r\nERROR forged \x1b[31m\u202e" + "x" * 5000
    with caplog.at_level(logging.INFO, "rayflume.sinks.logger"):
        writer.write(rows([b"\x1b]0;x\x07\n"], [{"k": hostile}]), 0)
    line = caplog.records[0].getMessage()
    assert line.isprintable()
    assert len(line) < 512


def test_the_null_sink_logs_its_progress(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    writer = Null(log_every_n_events=10).build(context(tmp_path)).begin("d")
    with caplog.at_level(logging.INFO, "rayflume.sinks.null"):
        for number in range(5):
            writer.write(rows([b"x"] * 7), number * 7)
    assert [record.getMessage().split()[-2] for record in caplog.records] == ["14", "21", "35"]
