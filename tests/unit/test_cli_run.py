"""`rayflume run --inline` as a process: signals, exit codes, what is printed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path
from typing import IO

import pytest

from rayflume.cli import run

pytestmark = pytest.mark.integration  # whole processes, seconds each
CONF = """\
agent: count
sources:
  n: {{type: seq, channels: [wal]{source}}}
channels:
  wal: {{type: file, directory: wal}}
sinks:
  lake: {{type: {sink}, channel: wal{options}}}
"""
PARQUET = ", path: lake, format: {type: text}, roll: {age: 1h}"


def write(directory: Path, source: str = "", sink: str = "parquet", options: str = PARQUET) -> Path:
    conf = directory / "c.yaml"
    conf.write_text(CONF.format(source=source, sink=sink, options=options))
    return conf


def process(*arguments: object, stdout: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rayflume", *map(str, arguments)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def finished(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rayflume", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def until_delivering(running: subprocess.Popen[str]) -> None:
    """Read the progress until rows have come in."""
    assert running.stdout is not None
    for line in running.stdout:
        if "in 0 rows" not in line:
            return
    raise AssertionError("it ended too early")


def last_table(text: str) -> dict[str, int]:
    head, values = text.strip().split("\n")[-2:]
    names = ["rows in", "rows delivered", "dead letters", "left in channels", "files"]
    assert [name for name in names if name in head] == names
    return dict(zip(names, (int(v.replace(",", "")) for v in values.split()[:5]), strict=True))


def test_until_drained_ends_with_0_and_a_summary(tmp_path: Path) -> None:
    done = finished("run", write(tmp_path, ", total_events: 5000"), "--inline", "--until-drained")
    assert (done.returncode, done.stderr) == (0, "")
    assert "count: drained\n" in done.stdout
    assert last_table(done.stdout) == {
        "rows in": 5_000,
        "rows delivered": 5_000,
        "dead letters": 0,
        "left in channels": 0,
        "files": 1,
    }
    assert "\x1b" not in done.stdout


def test_a_run_whose_rows_all_became_dead_letters_is_1_and_says_where_and_why(
    tmp_path: Path,
) -> None:
    options = ", path: lake, format: {type: json, schema: {a: int64}}"
    conf = write(tmp_path, ", total_events: 3", options=options)
    done = finished("run", conf, "--inline", "--until-drained")
    assert done.returncode == 1
    *told, last = done.stderr.splitlines()
    assert last == "rayflume: no row was delivered: all 3 are dead letters"
    assert all("sink lake: rows become dead letters" in line for line in told), "while it runs"
    place = tmp_path / "lake/_rayflume/dead_letters"
    assert f"3 rows went to the dead letters of the sink lake, in {place}; the first because" in (
        done.stdout
    )
    assert last_table(done.stdout)["dead letters"] == 3
    assert len(list(place.iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_delivers_what_was_read(tmp_path: Path, number: signal.Signals) -> None:
    running = process("run", write(tmp_path), "--inline")
    until_delivering(running)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "draining: no more is read" in err
    assert "Ctrl-C again stops at once" in err
    assert "count: drained\n" in out
    table = last_table(out)
    assert table["rows in"] == table["rows delivered"] > 0
    assert table["left in channels"] == 0


def test_a_grace_of_nothing_stops_and_keeps_the_rows(tmp_path: Path) -> None:
    running = process("run", write(tmp_path), "--inline", "--grace", "0s")
    until_delivering(running)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "not drained within 0 s: stopping; the channels keep the rest" in err
    assert "count: stopped\n" in out or "count: drained\n" in out
    table = last_table(out)
    assert table["rows in"] == table["rows delivered"] + table["left in channels"]


def test_wrong_usage_and_configuration_is_2_before_anything_starts(tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(
        "agent: a\nsources: {s: {type: taildir, paths: [in/x], channels: [c]}}\n"
        "channels: {c: {type: fiel, directory: wal}}\nsinks: {k: {type: 'null', channel: c}}\n"
    )
    done = finished("run", conf, "--inline")
    assert done.returncode == 2
    assert "did you mean 'file'?" in done.stderr
    assert not (tmp_path / "wal").exists()
    assert run(["run", str(write(tmp_path)), "--inline", "--address", "auto"]) == 2
    assert run(["run", str(write(tmp_path)), "--inline", "--grace", "soon"]) == 2


def test_a_failed_part_is_1_and_its_error_is_shown(tmp_path: Path) -> None:
    conf = write(tmp_path, ", total_events: 10")
    assert finished("run", conf, "--inline", "--until-drained").returncode == 0
    newest = max((tmp_path / "wal").glob("segment-*.log"))
    newest.write_bytes(of_version(99, newest.read_bytes()))
    done = finished("run", conf, "--inline", "--until-drained")
    assert done.returncode == 1
    assert "channel wal: failed: " in done.stderr
    assert "rayflume: the agent count failed: channel wal\n" in done.stderr
    done = finished("fsck", tmp_path / "wal")
    assert done.returncode == 1
    assert "version 99" in done.stderr


def of_version(version: int, segment: bytes) -> bytes:
    """A segment whose first record is whole, and of a version that nobody knows."""
    data = bytearray(segment)
    data[4] = version
    meta = data[48 : 48 + int.from_bytes(data[12:16], "little")]
    data[44:48] = zlib.crc32(meta, zlib.crc32(data[:44])).to_bytes(4, "little")
    return bytes(data)


def test_inline_commands_do_not_import_ray(tmp_path: Path) -> None:
    conf = write(tmp_path, ", total_events: 10")
    script = f"""
