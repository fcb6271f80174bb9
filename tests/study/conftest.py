"""What tests of whole studies share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study.studies import Runs, Study, small_studies


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """Runs a study of a small task in this process."""
    with small_studies(tmp_path) as run_study:
        yield run_study


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)
