"""Several studies on one page."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from analysis.compare import CompareConfig, main
from analysis.findings.studies import load_studies, rank_by_study, winning_curves
from analysis.page.report_page import write_report
from study.system.errors import InputError
from study.tasks.metric import RMSE
from tests.analysis.figures.test_figures import STUDY, Outcome, write_study
from tests.analysis.page.test_verdict import about, study_of
from tests.conftest import run_command

WELL, BADLY = 0.95, 0.9


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two studies with two families in common, whose order differs, and a third in one of them."""
    a, b = tmp_path / "a", tmp_path / "b"
    outcomes: list[Outcome] = [("cosine", "completed", WELL), ("step", "completed", BADLY)]
    write_study(a, [*outcomes, ("rex", "completed", 0.99)], STUDY | {"ended": "2026"})
    swapped: list[Outcome] = [("cosine", "completed", BADLY), ("step", "completed", WELL)]
    config = {"epochs": 2, "batch_size": 64}
    write_study(b, swapped, STUDY | {"ended": "2026", "config": config})
    return [a, b]


def test_ranks_are_among_the_families_that_all_studies_tried(folders: list[Path]) -> None:
    ranks = rank_by_study(load_studies(folders))
    assert ranks[["study", "family", "rank"]].to_numpy().tolist() == [
        ["a", "cosine", 1],
        ["a", "step", 2],
        ["b", "step", 1],
        ["b", "cosine", 2],
    ]


def test_studies_that_share_no_family_have_no_ranks(folders: list[Path], tmp_path: Path) -> None:
    write_study(tmp_path / "c", [("linear", "completed", 0.9)])
    studies = load_studies([*folders, tmp_path / "c"])
    assert rank_by_study(studies).empty
    assert set(winning_curves(studies)["family"]) == {"rex", "step", "linear"}


def test_labels_tell_studies_apart(folders: list[Path], tmp_path: Path) -> None:
    assert [study.label for study in load_studies(folders)] == ["a", "b"]
    for epochs in (2, 8):
        config = {"epochs": epochs, "name": f"e{epochs}", "max_concurrent": epochs}
        study = STUDY | {"config": config}
        write_study(tmp_path / f"e{epochs}", [("cosine", "completed", 0.9)], study)
    only_epochs = load_studies([tmp_path / "e2", tmp_path / "e8"])
    assert [study.label for study in only_epochs] == ["2 epochs", "8 epochs"]
    (tmp_path / "other").mkdir()
    write_study(tmp_path / "other" / "a", [("cosine", "completed", 0.9)])
    alike = load_studies([folders[0], tmp_path / "other" / "a"])
    assert [study.label for study in alike] == [f"{tmp_path.name}/a", "other/a"]


def test_the_command_makes_a_page(folders: list[Path], tmp_path: Path) -> None:
    write_report(folders[0])
    out = tmp_path / "x y"
    done = run_command("analysis.compare", *folders, "--out", out, "--style", "paper")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"comparison: {out / 'index.html'}"
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:2]] == ["a", "b"]
    page = (out / "index.html").read_text()
    assert f'href="{os.path.relpath(folders[0] / "report" / "index.html", out)}"' in page
    assert page.count('class="sheet"') == 2
    for name in ("ranks", "winners"):
        assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert f"--out '{out}'" in page.replace("&#39;", "'"), "the command, as it is typed"


def test_a_study_without_a_trial_and_one_of_another_metric_have_their_place(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path / "begun", [])
    write_study(tmp_path / "rmse", [("cosine", "completed", 3.0)], ranking=RMSE)
    flags = [*map(str, folders), str(tmp_path / "begun"), str(tmp_path / "rmse")]
    assert main([*flags, "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "begun: No trial has completed yet."
    assert "3 validation RMSE" in lines[3]
    assert "begun" in (tmp_path / "out" / "index.html").read_text()


def test_of_studies_without_any_trial_the_page_says_so(tmp_path: Path) -> None:
    for name in "ab":
        write_study(tmp_path / name, [])
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "o")]) == 0
    page = (tmp_path / "o" / "index.html").read_text()
    assert page.count("No trial has completed yet.") == 2
    assert 'class="sheet"' not in page


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    names = ["_old", "a#1", "50%25", "x?y z", "a$b_$"]
    for name in names:
        write_study(tmp_path / name, [("cosine", "completed", 0.9)] * 2)
        write_report(tmp_path / name)
    twice = [str(tmp_path / name) for name in (*names, *names)]
    assert main([*twice, "--out", str(tmp_path / "o")]) == 0
    page = (tmp_path / "o" / "index.html").read_text()
    links = re.findall(r'href="([^"]*index.html)"', page)
    assert [unquote(link) for link in links] == [f"../{name}/report/index.html" for name in names]
    assert not any(sign in link for link in links for sign in "#? $")
    drawn = (tmp_path / "o" / "figures" / "winners.svg").read_text()
    assert all(f">cosine in {name}</text>" in drawn for name in names)


def test_of_studies_with_finalists_their_claims_are_shown_behind_what_makes_them_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"cosine": about(0.98), "cosine (default)": about(0.97), "constant": about(0.96)}
    study_of(tmp_path / "decided", values, trials={"cosine": 4})
    study_of(tmp_path / "short", {"cosine": about(0.98), "step": ["failed", 0.97]}, (2,))
    flags = [str(tmp_path / name) for name in ("decided", "short")]
    assert main([*flags, "--out", str(tmp_path / "o")]) == 0
    decided, short, _ = capsys.readouterr().out.splitlines()
    assert decided.startswith("decided: First of all: the finalists were tuned unequally")
    assert ". cosine wins: after 7 seeds it was found better than every other finalist." in decided
    assert short.startswith("short: No winner: cosine has the best mean, but 2 seeds")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", (tmp_path / "o" / "index.html").read_text())
    table = cells[cells.index("step") - 3 :]
    assert [table[k] for k in (0, 3, 6, 9)] == ["cosine", "step", "cosine (default)", "constant"]
    assert table[4:6] == ["", "97.00%"], "of the one seed without an interval"


def test_one_study_is_nothing_to_compare(folders: list[Path]) -> None:
    with pytest.raises(InputError, match="two studies or more to compare, not 1"):
        main([str(folders[0]), f"{folders[0]}/../a"])
    with pytest.raises(InputError, match="is no study"):
        main([str(folders[0]), "nowhere"])
    assert CompareConfig(("a", "b")).out == Path("comparison")
