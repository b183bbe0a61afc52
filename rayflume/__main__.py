"""`python -m rayflume` is the command `rayflume`."""

from __future__ import annotations

from rayflume.cli import main

if __name__ == "__main__":
    main()
