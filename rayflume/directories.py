"""Local directories that a part needs, looked at before anything starts."""

from __future__ import annotations

import os
from pathlib import Path


def unwritable(option: str, path: Path) -> list[str]:
    """Why a directory could not be made or written, a sentence that begins with the option, or
    none. Changes nothing.
    """
    found = next(p for p in (path, *path.parents) if p.exists())
    if not found.is_dir():
        return [f"{option}: {found} is not a directory; name another"]
    if not os.access(found, os.W_OK | os.X_OK):
        return [f"{option}: no permission to write to {found}; change its mode, or name another"]
    return []
