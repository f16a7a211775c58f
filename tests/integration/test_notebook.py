"""The notebook in examples/ runs as it is, and holds the outputs of a run."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "one_trial_and_a_study.ipynb"

pytestmark = pytest.mark.integration


def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    kept = NOTEBOOK.read_text()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"/(tmp|home|root|usr|work)/", kept), "an output names a path of a machine"
    client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    answer = next(cell for cell in notebook.cells if "print(answer" in cell.source).outputs[0].text
    assert re.search(r"Its test\s+accuracy", answer)
    assert list(tmp_path.iterdir()) == []
