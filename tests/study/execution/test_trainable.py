"""The training loop as Ray calls it, without Ray."""

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from study.execution.trainable import ScheduleTrial, WorkerSetup
from study.storage.checkpoint_files import read_history
from study.storage.storage_path import StoragePath
from study.task import SearchData
from study.tasks.data import TrialData
from study.tasks.task_source import TaskSource
from study.training.check_task import check_task
from study.training.history import RunConfig
from tests.tasks import SMALL, load_excerpt, tensors

RUN = RunConfig("constant", {"peak_lr": 0.05}, seed=1, epochs=3, batch_size=50)


def started(checkpoint: Path | None, trace: Any = None) -> ScheduleTrial:
    """As Ray makes one for a trial, and again for a trial whose worker has died."""
    trial = ScheduleTrial.__new__(ScheduleTrial)
    config: dict[str, Any] = {"trial": 0, "run": asdict(RUN)}
    config["checkpoint"] = str(checkpoint) if checkpoint else None
    worker = WorkerSetup(
        source=replace(TaskSource.read(SMALL, ()), trace=trace),
        shared=None,
        load=lambda task, folder: TrialData(load_excerpt(folder)),
        data_dir=Path(),
        threads=1,
        device="cpu",
        checkpoints=StoragePath.of("nowhere"),
    )
    trial.setup(config, worker=worker)
    return trial


def saved(trial: ScheduleTrial, folder: Path) -> Path:
    folder.mkdir()
    trial.save_checkpoint(str(folder))
    return folder


@pytest.mark.parametrize("gone", [False, True])
def test_an_adopted_trial_outlives_its_worker(tmp_path: Path, gone: bool) -> None:
    """What it was adopted from has been deleted since; Ray restores what it wrote itself."""
    first = started(None)
    assert first.step()["epoch"] == 1
    adopted_from = saved(first, tmp_path / "1")
    adopted = started(adopted_from)
    assert adopted.step()["epoch"] == 2
    own = saved(adopted, tmp_path / "2")
    if gone:
        for file in adopted_from.iterdir():
            file.unlink()
    replaced = started(adopted_from)
    replaced.load_checkpoint(str(own))
    result = replaced.step()
    assert (result["epoch"], result["status"]) == (3, "completed")


def test_what_was_recorded_of_a_run_says_where(tmp_path: Path) -> None:
    trial = started(None)
    trial.step()
    assert trial._run
    assert trial._run.history.device == "cpu"
    assert trial._run.history.node


def test_a_worker_that_would_train_on_something_else_trains_nothing(tmp_path: Path) -> None:
    """The trial has no end then: it is resumed when the study is."""
    task = TaskSource.read(SMALL, ()).make()
    data = load_excerpt(tmp_path)
    trace = check_task(task, data, 50, "cpu")
    result = started(None, trace).step()
    assert (result["epoch"], result["refused"], result["done"]) == (1, "", False)
    other = SearchData(tensors(data.train)._replace(inputs=-tensors(data.train).inputs), data[1])
    trial = started(None, check_task(task, other, 50, "cpu"))
    result = trial.step()
    assert "began with: the first training inputs: other values" in result["refused"]
    assert (result["epoch"], result["samples"], result["done"]) == (0, 0, True)
    history = read_history(StoragePath.of(saved(trial, tmp_path / "1")))
    assert (history.status, history.epochs) == ("running", [])


def test_a_worker_imports_nothing_that_it_does_not_train_with() -> None:
    """Each pays for what it imports, in seconds and in memory."""
    source = (
        "import pathlib, sys, study.execution.trainable\n"
        "from study.tasks.builtin import cifar10, digits, fashion_mnist, mnist\n"
        "from study.training.history import RunConfig\n"
        "from study.training.training_run import TrainingRun\n"
        "from tests.tasks import load_excerpt\n"
        "[one.make_task() for one in (cifar10, digits, fashion_mnist)]\n"
        "data = load_excerpt(pathlib.Path())\n"
        "for optimizer in 'sgd', 'adamw':\n"
        "    parameters = {'peak_lr': 0.01, 'optimizer': optimizer}\n"
        "    config = RunConfig('constant', parameters, seed=1, epochs=2, batch_size=500)\n"
        "    run, again = (TrainingRun(mnist.make_task(), data, config) for _ in range(2))\n"
        "    run.run_epoch()\n"
        "    again.load_state(run.state(), run.history)\n"
        "    again.run_epoch()\n"
        "heavy = {'sklearn', 'scipy', 'matplotlib', 'seaborn', 'sqlalchemy', 'torch._dynamo'}\n"
        "print(heavy & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
