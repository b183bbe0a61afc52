"""What a check needs to build a part and to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayflume.clock import ManualClock
from rayflume.component import Component, Context
from rayflume.metrics import Metrics
from rayflume.protocols import built


@dataclass
class Trial:
    """A part under test: its class and options, and a directory of its own, empty but for input.

    `options`: as in the configuration; relative paths start at `directory`.
    `rows`: of a source the bodies of all rows its input holds, at least 100 that take 10 batches
    or more. `batch_bytes`: the most bytes its options allow in a batch; 0: not looked at.
    `started`: called with a source each time it was started, if its input comes by itself.
    `reopens`: close and open a durable channel again and again on the way.
    """

    part: type[Component]
    options: Mapping[str, object]
    directory: Path
    rows: Sequence[bytes] = ()
    batch_bytes: int = 0
    reopens: bool = False
    started: Callable[[Any], None] = lambda source: None
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: Metrics = field(default_factory=Metrics)
    _made: list[Any] = field(default_factory=list, repr=False)

    def context(self) -> Context:
        """The surroundings of the part. Its name is `part`, its host `host-1`."""
        return Context(
            "test", "part", self.clock, self.metrics, directory=self.directory, host_id="host-1"
        )

    def build(self) -> Any:  # noqa: ANN401 - as Component.build
        """The part, which has all that its kind is asked for. Raises ConfigError."""
        return built(self.part.model_validate(dict(self.options)), self.context())

    def opened(self) -> Any:  # noqa: ANN401
        """The part, open; closed after the check."""
        made = self.build()
        made.open()
        self._made.append(made)
        return made

    def close(self) -> None:
        """Close what was opened."""
        while self._made:
            self._made.pop().close()
