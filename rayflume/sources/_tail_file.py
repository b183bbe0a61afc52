"""One growing file, as far as it was read and seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rayflume.sources._copies import Place, recent_places
from rayflume.sources._files import Group
from rayflume.sources._stream import FileKey


@dataclass(slots=True, eq=False)
class TailFile:
    """A file and its present incarnation. `next`: handed out up to here; `hash`: fingerprint there.

    `name`: the last path under which it matched a pattern, which is what its token keeps: so a
    rotated file is told from one that was taken out of the configuration.
    `skip_to`: rows before it are passed over. `places`: the latest places up to which it was read.
    `end`: do not read beyond (None: no end). `partial`: the size at which what is left was found to
    be an unterminated line. `verify`: something changed though nothing was added. `cut`: an extent
    must end there, if it is not passed yet.
    """

    stream: str
    key: FileKey
    path: str
    name: str
    group: Group
    next: int = 0
    hash: str = ""
    size: int = 0
    mtime_ns: int = 0
    changed_ms: int = 0
    skip_to: int = 0
    end: int | None = None
    partial: int = -1
    verify: bool = False
    blocked: bool = False
    deleted: bool = False
    missing: int = 0
    batches: int = 0
    places: deque[Place] = field(default_factory=recent_places)
    cut: int = 0

    @property
    def stop(self) -> int:
        return self.size if self.end is None else min(self.end, self.size)

    @property
    def unread(self) -> int:
        """Bytes to read now; an unterminated line that was looked at already is none."""
        if self.blocked or self.partial == self.stop:
            return 0
        return max(self.stop - self.next, 0)
