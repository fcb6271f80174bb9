"""One study at several budgets: what is run, what goes on, and how families are ranked."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.findings.studies import load_studies, rank_by_study
from analysis.load import is_sweep, sweep_folders
from analysis.page.report_page import write_report
from study import sweep
from study.system.errors import InputError
from tests.analysis.figures.test_figures import STUDY, Outcome, write_study


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A sweep in which cosine overtakes step."""
    for epochs, cosine, step in ((2, 0.8, 0.9), (10, 0.99, 0.95)):
        outcomes: list[Outcome] = [
            *[("cosine", "completed", cosine - k / 1000) for k in range(5)],
            *[("step", "completed", step - k / 1000) for k in range(5)],
            ("rex", "diverged", 0.0),
        ]
        study = STUDY | {"ended": "2026", "config": {"epochs": epochs}}
        write_study(tmp_path / f"epochs-{epochs}", outcomes, study)
    begun = STUDY | {"config": {"epochs": 20}}
    write_study(tmp_path / "epochs-20", [], begun)
    return tmp_path


def test_families_are_ranked_at_each_budget(finished: Path) -> None:
    assert is_sweep(finished)
    assert not is_sweep(finished / "epochs-2")
    ranks = rank_by_study(load_studies(sweep_folders(finished))).set_index(["study", "family"])
    assert ranks["rank"].to_dict() == {
        ("2 epochs", "step"): 1,
        ("2 epochs", "cosine"): 2,
        ("2 epochs", "rex"): 3,
        ("10 epochs", "cosine"): 1,
        ("10 epochs", "step"): 2,
        ("10 epochs", "rex"): 3,
    }, "and the one at 20 epochs, without a trial, is left out"


def test_families_that_tie_share_the_mean_of_their_ranks(tmp_path: Path) -> None:
    outcomes: list[Outcome] = [("rex", "completed", 0.8), ("linear", "diverged", 0.0)]
    outcomes += [
        ("cosine", "completed", 0.9),
        ("step", "completed", 0.9),
        ("exponential", "failed", 0.0),
    ]
    write_study(tmp_path / "epochs-3", outcomes)
    ranks = rank_by_study(load_studies(sweep_folders(tmp_path))).set_index("family")
    assert ranks["rank"].to_dict() == {
        "cosine": 1.5,
        "step": 1.5,
        "rex": 3,
        "linear": 4.5,
        "exponential": 4.5,
    }


def test_a_sweep_has_a_page_with_links_to_its_studies(finished: Path) -> None:
    write_report(finished / "epochs-10")
    index, lines = write_report(finished)
    page = index.read_text()
    for name in ("ranks", "winners"):
        assert (finished / "report" / "figures" / f"{name}.png").stat().st_size > 1_000
    assert 'href="../epochs-10/report/index.html"' in page
    assert "../epochs-2/" not in page, "which has no report"
    assert re.search(r'<td>rex</td>\s*<td class="number">3</td><td class="number">3</td>', page)
    assert [line.split(":")[0] for line in lines] == ["2 epochs", "10 epochs", "20 epochs"]
    assert "cosine" in lines[1]
    assert lines[2].endswith("No trial has completed yet.")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--epochs 0,2", r"--epochs must be whole numbers of at least 1, like 1,2,4,8, not '0,2'"),
        ("--epochs 1,x", r"--epochs must be whole numbers .* not '1,x'"),
        ("--epochs", r"--epochs must be whole numbers .* not ''"),
        ("--epochs=2, --name x", r"--epochs must be whole numbers .* not '2,'"),
        ("--epochs 1 --epochs 2", r"--epochs must be given once"),
        ("--resume x", r"--resume is of one study; a sweep resumes by its --name"),
        ("--epoch 2", r"did you mean --epochs\?"),
    ],
)
def test_bad_input_is_named(
    flags: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        sweep.main(flags.split())
    assert not list(tmp_path.iterdir())


def test_a_sweep_has_a_folder_of_its_own(finished: Path) -> None:
    with pytest.raises(InputError, match="epochs-2' holds one study; choose another --name"):
        sweep.main(["--out", str(finished), "--name", "epochs-2"])


@pytest.mark.slow
def test_a_sweep_runs_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    flags = ["--task", "digits", "--batch-size", "32", "--families", "constant,cosine"]
    flags += ["--num-trials", "4", "--finalists", "2", "--replicates", "2", "--name", "s"]
    command = [sys.executable, "-m", "study.sweep", *flags, "--out", str(tmp_path), "--epochs"]
    subprocess.run([*command, "2"], check=True, capture_output=True)
    first = tmp_path / "s" / "epochs-2"
    before = (first / "trials.parquet").stat().st_mtime_ns
    done = subprocess.run([*command, "1,2"], check=True, capture_output=True, text=True)
    assert (first / "trials.parquet").stat().st_mtime_ns == before
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 's' / 'report' / 'index.html'}"
    assert len(pd.read_parquet(tmp_path / "s" / "epochs-1" / "finalists.parquet")) == 4
    refused = subprocess.run([*command, "1,2", "--seed", "3"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "epochs-1' is a study with --seed 0, not 3" in refused.stderr
