"""The exec source beside real, short commands; they end by themselves or are ended."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from channel_model import Flow
from pydantic import ValidationError

from rayflume.batch import EventBatch
from rayflume.clock import SystemClock
from rayflume.errors import OptionError, SourceFailed
from rayflume.sources._command import escaped
from rayflume.sources.exec import Exec

Running = Callable[..., Flow]
_PATIENCE_MS = 20_000


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    flows: list[Flow] = []

    def start(command: str, **options: object) -> Flow:
        given = {"command": command, "dangerously_allow_command": True, **options}
        flows.append(Flow(Exec.model_validate(given).build, tmp_path))
        return flows[-1]

    yield start
    for flow in flows:
        flow.source.stop()


def shell(script: str) -> dict[str, object]:
    return {"command": script, "shell": "/bin/sh -c"}


def wait_for(what: Callable[[], object]) -> None:
    clock = SystemClock()
    end = clock.monotonic_ms() + _PATIENCE_MS
    while not what():
        assert clock.monotonic_ms() < end, "it never came"
        os.sched_yield()


def ended(flow: Flow) -> bool:
    """Whether the command's process is over, without taking that from its owner."""
    pid = flow.source.describe()["pid"]
    assert isinstance(pid, int)
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def read_to_the_end(flow: Flow) -> list[bytes]:
    flow.source.note_end(True)
    wait_for(lambda: flow.step() or flow.source.at_end())
    while flow.step() or not flow.source.at_end():
        os.sched_yield()
    return flow.channel.arrived


def next_batch(flow: Flow) -> EventBatch:
    found: list[EventBatch] = []

    def has_come() -> bool:
        flow.clock.advance(50)
        batch = flow.poll()
        if batch is not None:
            found.append(batch)
        return batch is not None

    wait_for(has_come)
    return found[0]


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("printf a\\nb\\n", {}, [b"a", b"b"]),
        ("printf a\\r\\nb\\rc", {}, [b"a", b"b", b"c"]),
        ('echo "one  two" $HOME', {}, [b'"one two" $HOME']),
        ('echo "one  two"; echo 3', {"shell": "/bin/sh -c"}, [b"one  two", b"3"]),
        ("exit 3", {"shell": "/bin/sh -c"}, []),
        ("printf \\377\\n", {}, [b"\xff"]),
        ("printf abcdefg\\nh", {"max_line_bytes": 3}, [b"abc", b"def", b"g", b"h"]),
        ("printf a\\0\\n\\0b\\0", {"charset": "UTF-16LE"}, [b"a\0", b"b\0"]),
        ("cat /dev/null", {}, []),
    ],
)
def test_rows_of_a_command(
    running: Running, command: str, options: dict[str, object], expected: list[bytes]
) -> None:
    assert read_to_the_end(running(command, **options)) == expected


def test_batches_by_rows_bytes_and_time(running: Running) -> None:
    flow = running("printf 1\\n2\\n3\\n4\\n5\\n", batch_size=2, batch_timeout="1h")
    wait_for(lambda: ended(flow))
    assert [next_batch(flow).num_rows for _ in range(3)] == [2, 2, 1]
    flow = running("echo 1; exec sleep 60", shell="/bin/sh -c", batch_timeout="3s")
    wait_for(lambda: flow.poll() or flow.source.describe()["waiting_bytes"])
    assert flow.poll() is None
    flow.clock.advance(2_999)
    assert flow.poll() is None
    flow.clock.advance(1)
    assert next_batch(flow).num_rows == 1


