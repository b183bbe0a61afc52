"""The public way to use rayflume from Python: build an agent, start it, look at it, end it.

Everything here may be used from a notebook: nothing needs a thread or a signal of the caller.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rayflume.agent.figures import Meter, PartFigures, told_dead
from rayflume.agent.reload import host_problems
from rayflume.clock import SystemClock
from rayflume.component import nearest
from rayflume.config import AgentPlan, check_host, guarantees, plan_of
from rayflume.errors import ConfigError, RayflumeError
from rayflume.flume.read import load as load_plan
from rayflume.interfaces import Json
from rayflume.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from rayflume.agent.changes import Changes


RENEWING_LOOK_S = 0.02


class _Host(Protocol):
    """agent.inline.InlineAgent or agent.cluster.RayAgent."""

    def status(self) -> dict[str, Json]: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout_s: float | None = None) -> bool: ...
    def apply(self, plan: AgentPlan) -> Changes: ...
    def renewing(self) -> list[str]: ...
    def tap(self, channel: str, rows_max: int) -> list[pa.Buffer]: ...


def load(
    path: str | Path,
    agent: str | None = None,
    *,
    java_classes: Mapping[str, str] | None = None,
) -> Agent:
    """The agent of a configuration file, YAML or Flume's; `agent` names it if there are several.

    `java_classes`: as in Agent. Raises ConfigError with all `problems` of the file.
    """
    return Agent(path, name=agent, java_classes=java_classes)


class Agent:
    """A checked plan of an agent, not running.

    `conf`: a configuration file, or the same as a mapping. Relative paths of a mapping start at the
    current directory. `java_classes`: of a file, Java class -> dotted name of the Python class in
    its place, as `--map` has it. Raises ConfigError with all `problems`.
    """

    def __init__(
        self,
        conf: str | Path | Mapping[str, object],
        *,
        name: str | None = None,
        java_classes: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(conf, Mapping):
            self._plan = plan_of(conf)
            if name is not None and name != self._plan.agent:
                raise ConfigError(f"the configuration is of {self._plan.agent!r}, not of {name!r}")
        else:
            self._plan = load_plan(conf, name, None, java_classes)

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._plan.agent

    @property
    def guarantees(self) -> list[str]:
        """What is promised, a line for each source -> channel -> sink."""
        return [
            f"{p.source} -> {p.channel} -> {p.sink}: {str(p.level).replace('_', ' ')}"
            for p in guarantees(self._plan)
        ]

    def start(
        self, address: str | None = None, *, inline: bool = False, until_drained: bool = False
    ) -> RunningAgent:
        """Start all parts: on the Ray cluster at `address`, on a Ray of this machine's own (None),
        or with `inline` as threads of this process. Blocks until the agent answers.

        `until_drained`: end once all finite input is read and delivered. Raises ConfigError when
        something is wrong on this host or an agent of that name runs already.
        """
        problems = check_host(self._plan)
        if problems:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
        if inline:
            from rayflume.agent.inline import InlineAgent

            host = InlineAgent(self._plan, until_drained=until_drained).start()
            return RunningAgent(self._plan, host, lambda: None)
        return _start_on_ray(self._plan, address, until_drained)

    def __repr__(self) -> str:
        parts = " ".join(f"{part.name}:{part.type}" for part in self._plan.parts())
        return f"<rayflume.Agent {self.name} {parts}>"


def _start_on_ray(plan: AgentPlan, address: str | None, until_drained: bool) -> RunningAgent:
    from rayflume.agent import cluster
    from rayflume.agent.plan_store import Record

    ours = cluster.connect(address, modules=plan.modules() if address else ())
    try:
        record = Record(plan, until_drained=until_drained)
        agent = cluster.start_agent(record, detached=False)
    except BaseException:
        if ours:
            cluster.disconnect()
        raise

    def close() -> None:
        agent.close()
        if ours:
            cluster.disconnect()

    return RunningAgent(plan, agent, close)


class RunningAgent:
    """A running agent. In a `with` block it is stopped at the end; what the channels hold stays."""

    def __init__(self, plan: AgentPlan, host: _Host, close: Callable[[], None]) -> None:
        self._plan = plan
        self._host = host
        self._close = close
        self._clock = SystemClock()
        self._meter = Meter(self._clock.monotonic_ms())
        self._end: AgentStatus | None = None

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._plan.agent

    def status(self) -> AgentStatus:
        """How it goes: a mapping as `rayflume status --json` prints it, shown as a table.

        Rates are those between calls, over at most 5 s. After the end: the last status.
        """
        return self._end or self._status()

    def _status(self) -> AgentStatus:
        status = self._host.status()
        figures = self._meter.read(status, self._clock.monotonic_ms())
        return AgentStatus(exact(status), figures.parts)

    def tap(self, channel: str, rows: int = 20) -> pd.DataFrame:
        """The newest rows of a channel, without taking them: position, stream, body, headers.

        A committed row can be tapped until its segment is removed. Raises ConfigError when there
        is no such channel.
        """
        from rayflume.agent.tapped import frame, rows_of

        if channel not in self._plan.channels:
            known = nearest(channel, list(self._plan.channels))
            raise ConfigError(f"the agent {self.name} has no channel {channel!r}{known}")
        if rows < 1:
            raise ValueError(f"rows must be at least 1, it is {rows}")
        return frame(rows_of(self._host.tap(channel, rows), rows))

    def drain(self, wait: bool = True) -> AgentStatus:
        """Read to the present end of the input, deliver all of it, end. Blocks if `wait`.

        Raises RayflumeError when a part failed and rows are left in a channel.
        """
        if self._end is None:
            self._host.drain()
        return self.wait() if wait else self.status()

    def apply(self, agent: Agent, timeout: float | None = 60.0) -> list[str]:
        """Change to another plan without stopping: only parts that differ start anew, at batch
        boundaries; no row is lost or doubled. Blocks until all parts are as it wants them.

        Returns a line for each part, such as `change lake (roll)`. Raises ConfigError with all
        `problems` when it is refused (then nothing has changed), and TimeoutError after `timeout`
        seconds: the change goes on, and waits for what the message names.
        """
        problems = host_problems(self._plan, agent._plan)
        if problems:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
        what = self._host.apply(agent._plan)
        self._plan = agent._plan
        pause = threading.Event()
        deadline_ms = None if timeout is None else self._clock.monotonic_ms() + timeout * 1000
        while waiting := self._host.renewing():
            if deadline_ms is not None and self._clock.monotonic_ms() >= deadline_ms:
                raise TimeoutError(f"{self.name} is still changing: {'; '.join(waiting)}")
            pause.wait(RENEWING_LOOK_S)
        return what.lines()

    def stop(self) -> AgentStatus:
        """Stop at a batch boundary; what is not delivered stays in the channels. Blocks."""
        if self._end is None:
            self._host.stop()
        return self._join(None) or self.status()

    def wait(self, timeout: float | None = None) -> AgentStatus:
        """Wait until the agent has ended: drained, or stopped by someone. `timeout` in seconds.

        Raises TimeoutError, and RayflumeError when a part failed.
        """
        status = self._join(timeout)
        if status is None:
            raise TimeoutError(f"the agent {self.name} still runs after {timeout} s")
        failed = [part for part in status.parts if part.state == "failed"]
        if failed:
            reasons = "; ".join(f"{part.kind} {part.name}: {part.last_error}" for part in failed)
            raise RayflumeError(f"the agent {self.name} failed: {reasons}")
        return status

    def _join(self, timeout: float | None) -> AgentStatus | None:
        if self._end is None:
            if not self._host.join(timeout):
                return None
            self._end = self._status()
            self._close()
        return self._end

    def __enter__(self) -> RunningAgent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<rayflume.RunningAgent {self.name} {self.status()['state']}>"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()


def exact(status: Mapping[str, Json], *, detail: bool = False) -> dict[str, Json]:
    """A status in the documented form, without what parts say of themselves unless `detail`.

    A sink with dead letters has `dead_letters`: how many, where, and why the first.
    """
    components = status["components"]
    assert isinstance(components, list)
    kept: list[Json] = [
        {name: value for name, value in part.items() if detail or name != "detail"} | _dead(part)
        for part in components
        if isinstance(part, dict)
    ]
    return {"agent": status["agent"], "state": status["state"], "components": kept}


def _dead(component: Mapping[str, Json]) -> dict[str, Json]:
    metrics = component["metrics"]
    rows = metrics.get("EventDeadLetterCount", 0) if isinstance(metrics, dict) else 0
    return {"dead_letters": {"rows": rows, **told_dead(component)}} if rows else {}


class AgentStatus(Mapping[str, Json]):
    """A status: a mapping in the form of `rayflume status --json`; `.frame` has it as a table."""

    def __init__(self, status: dict[str, Json], parts: tuple[PartFigures, ...]) -> None:
        self._status = status
        self.parts = parts

    def __getitem__(self, name: str) -> Json:
        return self._status[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._status)

    def __len__(self) -> int:
        return len(self._status)

    @property
    def state(self) -> str:
        """running, draining, drained, stopped or failed."""
        return str(self._status["state"])

    @property
    def frame(self) -> pd.DataFrame:
        """One line per part, in the order of the flow; rates per second."""
        import pandas as pd

        return pd.DataFrame([_line(part) for part in self.parts])

    def __repr__(self) -> str:
        table = self.frame.to_string(index=False, max_colwidth=60)
        return f"agent {self['agent']}: {self.state}\n{table}"

    def _repr_html_(self) -> str:
        shown = self.frame
        for name in ("bytes in", "bytes out"):
            shown[name] = shown[name].map(format_bytes)
        for name in ("rows in", "rows out", "rows/s", "backlog"):
            shown[name] = shown[name].map("{:,}".format)
        title = f"<b>{html.escape(str(self['agent']))}</b>: {html.escape(self.state)}"
        return f"{title}{shown.to_html(index=False, na_rep='', border=0)}"


def _line(part: PartFigures) -> dict[str, object]:
    return {
        "part": part.name,
        "kind": part.kind,
        "type": part.type,
        "replica": part.replica,
        "state": part.state,
        "node": part.node,
        "pid": part.pid,
        "restarts": part.restarts,
        "rows in": part.rows_in,
        "rows out": part.rows_out,
        "bytes in": part.bytes_in,
        "bytes out": part.bytes_out,
        "rows/s": round(part.rows_rate),
        "backlog": part.backlog,
        "last error": part.last_error or "",
    }
