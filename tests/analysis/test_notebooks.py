"""The notebooks, run from top to bottom on a real study and on one that has hardly begun."""

import ast
from dataclasses import replace
from pathlib import Path

import nbformat
import papermill
import pytest

from study.results.study_record import StudyRecord
from tests.test_imports import imported

NOTEBOOKS = sorted((Path(__file__).parents[2] / "analysis" / "notebooks").glob("*.ipynb"))
MAY_IMPORT = {"analysis", "itertools", "matplotlib", "pandas", "pathlib", "scipy"}
PICTURES = {"first_look": 4, "families": 1, "budgets": 3}


def run(notebook: Path, folder: Path, out: Path) -> nbformat.NotebookNode:
    """Run it as a user would, and fail on what it complains of."""
    done: nbformat.NotebookNode = papermill.execute_notebook(
        notebook, out / notebook.name, {"folder": str(folder)}, progress_bar=False
    )
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    complaints = [one["text"] for one in outputs if one.get("name") == "stderr"]
    assert complaints == []
    return done


def pictures(done: nbformat.NotebookNode) -> int:
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_real_study(notebook: Path, real_study: Path, tmp_path: Path) -> None:
    assert pictures(run(notebook, real_study, tmp_path)) == PICTURES[notebook.stem]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_study_without_finalists(
    notebook: Path, real_study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    replace(StudyRecord.load(real_study), phase="confirming", ended=None).save(folder)
    for name in ("trials", "epochs", "schedules"):
        (folder / f"{name}.parquet").write_bytes((real_study / f"{name}.parquet").read_bytes())
    run(notebook, folder, tmp_path)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_uses_what_is_public(notebook: Path) -> None:
    read = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert code[0].metadata.get("tags") == ["parameters"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "no stored output"
    source = "\n".join(cell.source for cell in code)
    assert {name.split(".")[0] for name in imported(source)} <= MAY_IMPORT
    attributes = [
        node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
    ]
    assert not [name for name in attributes if name.startswith("_")]
