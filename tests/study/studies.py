"""Whole studies for tests: as a function, and as the command that a user gives."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import analysis
from study import run
from tests.tasks import SMALL

TIMINGS = ["train_seconds", "wall_seconds"]
Study = Callable[..., analysis.Results]


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
        patch.setattr("study.stages.ending.start_report", lambda _: None)
        patch.setattr("study.stages.ending.finish_report", lambda *_: 0)
        yield run_study
    assert not ray.is_initialized()


def journal(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name=folder.name, storage=storage)


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
