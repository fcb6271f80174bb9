"""What the documents name is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_fault_in_the_table_has_its_test() -> None:
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) > 25
    for file, test in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"


def test_every_link_in_the_documents_leads_to_a_file() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\((?!http)([^)#\s]+)", document.read_text()):
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
