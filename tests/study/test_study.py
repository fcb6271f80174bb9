"""Whole studies, with real Ray, real Optuna storage and real images."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import analysis
from analysis import report
from search_spaces.knots import Refined
from search_spaces.preflight import draw
from study import confirm, export, run
from study.search.proposal import Proposal
from study.stages.display import Display
from study.stages.session import LOCK
from study.storage.storage_path import CHECKPOINTS
from study.system.errors import ChangedTaskError, InputError, StudyError
from study.system.hardware import usable_cpus
from study.tasks.builtin.downloads import TRAIN_FILES
from study.tasks.gradients import GradientNorms
from study.training.history import RunConfig
from study.training.training_run import TrainingRun
from tests.study.studies import TIMINGS, Runs, Study, command, small_studies
from tests.tasks import one_at_a_time

THREE = ("--num-trials", 3, "--epochs", 3, "--max-concurrent", 1)


@pytest.mark.slow
def test_the_seed_decides_the_tables(study: Study) -> None:
    flags = ("--num-trials", 12, "--epochs", 2, "--max-concurrent", 1)
    first, again = (study(*flags, "--seed", 3, name=name) for name in ("a", "b"))
    pd.testing.assert_frame_equal(
        first.trials.drop(columns=TIMINGS), again.trials.drop(columns=TIMINGS)
    )
    pd.testing.assert_frame_equal(
        first.epochs.drop(columns="seconds"), again.epochs.drop(columns="seconds")
    )
    pd.testing.assert_frame_equal(first.schedules, again.schedules)


@pytest.mark.slow
def test_trials_run_side_by_side_and_every_family_is_tried(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = []

    def on_trial_start(
        display: Display, proposal: Proposal, original: Any = Display.on_trial_start
    ) -> None:
        original(display, proposal)
        running.append(len(display._running))

    monkeypatch.setattr(Display, "on_trial_start", on_trial_start)
    # Long enough that the second worker is there before the first has done them all.
    results = study("--num-trials", 12, "--epochs", 20, "--max-concurrent", 2)
    trials = results.trials
    assert len(trials) == 12
    assert set(trials["family"]) == set(results.study["search_space"]["families"])
    assert set(trials["status"]) <= {"completed", "diverged"}
    assert max(running) == min(2, usable_cpus())
    steps = results.schedules.groupby("trial")["step"]
    assert (steps.max() + 1 == trials.set_index("trial")["steps"]).all()
    assert results.study["ended"] >= results.study["began"]
    for number in trials["trial"]:
        checkpoints = list((tmp_path / "s" / CHECKPOINTS).glob(f"*/trial-{number:05d}/*"))
        assert len(checkpoints) == 1, "only the last checkpoint stays"


class Finished(NamedTuple):
    """A study of three trials, one at a time."""

    folder: Path
    results: analysis.Results
    running: list[int]
    """Trials, at the end of each epoch."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out, running = tmp_path_factory.mktemp("finished"), []

    def on_epoch(display: Display, *told: Any, original: Any = Display.on_epoch) -> None:
        original(display, *told)
        running.append(len(display._running))

    with pytest.MonkeyPatch.context() as patch, small_studies(out) as study:
        patch.setattr(Display, "on_epoch", on_epoch)
        results = study(*THREE, model="SeesSharedTensors")
    return Finished(out / "s", results, running)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Path:
    """The folder of a finished study, to be spoiled."""
    return Path(shutil.copytree(finished.folder, tmp_path / "s"))


def test_one_at_a_time_is_one_at_a_time(finished: Finished) -> None:
    assert finished.running == [1] * 9


def test_workers_share_the_tensors_of_their_node(finished: Finished) -> None:
    assert list(finished.results.trials["error"]) == [""] * 3


