"""Idempotency keys, kept as 16-byte hashes in generations that are dropped whole by age or
count.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

WIDTH = 16
"""Bytes of a key's hash, and of a digest."""

GENERATIONS = 4
"""A key is kept for at least three quarters of the limits, and at most for all of them."""


@dataclass
class _Generation:
    born_ms: int
    digests: dict[bytes, bytes] = field(default_factory=dict)


def check_key(key: str, digest: bytes) -> None:
    """Raise ValueError unless a key is the hex of a hash of WIDTH bytes and so long a digest."""
    if len(bytes.fromhex(key)) != WIDTH or len(digest) != WIDTH:
        raise ValueError(f"a key's hash and its digest have {WIDTH} bytes each")


class Keys:
    """Key hash -> digest of the request it came with. Times are the journal's, in milliseconds."""

    def __init__(self, count_max: int, age_max_ms: int) -> None:
        self._count_max = max(GENERATIONS, count_max)
        self._age_max_ms = age_max_ms
        self._generations: list[_Generation] = []

    def get(self, key: str) -> bytes | None:
        """The digest kept for a key (hex of its hash), None if it is not known."""
        raw = bytes.fromhex(key)
        for generation in self._generations:
            digest = generation.digests.get(raw)
            if digest is not None:
                return digest
        return None

    def add(self, key: str, digest: bytes, now_ms: int) -> None:
        """Keep a key; old generations go when a new one is needed."""
        newest = self._generations[0] if self._generations else None
        full = newest is not None and len(newest.digests) >= self._count_max // GENERATIONS
        old = newest is not None and now_ms - newest.born_ms >= self._age_max_ms // GENERATIONS
        if newest is None or full or old:
            newest = _Generation(now_ms)
            self._generations.insert(0, newest)
            del self._generations[GENERATIONS:]
        newest.digests[bytes.fromhex(key)] = digest

    def expire(self, now_ms: int) -> None:
        """Drop the generations whose youngest key is older than the age limit."""
        quarter = self._age_max_ms // GENERATIONS
        self._generations = [
            g for g in self._generations if now_ms - (g.born_ms + quarter) < self._age_max_ms
        ]

    def __len__(self) -> int:
        return sum(len(generation.digests) for generation in self._generations)

    def to_json(self) -> list[Any]:
        """For a Snapshot: born_ms, keys and digests (both base64, fixed widths) per generation."""
        return [
            [
                g.born_ms,
                base64.b64encode(b"".join(g.digests)).decode(),
                base64.b64encode(b"".join(g.digests.values())).decode(),
            ]
            for g in self._generations
        ]

    def load(self, rows: list[Any]) -> None:
        """The inverse of to_json: replaces what is held."""
        self._generations = []
        for born_ms, keys, digests in rows:
            names, values = base64.b64decode(keys), base64.b64decode(digests)
            pairs = {
                names[i : i + WIDTH]: values[i : i + WIDTH] for i in range(0, len(names), WIDTH)
            }
            self._generations.append(_Generation(int(born_ms), pairs))
