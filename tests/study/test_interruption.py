"""Studies that are interrupted, and what their resumes make of them."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

import analysis
from study import run
from study.storage.checkpoint_files import read_checkpoint
from study.storage.storage_path import CHECKPOINTS
from study.task import SearchData
from study.training.history import RunConfig
from study.training.training_run import TrainingRun
from tests.records import store
from tests.study.studies import command, journal, parameters_of
from tests.tasks import SMALL, small

pytestmark = pytest.mark.unix
EPOCHS, BATCH = 4, 5


@pytest.fixture(
    scope="module", params=[signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def interrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 5 trials, interrupted in the middle of a trial, then resumed."""
    tmp_path = tmp_path_factory.mktemp("study")
    folder = tmp_path / "s"
    # An epoch takes two tenths of a second: none is short beside the signal's way.
    flags = ("--task", SMALL, "--batch-size", BATCH, "--num-trials", 5, "--epochs", EPOCHS)
    low = ("--peak-lr", "0.001,0.01")  # with so few samples a step, more diverges at once
    # Once its first checkpoint is there, trial 3 is in the second of its epochs.
    halfway = folder / CHECKPOINTS / "attempt-001" / "trial-00003" / "checkpoint_000000"
    with subprocess.Popen(
        command(tmp_path, *flags, *low, "--max-concurrent", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        while not (halfway / "manifest.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        if request.param == signal.SIGINT:  # a terminal's Ctrl-C reaches the whole group
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        output = process.communicate()[0]
    assert process.returncode == 130, output
    last = output.splitlines()[-1]
    assert last == f"interrupted; resume with: python -m study.run --resume {folder}"
    shutil.copy(folder / "trials.parquet", folder / "before.parquet")
    done = subprocess.run(command(tmp_path, "--resume", folder), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"report: {folder / 'report' / 'index.html'}"
    return folder


def test_an_interrupted_study_ends_with_every_trial_once(interrupted: Path) -> None:
    trials = analysis.load(interrupted).trials
    before = pd.read_parquet(interrupted / "before.parquet")
    assert 2 <= len(before) < 5, "it was interrupted in the middle"
    assert list(trials["trial"]) == list(range(5))
    kept = trials[trials["trial"].isin(before["trial"])].reset_index(drop=True)
    assert kept["wall_seconds"].tolist() == before["wall_seconds"].tolist(), "none is run twice"
    states = [trial.state for trial in journal(interrupted).trials]
    assert len(states) == 5
    assert not {TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL} & set(states)


def test_trials_end_bit_for_bit_as_if_never_interrupted(
    interrupted: Path, small_mnist: SearchData
) -> None:
    trials = analysis.load(interrupted).trials
    assert 3 not in set(pd.read_parquet(interrupted / "before.parquet")["trial"])
    for row in trials[trials["trial"] >= 3].to_dict("records"):
        config = RunConfig(row["family"], parameters_of(row), row["seed"], EPOCHS, BATCH)
        whole = TrainingRun(small(), small_mnist, config)
        while not whole.history.ended:
            whole.run_epoch()
        found, _ = store(interrupted / CHECKPOINTS).find(row["trial"], config.digest())
        assert found is not None
        state, history = read_checkpoint(found.folder)
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(tensor, state["model"][name]), name
        assert history.curve == whole.history.curve
        assert row["val_accuracy"] == whole.history.epochs[-1].val_metric


@pytest.mark.usefixtures("study")
def test_resuming_a_finished_study_changes_nothing(interrupted: Path) -> None:
    before = analysis.load(interrupted)
    for name in ("trials", "epochs", "schedules"):
        (interrupted / f"{name}.parquet").unlink()
    assert run.main(["--resume", str(interrupted)]) == 0
    after = analysis.load(interrupted)
    for name in ("trials", "epochs", "schedules"):
        pd.testing.assert_frame_equal(getattr(before, name), getattr(after, name))
