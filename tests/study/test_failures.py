"""Trials that fail, in whole studies: whose fault it is, and what is recorded of it."""

import os
import subprocess
from pathlib import Path

import pytest
from optuna.trial import TrialState

import analysis
from study import run
from study.storage.storage_path import CHECKPOINTS
from study.system.errors import StudyError
from tests.study.studies import Study, command, journal


def test_an_error_in_the_users_code_is_recorded_not_retried(study: Study, tmp_path: Path) -> None:
    """And where it comes each time, not every trial is spent on it; a resume tries the others."""
    flags = ("--num-trials", 4, "--epochs", 3, "--max-concurrent", 1)
    with pytest.raises(StudyError) as stopped:
        study(*flags, model="RaisesInSecondEpoch")
    assert "first 3 failed alike, with: RuntimeError: this layer is broken" in str(stopped.value)
    assert str(stopped.value).endswith(f"python -m study.run --resume {tmp_path / 's'}")
    trials = analysis.load(tmp_path / "s").trials
    assert list(trials["status"]) == ["failed"] * 3
    assert list(trials["error"]) == ["RuntimeError: this layer is broken"] * 3
    assert list(trials["epochs"]) == [1] * 3
    for _ in range(2):
        with pytest.raises(StudyError, match="all 4 trials failed, the last with: RuntimeError"):
            run.main(["--resume", str(tmp_path / "s")])
        results = analysis.load(tmp_path / "s")
        assert list(results.trials["status"]) == ["failed"] * 4
        assert results.study["ended"]
    assert {trial.state for trial in journal(tmp_path / "s").trials} == {TrialState.FAIL}


@pytest.mark.slow
def test_a_worker_that_always_dies_is_a_failure_with_its_reason(
    study: Study, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=r"all 1 trials failed, the last with: .* died"):
        study("--num-trials", 1, "--epochs", 2, model="AlwaysDies")
    (row,) = analysis.load(tmp_path / "s").trials.to_dict("records")
    assert row["status"] == "failed"
    assert "died" in row["error"]
    (trial,) = journal(tmp_path / "s").trials
    assert trial.state == TrialState.FAIL


def test_an_error_in_our_own_records_ends_the_study(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("study.search.optuna_trials.OptunaTrials.finish", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        study("--num-trials", 4, "--epochs", 1)


BY_A_SET = """
from dataclasses import replace
from torch.utils.data import TensorDataset
from study.task import SearchData, Split
from study.tasks.builtin import digits

NAMES = list({"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"})

def make_task():
    task = digits.make_task()

    def load(data_dir):
        data = task.load_search_data(data_dir)
        number = __import__("torch").tensor([sorted(NAMES).index(name) for name in NAMES])
        return SearchData(*(TensorDataset(x, number[y]) for x, y in data))

    return replace(task, load_search_data=load)
"""


@pytest.mark.slow
def test_a_worker_that_numbers_the_classes_otherwise_trains_nothing(tmp_path: Path) -> None:
    """Each process hashes text by its own seed, and so has another order of a set."""
    path = tmp_path / "mine.py"
    path.write_text(BY_A_SET)
    flags = ("--task", f"{path}:make_task", "--num-trials", 3, "--epochs", 2)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    done = subprocess.run(
        command(tmp_path, *flags), env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "began with: the first training targets: other values" in done.stderr
    assert done.stderr.count("\n") == 1
    trials = journal(tmp_path / "s").trials
    assert {trial.state for trial in trials} == {TrialState.RUNNING}, "they have no end"
    assert not list((tmp_path / "s" / CHECKPOINTS).glob("*/*/*/state.pt"))
