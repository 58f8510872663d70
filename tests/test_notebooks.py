"""The notebooks run from top to bottom on made-up data, with small numbers, and are kept short and without outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))

# What stands in for the cell tagged "parameters", how many pictures are shown, and what a table or an answer says. By
# the law of to_3d, repetition leaves a stack of equal slices as the picture was.
RUNS = {
    "1_photographs_to_scans.ipynb": ("PICTURES, PICTURE_EPOCHS, SCANS, SCAN_EPOCHS = 8, 1, 40, 1", 3, "auc_low"),
    "2_segment_your_scans.ipynb": ("CASES, EPOCHS = 5, 1", 2, "true ml"),
    "3_from_2d_to_3d_and_explain.ipynb": ("WEIGHTS, SCANS, EPOCHS = None, 16, 1", 1, "'replicate': '0.0% off'"),
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_short_and_without_outputs(name: str):
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(notebook.cells) <= 15
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path):
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    settings, pictures, told = RUNS[name]
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    assert all(setting in cell.source for setting in settings.partition(" = ")[0].split(", "))
    cell.source = settings
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute(env=environment)
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data for data in shown) == pictures
    assert any(told in data["text/plain"] for data in shown)
