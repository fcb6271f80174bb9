"""What the documents name is there."""

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
