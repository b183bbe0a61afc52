"""Ray actors that do nothing: what a process on Ray costs before it holds any part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

THREADS = 4


class _Nothing:
    def pid(self) -> int:
        return os.getpid()


@contextmanager
def bare_actors(count: int) -> Iterator[list[int]]:
    """Process ids of so many; they are ended when the block is left."""
    options = {"num_cpus": 0, "max_concurrency": THREADS}
    remote: Any = ray.remote(_Nothing)
    actors = [remote.options(**options).remote() for _ in range(count)]
    try:
        yield ray.get([actor.pid.remote() for actor in actors], timeout=120)
    finally:
        for actor in actors:
            ray.kill(actor)
