"""`rayflume run --watch`: a process whose file is saved again and again."""

from __future__ import annotations

import collections
import signal
import subprocess
import sys
import threading
from pathlib import Path

from reload_agent import rows, until

import rayflume

TEXT = """\
agent: clicks
sources:
  web: {type: taildir, paths: ["in/*.log"], channels: [wal], interceptors: [INTERCEPTORS]}
channels:
  wal: {type: file, directory: wal}
sinks:
  lake: {type: parquet, channel: wal, path: lake, format: {type: text}, roll: {age: 200ms}}
"""


def line(directory: Path, *numbers: int) -> None:
    with (directory / "in" / "a.log").open("a") as file:
        file.writelines(f"{number}\n" for number in numbers)


def test_a_file_that_is_saved_changes_the_running_agent(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    conf = tmp_path / "agent.yaml"
    conf.write_text(TEXT.replace("INTERCEPTORS", ""))
    command = [sys.executable, "-m", "rayflume", "run", str(conf), "--inline", "--watch"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    said: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        line(tmp_path, 1, 2)
        until(lambda: sum(rows(tmp_path).values()) == 2, 60)
        drop_odd = "{type: regex_filter, regex: '[13579]$', exclude_events: true}"
        conf.write_text(TEXT.replace("INTERCEPTORS", drop_odd))
        until(lambda: any("reloaded: all parts" in text for text in said), 30)
        assert any("change web (interceptors); keep wal, lake" in text for text in said), said
        line(tmp_path, 3, 4)
        conf.write_text(TEXT.replace("INTERCEPTORS", "{type: no_such}"))
        until(lambda: any("is not applied; the plan before goes on" in text for text in said), 30)
        assert any("agent.yaml:3: sources.web.interceptors[0].type" in text for text in said), said
        line(tmp_path, 5, 6)
        until(lambda: sum(rows(tmp_path).values()) == 4, 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, said
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        process.stderr.close()
    assert rows(tmp_path) == collections.Counter([1, 2, 4, 6])


def test_an_agent_is_changed_from_python(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    conf = tmp_path / "agent.yaml"
    conf.write_text(TEXT.replace("INTERCEPTORS", ""))
    with rayflume.load(conf).start(inline=True) as agent:
        conf.write_text(TEXT.replace("INTERCEPTORS", "{type: host}"))
        assert agent.apply(rayflume.load(conf)) == ["change web (interceptors)", "keep wal, lake"]
        line(tmp_path, 1)
        until(lambda: sum(rows(tmp_path).values()) == 1)
