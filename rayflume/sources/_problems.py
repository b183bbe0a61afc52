"""What a source cannot read now."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field

from rayflume.component import Context
from rayflume.sources._stream import printable

_log = logging.getLogger("rayflume.sources.taildir")


@dataclass
class Problems:
    """What cannot be read now, by path; said in the log once each."""

    context: Context
    now: dict[str, str] = field(default_factory=dict)

    def note(self, path: str, error: OSError) -> None:
        text = f"cannot read {printable(path)!r}: {error.strerror or error}"
        if self.now.get(path) != text:
            self.now[path] = text
            self.context.metrics.add("EventReadFail")
            _log.warning("%s: %s", self.context.part, text)

    def gone(self, path: str) -> None:
        self.now.pop(path, None)

    def forget_vanished(self, roots: set[str]) -> None:
        """A file that is no longer there is no problem; a missing directory stays one."""
        for path in [path for path in self.now if path not in roots]:
            if not os.path.lexists(path):
                del self.now[path]
