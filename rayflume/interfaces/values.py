"""What parts of every kind pass to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
RowRange: TypeAlias = tuple[int, int]
"""`[start, stop)` of row positions in one journal. A journal numbers its rows from 0, without
gaps.
"""


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a channel stands in one stream: the next unit it wants, and the token of its last
    extent.
    """

    next: int
    token: bytes = b""
    retired: bool = False
