"""The documents: what they name is there, what is generated is fresh, and their commands run."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = (*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/*.md")))
SMALL = ("--task", "digits", "--num-trials", "2", "--epochs", "4", "--families", "constant,cosine")


def test_the_readme_is_read_in_one_sitting() -> None:
    assert (ROOT / "README.md").read_text().count("\n") <= 130


def test_what_is_generated_in_the_docs_is_fresh() -> None:
    """If not: python docs/reference.py."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec
    assert spec.loader
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    blocks = 0
    for page in ROOT.glob("docs/*.md"):
        text = page.read_text()
        assert reference.filled(text) == text, page.name
        blocks += text.count("<!-- end -->")
    assert blocks == 9
    flags = (ROOT / "docs" / "flags.md").read_text()
    assert "| `--peak-lr` | `task` | Peak rates to search" in flags
    *_, last = reference.TABLES["trials"]
    assert f"| `{last}` |" in (ROOT / "docs" / "results.md").read_text()


PROGRAMS = r"lr-study|make|pip|papermill|python -m|ray|export|source|\(umask|RAY_|\.venv/bin"
BY_OTHERS = {
    "lr-study dashboard": "test_dashboard.py::test_a_study_is_watched_while_it_runs_and_afterwards",
    "lr-study run --task examples/": "test_examples.py::test_an_example_runs_as_the_docs_say",
    "lr-study run --task products.py": "test_examples.py::"
    "test_the_readmes_own_task_passes_its_checks",
    "lr-study run --families cosine,my_schedules": "test_study.py::"
    "test_the_docs_own_family_works_as_written",
    "lr-study run --name first --optuna-storage": "test_database.py::"
    "test_a_study_in_a_database_is_killed_and_goes_on_and_is_replayed",
    "lr-study run --logger": "test_loggers.py::",
    "papermill": "test_notebooks.py::test_a_notebook_runs_on_a_real_study",
    "export PGPASSWORD": "test_database.py::",
}
"""Tests that run what a beginning of a command stands for."""
OF_THE_CHECKS = ("make ", "pip install", "source .venv", ".venv/bin/pre-commit")
"""Whoever runs these tests has run these, or they are what runs them."""


def commands(document: Path) -> list[str]:
    """The commands in the code blocks of a document that need no cloud."""
    text = re.sub(r"<!-- needs a cloud -->\n\n(    .*\n)+", "", document.read_text())
    lines = re.findall(rf"^    ((?:{PROGRAMS}).*)$", text.replace("\\\n        ", ""), re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for line in lines]


TYPED = sorted({one for document in DOCUMENTS for one in commands(document)})
HERE = [one for one in TYPED if not one.startswith((*BY_OTHERS, *OF_THE_CHECKS))]


def test_each_command_of_the_docs_is_run_by_a_test() -> None:
    assert len(TYPED) > 30
    for beginning, test in BY_OTHERS.items():
        assert any(one.startswith(beginning) for one in TYPED), f"nobody types {beginning}"
        file, _, name = test.partition("::")
        (path,) = (ROOT / "tests").rglob(file)
        assert not name or f"def {name}(" in path.read_text(), test
    assert all(one.startswith("lr-study ") for one in HERE), HERE


@pytest.mark.slow
def test_the_commands_of_the_docs_run(tmp_path: Path) -> None:
    """On a study of the digits in place of each study; what would train for long only checks."""
    program = [sys.executable, "-m", "study"]

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    for name in ("first", "second"):
        run("run", "--name", name, "--finalists", "2", "--replicates", "2", *SMALL)
    for command in HERE:
        _, *arguments = shlex.split(command.replace("--trial 7", "--trial 1"))
        if arguments[0] in ("run", "sweep") and not {"--resume", "--dry-run"} & {*arguments}:
            arguments += ["--dry-run"]
        if {"--name", "first"} <= {*arguments}:  # which is there already
            arguments += ["--out", "elsewhere"]
        run(*arguments)


def test_every_fault_in_the_table_has_its_test() -> None:
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) > 25
    for file, test in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"


def test_every_link_in_the_documents_leads_to_a_file() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#\s]+)", document.read_text()):
            if target != "example/report/index.html":  # which make docs makes
                assert (document.parent / target).exists(), f"{document.name}: {target}"


NO_BEGINNING = {"Of", "What", "Whether", "Whose", "Who", "Where", "How", "That", "As"}


def test_a_docstring_begins_with_what_is_returned() -> None:
    for package in ("search_spaces", "study", "analysis"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                    first, *_ = (ast.get_docstring(node) or "-").split()
                    name = getattr(node, "name", "its module")
                    assert first not in NO_BEGINNING, f"{path}: {name}: {first} ..."
