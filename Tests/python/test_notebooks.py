"""The example notebooks run from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import carl
from carl import demo

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


#: What makes the notebooks some of seconds: another width, fewer epochs and images.
SMALL = {"width=0.25": "width=0.0625", "epochs=2": "epochs=1", "train_x[:2000]": "train_x[:700]"}


def test_there_are_some():
    assert {file.stem for file in NOTEBOOKS} >= {"first_steps", "training_loop", "explore_prototypes"}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_runs(file, tmp_path, monkeypatch):
    if not Path(demo.FOLDER).is_dir():
        pytest.skip(f"{demo.PACKAGE} is not installed")
    # The kernel is another process: it must find this package, and keep its own files to itself.
    package = str(Path(carl.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(file, as_version=4)
    assert any("width=0.25" in cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        for words, small in SMALL.items():
            cell.source = cell.source.replace(words, small)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_is_stored_without_outputs(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