def test_runs_again_after_the_throttle(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    flow = running("echo $$; exit 3", shell="/bin/sh -c", restart=True, restart_throttle="10s")
    wait_for(lambda: flow.step())
    wait_for(lambda: flow.poll() is None and flow.source.describe()["pid"] is None)
    assert flow.source.describe()["exit_code"] == 3
    assert "part: the command ended with exit code 3" in caplog.text
    flow.clock.advance(9_999)
    flow.poll()
    assert flow.source.describe()["starts"] == 1
    flow.clock.advance(1)
    flow.poll()
    assert flow.source.describe()["starts"] == 2
    wait_for(lambda: flow.step())
    assert len(set(flow.channel.arrived)) == 2
    assert len(flow.channel.positions) == 1


def test_without_restart_it_stays_idle(running: Running) -> None:
    flow = running("echo 1")
    wait_for(lambda: flow.step())
    wait_for(lambda: flow.poll() is None and flow.source.describe()["pid"] is None)
    flow.clock.advance(10**9)
    assert flow.poll() is None
    assert not flow.source.at_end()
    assert flow.source.describe()["starts"] == 1
    flow.channel.retire(flow.source.retired())
    assert flow.channel.live == set()


def test_drain_takes_what_is_in_the_pipe(running: Running) -> None:
    flow = running("printf 'a\\nb\\nc'; exec sleep 60", shell="/bin/sh -c", batch_timeout="1h")
    wait_for(lambda: flow.poll() or flow.source.describe()["waiting_bytes"] == 5)
    flow.source.note_end()
    while not flow.source.at_end():
        flow.step()
    assert flow.channel.arrived == [b"a", b"b", b"c"]


def test_back_pressure_is_a_full_pipe(running: Running) -> None:
    flow = running("yes 0123456789", batch_bytes=1000, max_line_bytes=1000)
    batches = [next_batch(flow) for _ in range(3)]
    assert all(batch.nbytes <= 1000 + 10 for batch in batches)
    waiting = flow.source.describe()["waiting_bytes"]
    assert isinstance(waiting, int) and waiting < 2**20
    pid = flow.source.describe()["pid"]
    # It waits in a write: nobody reads on while nobody polls.
    wait_for(lambda: _sleeps(pid))


def _sleeps(pid: object) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_s13_standard_error_is_read_bounded_and_escaped(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    script = (
        "printf '\\033[31mred\\r\\n' >&2; head -c 300 /dev/zero | tr '\\0' x >&2; echo >&2; "
        "for i in $(seq 100); do echo $i >&2; done; head -c 3000000 /dev/zero >&2; echo done"
    )
    flow = running(script, shell="/bin/sh -c", log_std_err=True)
    assert read_to_the_end(flow) == [b"done"]
    flow.source.stop()
    lines = [r.getMessage() for r in caplog.records if "standard error" in r.getMessage()]
    assert lines[0] == "part: standard error: \\x1b[31mred"
    assert lines[1] == f"part: standard error: {'x' * 256} ..."
    assert len(lines) == 20
    assert max(map(len, lines)) < 300


def test_standard_error_is_thrown_away_by_default(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    flow = running("echo hidden >&2; echo shown", shell="/bin/sh -c")
    assert read_to_the_end(flow) == [b"shown"]
    flow.source.stop()
    assert "hidden" not in caplog.text
    assert flow.source.describe()["std_err"] == ""


@pytest.mark.parametrize(
    ("line", "shown"),
    [(b"a\x00\x1b\r", "a\\x00\\x1b"), (b"\xff\n", "\\\\xff\\n"), ("é".encode(), "\\xe9")],
)
def test_s13_escapes(line: bytes, shown: str) -> None:
    assert escaped(line) == shown


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_stop_ends_all_it_started(
    running: Running, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayflume.sources._command._TERM_S", 0.2)
    flow = running(f"{trap}sleep 60 & echo $! $$; wait; wait", shell="/bin/sh -c")
    pids = [int(word) for word in next_batch(flow).body[0].as_py().split()]
    assert all(map(is_alive, pids))
    flow.source.stop()
    wait_for(lambda: not any(map(is_alive, pids)))
    assert flow.source.describe()["pid"] is None
    flow.source.stop()


def test_rows_stay_in_memory_until_they_are_accepted(running: Running) -> None:
    flow = running("printf 1\\n2\\n3\\n", batch_size=1)
    first, second, third = (next_batch(flow) for _ in range(3))
    flow.give(first)
    flow.source.rewind(second.extents[0].stream, 1)
    assert flow.poll() is second
    flow.source.rewind(second.extents[0].stream, 1)
    assert [flow.poll(), flow.poll()] == [second, third]
    with pytest.raises(SourceFailed, match="cannot be read again"):
        flow.source.rewind(second.extents[0].stream, 0)


def test_each_life_is_a_stream_of_its_own(running: Running) -> None:
    flow = running("printf 1\\n2\\n", batch_size=1)
    flow.give(next_batch(flow))
    flow.restart()
    flow.give(next_batch(flow))
    assert flow.channel.arrived == [b"1", b"1"]
    retired = [name for name, position in flow.channel.positions.items() if position.retired]
    assert len(retired) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": "/no/such/program -x"}, "command: there is no program '/no/such/program'"),
        ({"command": "no-such-program-anywhere"}, "there is no program"),
        ({"command": "echo", "shell": "/no/such/sh -c"}, "shell: there is no program '/no/such"),
    ],
)
def test_a_program_that_is_not_there(
    running: Running, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        running(**options)


def test_a_program_that_vanished(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    flow = running("./program", restart=True, restart_throttle="10s")
    wait_for(lambda: flow.step())
    program.rename(tmp_path / "elsewhere")
    wait_for(lambda: flow.poll() is None and flow.source.describe()["pid"] is None)
    for _ in range(3):
        flow.clock.advance(10_000)
        flow.poll()
    assert flow.source.describe()["problem"] == (
        "the command cannot be run: No such file or directory"
    )
    assert caplog.text.count("cannot be run") == 1
    (tmp_path / "elsewhere").rename(program)
    flow.clock.advance(9_999)
    assert flow.poll() is None and flow.source.describe()["starts"] == 1
    flow.clock.advance(1)
    wait_for(lambda: flow.step())
    assert flow.channel.arrived == [b"1", b"1"]
    assert flow.source.describe()["problem"] == ""
    flow.source.stop()
    program.write_text("no program")
    program.chmod(0o755)
    program.write_bytes(b"\x7fELF")
    with pytest.raises(SourceFailed, match="the command cannot be run: Exec format error"):
        flow.restart()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": "echo"}, "dangerously_allow_command"),
        ({"command": "echo", "dangerously_allow_command": False}, "dangerously_allow_command"),
        ({"command": "  ", "dangerously_allow_command": True}, "names no program"),
        ({"command": "echo", "dangerously_allow_command": True, "charset": "x"}, "unknown char"),
    ],
)
def test_s15_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Exec.model_validate(options)


def test_killed_by_somebody_else(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    flow = running("sleep 60")
    pid = flow.source.describe()["pid"]
    assert isinstance(pid, int)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: flow.poll() is None and flow.source.describe()["pid"] is None)
    assert "the command ended with SIGKILL" in caplog.text


def test_what_lives_on_and_writes_for_ever_holds_nobody_up(running: Running) -> None:
    script = "setsid sh -c 'echo $$; exec yes >&2' & exit 0"
    flow = running(script, shell="/bin/sh -c")
    pid = int(next_batch(flow).body[0].as_py())
    try:
        flow.source.stop()
        assert flow.source.describe()["pid"] is None
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
