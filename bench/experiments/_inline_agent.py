"""An agent in one process, as `rayflume run --inline`, that answers what is asked of it.

    python -m bench.experiments._inline_agent agent.yaml

A line on its input is an order, `status`, `drain` or `stop`; a line of JSON on its output is the
answer. The end of its input ends it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO

from bench.contenders._worker import kill
from rayflume.interfaces import Json

STOP_S = 60.0


class InlineProcess:
    """Such a process, with the methods of an agent on Ray that the bench uses."""

    def __init__(self, conf: Path, log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.experiments._inline_agent", str(conf)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._log = log

    def status(self) -> dict[str, Json]:
        """As `rayflume status --json`. Raises RuntimeError when the process has ended."""
        return self._ask("status")

    def drain(self) -> None:
        self._ask("drain")

    def stop(self) -> None:
        """Blocks until it has ended."""
        self._ask("stop")

    def join(self, timeout_s: float | None = None) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        kill([self._process.pid])
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, order: str) -> dict[str, Json]:
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None
        assert answers is not None
        try:
            orders.write(f"{order}\n".encode())
            orders.flush()
            found: dict[str, Json] = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            said = self._log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"the agent has ended: {said}") from error
        return found


def serve(conf: Path, orders: IO[str], answers: IO[str]) -> None:
    """Run the agent until it is told to stop."""
    from rayflume.agent.lean import spare_pandas

    spare_pandas()
    from rayflume.agent.inline import InlineAgent
    from rayflume.config import load

    agent = InlineAgent(load(conf)).start()
    for order in orders:
        if order.strip() == "stop":
            break
        if order.strip() == "drain":
            agent.drain()
        print(json.dumps(agent.status()), file=answers, flush=True)
    agent.stop()
    agent.join(STOP_S)
    print(json.dumps(agent.status()), file=answers, flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdin, sys.stdout)
