"""Every notebook runs from top to bottom, and is kept without what a run left in it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from spark_session import SHORT_LIVED, require_java

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations within Jupyter itself
    import nbclient
    import nbformat

read: Any = nbformat.read
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["clickstream", "lake"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_clean(path: Path) -> None:
    for cell in read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert str(Path.home()) not in path.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pyspark" in path.read_text():
        require_java()
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", SHORT_LIVED)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(kernel(tmp_path / "jupyter")))
    notebook = read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=180, kernel_name="rayflume-test")
    client.execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)


def kernel(folder: Path) -> Path:
    """Jupyter's data folder with one kernel: this Python, whatever the machine has installed."""
    spec = folder / "kernels" / "rayflume-test" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "test", "language": "python"}))
    return folder
