"""Whole studies for tests: as a function, and as the command that a user gives."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import analysis
from study import run
from study.results.study_record import StudyRecord
from study.system.errors import InputError
from study.training.history import EpochRecord, History
from tests.tasks import SMALL

TIMINGS = ["train_seconds", "wall_seconds"]
Study = Callable[..., analysis.Results]


def without_reports(patch: pytest.MonkeyPatch) -> None:
    """Let studies of this process end without one."""
    for stage in ("ending", "forgiving"):
        patch.setattr(f"study.stages.{stage}.start_report", lambda _: None)
        patch.setattr(f"study.stages.{stage}.finish_report", lambda *_: 0)


@contextlib.contextmanager
def small_studies(out: Path) -> Iterator[Study]:
    """Runs studies of a small task in this process, without reports."""

    def run_study(
        *flags: object, name: str = "s", task: str = SMALL, model: str = ""
    ) -> analysis.Results:
        fixed = ["--task", task, "--name", name, "--out", str(out), "--batch-size", "50"]
        if model:
            fixed += ["--task-args", f"model={model}"]
        if "--finalists" not in flags:
            fixed += ["--finalists", "0"]
        assert run.main([*fixed, *map(str, flags)]) == 0
        return analysis.load(out / name)

    with pytest.MonkeyPatch.context() as patch:
        without_reports(patch)
        yield run_study
    assert not ray.is_initialized()


def refusal(*flags: object) -> str:
    """The message with which a study of the digits is refused."""
    with pytest.raises(InputError) as caught:
        run.main([*map(str, ("--task", "digits", *flags))])
    message = str(caught.value)
    assert "\n" not in message
    return message


def journal(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name=folder.name, storage=storage)


def parameters_of(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The schedule's parameters in a row of trials.parquet, as a run takes them."""
    return {
        str(key).removeprefix("params."): value
        for key, value in row.items()
        if str(key).startswith("params.") and pd.notna(value)
    } | {"peak_lr": row["peak_lr"]}


def command(tmp_path: Path, *flags: object) -> list[str]:
    fixed: list[object] = []
    if "--resume" not in flags:
        fixed += ["--out", tmp_path, "--name", "s"]
    if not {"--resume", "--replay", "--finalists"} & set(flags):
        fixed += ["--finalists", 0]
    return [sys.executable, "-m", "study.run", *map(str, [*fixed, *flags])]


@contextlib.contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A study in a session of its own, of which nothing is left at the end."""
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class Killed(BaseException):
    """Nothing that anybody answers."""


class Runs:
    """In the place of the machine: completes all runs at once, and counts them.

    It is killed before the step with a number, of those that write study.json or run anything.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[int] = []
        self.steps_left = 10**9
        self.outcome = History("completed", [EpochRecord(1, 9, 0.1, 1, 1, 0.5, 1)])
        monkeypatch.setattr("study.execution.trial_runner.TrialRunner.start", lambda _: None)
        monkeypatch.setattr(
            "study.execution.trial_runner.TrialRunner.run", lambda _, trial_set: self.run(trial_set)
        )
        without_reports(monkeypatch)
        save = StudyRecord.save

        def save_in_a_step(record: StudyRecord, folder: Path) -> None:
            self.step()
            save(record, folder)

        monkeypatch.setattr(StudyRecord, "save", save_in_a_step)

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Killed

    def run(self, trial_set: Any) -> None:
        self.step()
        runs = [*trial_set.source.unfinished()]
        runs += [trial_set.source.propose() for _ in range(trial_set.total - len(runs))]
        self.ended = [one.number for one in runs]
        for one in runs:
            trial_set.source.finish(one.number, self.outcome)
            trial_set.observers[0].on_trial_end(one, self.outcome)
        self.step()
