"""Whole studies for tests: as a function, and as the command that a user gives."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pandas as pd
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import analysis
from study import run
from study.execution.trial_set import TrialSet
from study.results.study_record import StudyRecord
from study.search.interfaces import NothingYetError, TrialSource
from study.search.proposal import Proposal
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


_noise = np.random.default_rng(8).normal(size=(3, 20))
PAUSED = 0.5 + (np.array([[1.4], [0.7], [0.0]]) + 0.5 * _noise) / 10
"""Accuracies of three finalists under 20 seeds: the third is beaten at 7 by the second, and the
second at 13 by the first, which has not beaten the third until then."""


class Killed(BaseException):
    """Nothing that anybody answers."""


def completed(on_test: float, validated: float = 0.5) -> History:
    """The history of a run that came to this."""
    record = EpochRecord(1, 9, 0.1, 1, 1, validated, 1)
    curve = [(step, 0.1, 0.9) for step in range(9)]
    return History("completed", [record], curve, test_metric=on_test, test_loss=1.0)


class Runs:
    """In the place of the machine: every run comes to its outcome at once, one after the other.

    It is killed before the step with a number, of those that write study.json or end a run.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[int] = []
        self.steps: list[Literal["save", "run"]] = []
        """Those that were taken."""
        self.steps_left = 10**9
        self.outcome: Callable[[Proposal], History] = lambda _: completed(0.5)
        """Whenever and however often a run is trained."""
        monkeypatch.setattr("study.execution.trial_runner.TrialRunner.start", lambda _: None)
        monkeypatch.setattr(
            "study.execution.trial_runner.TrialRunner.run", lambda _, trial_set: self.run(trial_set)
        )
        without_reports(monkeypatch)
        save = StudyRecord.save

        def save_in_a_step(record: StudyRecord, folder: Path) -> None:
            self.step("save")
            save(record, folder)

        monkeypatch.setattr(StudyRecord, "save", save_in_a_step)

    def step(self, kind: Literal["save", "run"]) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Killed
        self.steps.append(kind)

    def run(self, trial_set: TrialSet) -> None:
        source, self.ended = trial_set.source, []
        for one in self._runs(source, trial_set.total):
            self.step("run")
            outcome = self.outcome(one)
            source.finish(one.number, outcome)
            self.ended.append(one.number)
            for observer in trial_set.observers:
                observer.on_trial_end(one, outcome)

    def _runs(self, source: TrialSource, total: int) -> Iterator[Proposal]:
        """Those that were begun, then those that the source wants while there are any."""
        yield from source.unfinished()
        with contextlib.suppress(NothingYetError):
            while source.finished_count < total:
                yield source.propose()
