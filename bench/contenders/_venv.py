"""Environments that the bench makes for contenders whose packages rayflume should not have beside
it: below the bench's data folder, made once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

VENVS = Path(__file__).parents[1] / "data" / "venvs"
INSTALL_S = 600.0


def python_of(name: str) -> str:
    """The interpreter of the environment `name`, whether it is there or not."""
    return str(VENVS / name / "bin" / "python")


def prepare(name: str, *packages: str) -> str:
    """Make the environment with these packages, unless it has them; "" or why it failed. Blocks."""
    folder, wanted = VENVS / name, "\n".join(packages)
    done = folder / "installed.txt"
    if done.is_file() and done.read_text() == wanted:
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [python_of(name), "-m", "pip", "install", "--quiet", *packages],
    ):
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"pip has not installed {', '.join(packages)} within {INSTALL_S:.0f} s"
        if ran.returncode:
            return f"pip could not install {', '.join(packages)}: {ran.stderr.strip()[-300:]}"
    done.write_text(wanted)
    return ""
