"""The training loop as Ray calls it, without Ray."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from study.source import TaskSource
from study.training import RunConfig
from study.trial import ScheduleTrial
from tests.tasks import SMALL, load_excerpt

RUN = RunConfig("constant", {"peak_lr": 0.05}, seed=1, epochs=3, batch_size=50)


def started(checkpoint: Path | None) -> ScheduleTrial:
    """As Ray makes one for a trial, and again for a trial whose worker has died."""
    trial = ScheduleTrial.__new__(ScheduleTrial)
    config: dict[str, Any] = {"trial": 0, "run": asdict(RUN)}
    config["checkpoint"] = str(checkpoint) if checkpoint else None
    trial.setup(
        config,
        source=TaskSource.read(SMALL, ()),
        data=None,
        load=lambda task, folder: load_excerpt(folder),
        data_dir=Path(),
        threads=1,
        device="cpu",
        storage=None,
    )
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
