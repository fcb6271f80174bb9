"""The command that makes a report: of any study, at any time, and of what is none."""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.figures import style
from analysis.page import html as page
from analysis.page.report_page import write_report
from analysis.page.sections import SECTIONS
from analysis.report import ReportConfig, main
from benchmarks.report import made_up_study
from search_spaces import FAMILIES
from study.system.errors import InputError, StudyError
from tests.analysis.figures.test_figures import MIXED, STUDY, Outcome, page_of, write_study
from tests.records import write_record


def test_of_a_study_that_has_only_begun_the_page_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "No trial has completed yet."
    text = (tmp_path / "report" / "index.html").read_text()
    assert "No trial has completed yet." in text
    assert "The study has not ended yet: 0 of 40 trials are done." in text
    assert '<table id="trials">' not in text
    assert 'class="overview"' not in text


def test_of_a_study_in_which_everything_diverged_the_page_says_so(tmp_path: Path) -> None:
    outcomes: list[Outcome] = [("cosine", "diverged", 0.1), ("step", "failed", 0.1)]
    write_study(tmp_path, outcomes * 20, STUDY | {"ended": "2026"})
    text = page_of(tmp_path)
    assert "No trial has completed: 20 diverged and 20 failed." in text
    assert "lower them by --peak-lr LOW,HIGH" in text
    assert "20 diverged" in text
    assert 'class="overview"' not in text
    assert text.count('<tr id="trial-') == 40, "and every one is in the table"
    assert 'id="winner"' not in text


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_the_future(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"version": "99"}), path)


def of_something_else(path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(path)


@pytest.mark.parametrize("name", ["trials", "epochs", "schedules"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cannot be read"),
        (of_the_future, "has version 99, newer than this project reads"),
        (of_something_else, "has no column"),
        (Path.unlink, "cannot be read"),
    ],
)
def test_a_damaged_table_is_named(
    damage: Callable[[Path], None], message: str, name: str, tmp_path: Path
) -> None:
    write_study(tmp_path, MIXED)
    damage(tmp_path / f"{name}.parquet")
    if (damage, name) == (Path.unlink, "trials"):
        assert "No trial has completed yet." in page_of(tmp_path)
        return
    with pytest.raises(InputError, match=rf"{name}\.parquet' {message}"):
        main([str(tmp_path)])
    assert not (tmp_path / "report").exists()


def test_a_folder_that_is_no_study_gets_a_line_and_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        main([str(tmp_path)])
    assert str(refused.value) == f"'{tmp_path}' is no study: it has no study.json"
    assert not list(tmp_path.iterdir())


def test_where_nothing_may_be_written_it_says_so_in_a_line(tmp_path: Path) -> None:
    write_study(tmp_path, MIXED)
    (tmp_path / "report").write_text("a file in its place")
    with pytest.raises(InputError) as refused:
        main([str(tmp_path)])
    assert str(refused.value) == (
        f"'{tmp_path / 'report'}' cannot be written: '{tmp_path / 'report' / 'figures'}': "
        "Not a directory; choose another place"
    )


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, InputError),
        (errno.EROFS, InputError),
        (errno.ENOSPC, StudyError),
        (errno.EIO, StudyError),
    ],
)
def test_no_right_to_write_is_bad_input_and_a_full_disk_is_not(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, MIXED)

    def refuse(*arguments: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(style, "write_atomically", refuse)
    with pytest.raises(kind, match="cannot be written: no"):
        write_report(tmp_path)
    assert not (tmp_path / "report" / "index.html").exists()
    assert not plt.get_fignums(), "every figure is closed"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a report for a paper."""
    folder = tmp_path_factory.mktemp("paper")
    write_study(folder, MIXED)
    assert main([str(folder), "--style", "paper"]) == 0
    return folder


def test_for_a_paper_there_are_vectors_with_their_letters(paper: Path) -> None:
    folder = paper / "report" / "figures"
    for section in (one for one in SECTIONS if (folder / f"{one.name}.png").exists()):
        pdf = (folder / f"{section.name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Subtype /Image" not in pdf, "vectors, no picture"
        assert b"/FontFile2" in pdf, "TrueType"
        svg = (folder / f"{section.name}.svg").read_text()
        assert "<text" in svg
        width = float(svg.split('width="')[1].split("pt")[0]) / 72
        assert width in (3.4, 7.0), "one column or two"
    assert ReportConfig(str(paper)).style == "screen"


def test_the_same_study_makes_the_same_files(paper: Path) -> None:
    files = sorted((paper / "report" / "figures").iterdir())
    assert len(files) == 3 * 5
    before = {path.name: path.read_bytes() for path in files}
    write_report(paper, "paper")
    assert before == {path.name: path.read_bytes() for path in files}


def test_the_names_in_a_vector_can_be_searched_for(tmp_path: Path) -> None:
    write_study(tmp_path, MIXED)
    write_report(tmp_path)
    for name in ("schedules", "overview"):
        drawn = (tmp_path / "report" / "figures" / f"{name}.svg").read_text()
        for family in ("one_cycle", "cosine"):
            assert f">{family}</text>" in drawn or f">{family}</tspan>" in drawn


def test_an_ended_study_that_lost_its_trials_is_damaged(tmp_path: Path) -> None:
    write_study(tmp_path, MIXED, STUDY | {"ended": "2026"})
    (tmp_path / "trials.parquet").unlink()
    with pytest.raises(InputError, match=r"trials\.parquet' cannot be read: .* writes it anew"):
        write_report(tmp_path)


def test_without_curves_or_names_of_errors_there_is_a_page(tmp_path: Path) -> None:
    write_study(tmp_path, [("cosine", "failed", 0.1), ("step", "failed", 0.1)])
    curves, trials = (tmp_path / f"{name}.parquet" for name in ("schedules", "trials"))
    pq.write_table(pq.read_table(curves).slice(0, 0), curves)
    pd.read_parquet(trials).assign(error=None).to_parquet(trials)
    text = page_of(tmp_path)
    assert 'class="panels"' not in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


@pytest.mark.parametrize("error", [RuntimeError("boom"), OSError("no class definition")])
def test_a_family_whose_code_raises_costs_its_code_alone(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, [("cosine", "completed", 0.9)] * 2)

    def recipes(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(FAMILIES["cosine"], "recipes", recipes, raising=False)
    text = page_of(tmp_path)
    assert f"the code of cosine cannot be written: {type(error).__name__}: {error}" in text
    assert 'id="winner"' not in text


def test_a_column_of_numbers_may_begin_with_nothing() -> None:
    rows = [["a", "", "1"], ["b", "1 (1 to 2)", "2"], ["c", "", "-3"]]
    assert page.table(["x", "y", "z"], rows)["numbers"] == [False, True, True]


@pytest.mark.slow
def test_a_study_of_two_thousand_trials_has_a_report(tmp_path: Path) -> None:
    made_up_study(tmp_path, 2_000)
    text = page_of(tmp_path)
    assert text.count('<tr id="trial-') == 2_000
    assert "Which parameters decide" in text
    assert len(text.encode()) < 2e6, "bytes, which every mail takes"
