"""One life of a server: a stream of rows that nobody can ask for again, with a dense counter."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from rayflume.batch import Extent


@dataclass(frozen=True, slots=True)
class Life:
    """The stream of rows without a key, and the number of the next one."""

    stream: str
    next: int = 0

    @staticmethod
    def begin(prefix: str) -> Life:
        """A life that no server had before."""
        return Life(prefix + secrets.token_hex(8))

    def extent(self, rows: int) -> Extent:
        """Of the next so many rows."""
        return Extent(self.stream, self.next, self.next + rows, rows)

    def after(self, rows: int) -> Life:
        """As it is once they are stored."""
        return replace(self, next=self.next + rows)
