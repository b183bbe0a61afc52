"""How much of a fault's volume one run makes: a small fixed share, or what the environment asks."""

from __future__ import annotations

import os


def scaled(share: int) -> int:
    """`share` of the quick run times RAYFLUME_FAULT_VOLUME (default 1)."""
    return max(1, int(share * float(os.environ.get("RAYFLUME_FAULT_VOLUME", "1"))))