def test_what_is_searched_beside_the_shapes_is_recorded(runs: Runs, study: Study) -> None:
    flags = ("--warmup", "search", "--weight-decay", "search", "--momentum", 0.8)
    kind = ("--optimizer", "adamw", "--families", "cosine,one_cycle", "--num-trials", 6)
    trials = study("--epochs", 1, *flags, *kind).trials.set_index("family")
    assert trials.loc[["cosine"], "params.warmup_fraction"].between(0, 0.3).all()
    assert trials["params.warmup_fraction"].nunique() == 3
    assert trials.loc[["one_cycle"], "params.warmup_fraction"].isna().all()
    assert trials["params.weight_decay"].nunique() == 5, "both defaults have the same"
    assert set(trials["params.momentum"]) == {0.8}
    assert set(trials["params.optimizer"]) == {"adamw"}
    assert trials["peak_lr"].between(1e-4, 1e-2).all()


def test_a_worker_that_dies_costs_no_more_than_its_epoch(
    finished: Finished, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LR_STUDY_TEST_MARKER", str(tmp_path / "died"))
    killed = study(*THREE, name="killed", model="DiesOnce")
    assert (tmp_path / "died").exists()
    assert killed.trials["wall_seconds"].max() < 60, "seconds are not counted twice"
    columns = ["trial", "family", "status", "val_accuracy", "val_loss", "epochs"]
    pd.testing.assert_frame_equal(finished.results.trials[columns], killed.trials[columns])


def test_a_resume_needs_no_checkpoints_of_finished_trials(finished: Finished, copied: Path) -> None:
    shutil.rmtree(copied / CHECKPOINTS)
    assert run.main(["--resume", str(copied)]) == 0
    after = analysis.load(copied)
    pd.testing.assert_frame_equal(finished.results.trials, after.trials)
    pd.testing.assert_frame_equal(finished.results.epochs, after.epochs)


def test_a_renamed_study_goes_on(finished: Finished, copied: Path) -> None:
    renamed = copied.rename(copied.with_name("t"))
    assert run.main(["--resume", str(renamed)]) == 0
    pd.testing.assert_frame_equal(finished.results.trials, analysis.load(renamed).trials)


def test_a_recipe_and_batches_of_any_structure_go_through_all_of_a_study(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trials and finalists, tables, the report and the code; a flag overrides the task."""
    flags = "--families constant,cosine --num-trials 4 --epochs 2 --finalists 2 --replicates 2"
    recipe = "--clip-norm 1 --accumulate 2 --precision bf16 --average ema:0.9"
    results = study(*flags.split(), *recipe.split(), task="tests.tasks:masked")
    assert set(results.trials["status"]) == {"completed"}
    assert set(results.trials["steps"]) == {2 * 12}, "of 1,200 samples, 24 batches an epoch"
    others = ["val_top 3", "val_recall of 0"]
    assert (results.trials["val_top 3"] >= results.trials["val_accuracy"]).all()
    assert results.epochs[others].notna().all(axis=None)
    assert results.finalists[[*others, "test_top 3"]].notna().all(axis=None)
    stored = results.study["recipe"]
    typed = {"clip_norm": 1.0, "accumulate": 2, "precision": "bf16", "average": "ema:0.9"}
    assert stored == {**typed, "optimizer": "parameter_groups"}

    folder = tmp_path / "s"
    report.main([str(folder), "--also", "top 3", "recall of 0"])
    words = "sgd on the task's parameter groups, momentum 0.9 and weight decay 0.0005"
    more = "gradients clipped to a norm of 1, 2 batches a step, bf16, averaged weights (ema:0.9)"
    assert f"{words}, {more}" in capsys.readouterr().out
    page = (folder / "report" / "index.html").read_text()
    assert "Schedules against final top 3" in page
    assert (folder / "report" / "figures" / "also_recall_of_0.png").exists()
    with pytest.raises(InputError, match=r"^--also must be one of loss, top 3, recall of 0, "):
        report.main([str(folder), "--also", "F1"])
    snippet = export.export(export.ExportConfig(str(folder))).code
    for line in ("parameter_groups(model)", "def train_step(", "clip_grad_norm_(", "ema_multi"):
        assert line in snippet
    assert run.main(["--resume", str(folder)]) == 0, "and it is what the study began with"


def test_shapes_made_for_the_task_go_through_all_of_a_study(study: Study, tmp_path: Path) -> None:
    """Workers, tables, report and code know the gradient norms that were measured before."""
    flags = "--families refined,free,linear_to_zero,constant_ema --num-trials 8 --epochs 2"
    more = "--batch-size 64 --warmup none --finalists 2 --replicates 2"
    results = study(*flags.split(), *more.split(), task="digits")
    assert set(results.trials["status"]) == {"completed"}
    measured = GradientNorms(**results.study["gradient_norms"])
    assert len(measured.norms) == results.study["total_steps"] == 36
    folder = tmp_path / "s"
    for row in results.trials[results.trials["family"] == "refined"].to_dict("records"):
        names = ("peak_lr", "smoothing", "warmup_fraction")
        parameters = {
            name: row["peak_lr" if name == "peak_lr" else f"params.{name}"] for name in names
        }
        expected = draw(Refined(measured.weights), parameters, 36)[:, 0]
        used = results.schedules[results.schedules["trial"] == row["trial"]]["lr"]
        np.testing.assert_array_equal(used, expected)
        made: dict[str, Any] = {"model": torch.nn.Linear(1, 1)}
        exec(export.export(export.ExportConfig(str(folder), row["trial"])).code, made)
        rates = []
        for _ in range(36):
            rates.append(made["optimizer"].param_groups[0]["lr"])
            made["optimizer"].step()
            made["schedule"].step()
        np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-12)
    (averaged, *_) = results.trials.loc[results.trials["family"] == "constant_ema", "trial"]
    snippet = export.export(export.ExportConfig(str(folder), averaged)).code
    assert "get_ema_multi_avg_fn(0.5)" in snippet, "0.05 of 36 steps are 2"
    report.main([str(folder)])
    page = (folder / "report" / "index.html").read_text()
    assert "The schedule that the gradients ask for" in page
    assert "The best named shape, linear_to_zero, came to " in page
    assert run.main(["--resume", str(folder)]) == 0, "and it is what the study began with"


@pytest.mark.slow
def test_workers_load_what_is_given_one_at_a_time(study: Study, tmp_path: Path) -> None:
    flags = ("--families", "constant", "--num-trials", 2, "--epochs", 1, "--warmup", "none")
    results = study(*flags, task="tests.tasks:one_at_a_time")
    task = one_at_a_time()
    for row in results.trials.to_dict("records"):
        config = RunConfig("constant", {"peak_lr": row["peak_lr"]}, row["seed"], 1, 50)
        here = TrainingRun(task, task.load_search_data(tmp_path), config).run_epoch()
        assert (row["val_accuracy"], row["val_loss"]) == (here.val_metric, here.val_loss)


OF_ONES_OWN = """
from dataclasses import replace
from near_to_mine import FACTOR
from tests.tasks import small

def make_task():
    task = small()
    return replace(task, loss=lambda outputs, targets: FACTOR * task.loss(outputs, targets))
"""


def test_a_file_of_ones_own_is_recorded_and_must_not_change(
    runs: Runs, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, near, folder = tmp_path / "mine.py", tmp_path / "near_to_mine.py", tmp_path / "s"
    path.write_text(OF_ONES_OWN)
    near.write_text("FACTOR = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    flags = ("--num-trials", 1, "--epochs", 1, "--peak-lr", "auto", "--optimizer", "adamw")
    results = study(*flags, task=f"{path}:make_task")
    assert list(results.trials["status"]) == ["completed"]
    assert results.study["task"]["text"] == OF_ONES_OWN
    assert [len(run["lr"]) for run in results.study["range_test"]] == [200] * 3
    low, high = results.study["search_space"]["peak_lr"]
    assert 1e-5 < low < results.trials["peak_lr"][0] < high < 1
    again = (["--resume", str(folder)], ["--replay", str(folder), "--out", str(tmp_path / "r")])
    monkeypatch.delitem(sys.modules, "near_to_mine")
    near.write_text("FACTOR = 2.5\n")  # what the file imports
    for command_line in again:
        with pytest.raises(ChangedTaskError, match=r"loss\(outputs, targets\): other values"):
            run.main(command_line)
    with pytest.raises(ChangedTaskError, match=r"loss\(outputs, targets\): other values"):
        confirm.main([str(folder)])
    path.write_text(OF_ONES_OWN + "# a remark\n")
    for command_line in again:
        with pytest.raises(InputError, match="line 9 was 'nothing' and is '# a remark'"):
            run.main(command_line)


@pytest.mark.slow
def test_a_search_never_opens_the_test_files(data_dir: Path, tmp_path: Path) -> None:
    """Every process of a study tells by an audit hook what it opens.

    At the first sight of a test file it keeps a copy of the journal.
    """
    log, seen = tmp_path / "opened", tmp_path / "seen"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, shutil, sys\n"
        f"log = os.open({str(log)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "def hook(event, args):\n"
        "    if event == 'open' and 'ubyte' in str(args[0]):\n"
        "        os.write(log, f'{os.getpid()} {args[0]}\\n'.encode())\n"
        f"    unseen = not os.path.exists({str(seen)!r})\n"
        "    if event == 'open' and 't10k' in str(args[0]) and unseen:\n"
        f"        shutil.copy({str(tmp_path / 's' / 'optuna.journal')!r}, {str(seen)!r})\n"
        "sys.addaudithook(hook)\n"
        "os.write(log, f'{os.getpid()} {sys.orig_argv}\\n'.encode())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    flags = ("--num-trials", 2, "--epochs", 1, "--data-dir", data_dir)
    done = subprocess.run(
        command(tmp_path, *flags), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    opened = log.read_text()
    assert "default_worker.py" in opened, "the workers were watched too"
    assert all(name in opened for name in TRAIN_FILES), "the hook sees what is opened"
    assert "t10k" not in opened
    assert not seen.exists()
    shutil.rmtree(tmp_path / "s")
    arguments = command(tmp_path, *flags, "--finalists", 2, "--replicates", 2)
    subprocess.run(arguments, capture_output=True, env=environment, check=True)
    assert "t10k" in log.read_text(), "the hook would have seen it"
    storage = JournalStorage(JournalFileBackend(str(seen)))
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert len(trials) == 2
    assert all(trial.state.is_finished() for trial in trials)


@pytest.mark.slow
def test_the_docs_own_family_works_as_written(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text()
    (source,) = re.findall(r"```python\n(from optuna.*?)```", page, flags=re.DOTALL)
    assert "my_schedules:HalfAndHalf" in page
    (tmp_path / "my_schedules.py").write_text(source)
    flags = ("--families", "cosine,my_schedules:HalfAndHalf", "--num-trials", 2, "--epochs", 2)
    arguments = command(tmp_path, *flags, "--task", "digits")
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    trials = analysis.load(tmp_path / "s").trials
    own = trials[trials["family"] == "my_schedules:HalfAndHalf"]
    assert list(own["status"]) == ["completed"]
    assert own["params.when"].between(0.3, 0.8).all()
    exported = [sys.executable, "-m", "study.export", str(tmp_path / "s"), "--trial", "1"]
    done = subprocess.run(exported, capture_output=True, text=True, cwd=tmp_path)
    assert "torch.optim.lr_scheduler.StepLR(optimizer, step_size=" in done.stdout


def test_two_processes_cannot_run_one_study(study: Study, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with FileLock(tmp_path / "s" / LOCK), pytest.raises(StudyError) as refused:
        study("--num-trials", 1)
    assert "is in use by another process" in str(refused.value)
    assert "\n" not in str(refused.value)