import sys
from rayflume.cli import run
assert run(["run", {str(conf)!r}, "--inline", "--until-drained"]) == 0
assert run(["fsck", {str(tmp_path / "wal")!r}]) == 0
assert run(["journal", "streams", {str(tmp_path / "wal")!r}]) == 0
assert run(["validate", {str(conf)!r}]) == 0
assert "ray" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_log_lines_are_on_stderr_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    conf = write(tmp_path, ", total_events: 10")
    holder = process("run", write(tmp_path), "--inline")
    until_delivering(holder)
    waiting = process("run", conf, "--inline", "--until-drained", "--log-level", "debug")
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if "in use by count/wal" in line:
            break
    os.kill(holder.pid, signal.SIGTERM)
    holder.communicate(timeout=60)
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0


def holding(directory: Path) -> tuple[Path, subprocess.Popen[str]]:
    """An agent that runs and has the journal; the configuration of another one like it."""
    running = process("run", write(directory), "--inline")
    until_delivering(running)
    other = directory / "other.yaml"
    other.write_text((directory / "c.yaml").read_text().replace("agent: count", "agent: second"))
    return other, running


def test_a_second_agent_on_the_same_journal_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    other, running = holding(tmp_path)
    try:
        done = finished("run", other, "--inline")
        assert done.returncode == 1
        sentences = [line for line in done.stderr.splitlines() if "in use by" in line]
        place = tmp_path / "wal"
        assert len(sentences) == 1
        assert sentences[0].startswith(
            f"rayflume: channel wal: failed: the journal in {place} is in use by count/wal on "
        )
        assert f"pid {running.pid}: stop it, or give this channel a directory" in sentences[0]
        assert "Traceback" not in done.stderr
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGTERM)
        _, error = running.communicate(timeout=60)
    assert running.returncode == 0, error


def test_the_same_agent_started_again_waits_says_so_and_goes_on(tmp_path: Path) -> None:
    _, running = holding(tmp_path)
    again = process("run", tmp_path / "c.yaml", "--inline")
    try:
        assert again.stderr is not None
        told = next(line for line in again.stderr if "in use by" in line)
        assert told.startswith("rayflume: channel wal: waiting: the journal in ")
        assert f"in use by count/wal on {socket.gethostname()}, pid {running.pid}: " in told
        running.kill()
        until_delivering(again)
    finally:
        running.kill()
        running.communicate(timeout=60)
        again.send_signal(signal.SIGTERM)
        _, error = again.communicate(timeout=60)
    assert again.returncode == 0, error
