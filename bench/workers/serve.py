"""The worker's end of bench.contenders._worker: orders as JSON lines on standard input, an answer
to each on what was standard output. All that libraries print goes to standard error, a log file.

Only the standard library: workers run in several environments.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.tasks import TASKS, Task


@dataclass(frozen=True)
class Order:
    """Do `task` from `paths` into `folder` (exists). `group_rows`: rows of a row group, for tools
    that count them in rows.
    """

    task: Task
    paths: list[str]
    folder: Path
    group_rows: int


def serve(run: Callable[[Order], None]) -> None:
    """Answer orders until standard input ends. Blocks."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        said = json.loads(line)
        order = Order(TASKS[said["task"]], said["paths"], Path(said["folder"]), said["group_rows"])
        try:
            run(order)
            answer = {}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
