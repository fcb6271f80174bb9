"""The measurement of what a badly chosen peak rate costs: what it trains, and how it goes on."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from study import forgiveness, run
from study.results.forgiveness_table import ForgivenessTable
from study.results.study_record import StudyRecord
from study.storage.storage_path import FORGIVENESS
from study.system.errors import InputError, StudyError
from study.tasks.builtin import digits
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun
from tests.study.studies import Runs, Study, command, parameters_of, started

TIMES = ["wall_seconds"]


def trained(folder: Path) -> dict[Path, int]:
    """The checkpoints, and when they were written."""
    checkpoints = (folder / FORGIVENESS).rglob("manifest.json")
    return {path: path.stat().st_mtime_ns for path in checkpoints}


def test_it_is_what_the_training_loop_makes_of_every_rate_and_the_test_split_stays_sealed(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit; what is lost is trained again, and nothing else is."""
    folder = tmp_path / "s"
    monkeypatch.setenv("LR_STUDY_TEST_FOLDER", str(folder))
    flags = ("--families", "constant,cosine", "--num-trials", 4, "--epochs", 2)
    study(*flags, "--finalists", 2, "--replicates", 2, task="tests.tasks:watched")
    record = (folder / "study.json").read_bytes()
    assert analysis.load(folder).forgiveness.empty
    assert forgiveness.main([str(folder)]) == 0
    results = analysis.load(folder)
    table = results.forgiveness
    assert len(list(tmp_path.glob("when-opened-*"))) == 1, "by the finalists"
    assert (folder / "study.json").read_bytes() == record
    measured = set(table["trial"])
    assert measured <= set(results.finalists["trial"])
    assert len(table) == 15 * len(measured)
    assert (table["status"] == "completed").any()
    task = digits.make_task()
    data, trials = task.load_search_data(tmp_path), results.trials.set_index("trial")
    for row in table.to_dict("records"):
        own = trials.loc[row["trial"]]
        assert (row["family"], row["peak_lr"]) == (own["family"], row["factor"] * own["peak_lr"])
        parameters = parameters_of(own) | {"peak_lr": row["peak_lr"]}
        here = TrainingRun(task, data, RunConfig(row["family"], parameters, row["seed"], 2, 50))
        while not here.history.ended:
            here.run_epoch()
        assert row["status"] == here.history.status
        if row["status"] == "completed":
            last = here.history.epochs[-1]
            assert (row["val_accuracy"], row["val_loss"]) == (last.val_metric, last.val_loss)

    before = trained(folder)
    lost = sorted((folder / FORGIVENESS).glob("*/trial-*"))[::4]
    for one in lost:
        shutil.rmtree(one)
    (folder / "forgiveness.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"python -m study.forgiveness \S+ writes it anew$"):
        analysis.load(folder)
    assert forgiveness.main([str(folder)]) == 0
    after = analysis.load(folder).forgiveness
    pd.testing.assert_frame_equal(after.drop(columns=TIMES), table.drop(columns=TIMES))
    kept = {path: time for path, time in before.items() if path.exists()}
    assert len(kept) == len(before) - len(lost)
    assert kept.items() <= trained(folder).items()
    assert len(trained(folder)) == len(table), "once each"


def a_study(folder: Path) -> Path:
    """Of the digits, two trials of one family that nothing trains."""
    fixed = ["--task", "digits", "--families", "constant", "--num-trials", "2", "--epochs", "2"]
    run.main([*fixed, "--finalists", "0", "--out", str(folder), "--name", "s"])
    return folder / "s"


def test_what_cannot_be_measured_is_refused_in_a_line(runs: Runs, tmp_path: Path) -> None:
    folder = a_study(tmp_path)
    record = StudyRecord.load(folder)
    replace(record, phase="searching", searched=None, ended=None).save(folder)
    with pytest.raises(InputError) as refused:
        forgiveness.main([str(folder)])
    assert str(refused.value) == (
        f"the search of '{folder}' has not ended, so that there is no best trial to measure; "
        f"resume it by: python -m study.run --resume {folder}"
    )
    with pytest.raises(InputError, match="is no study"):
        forgiveness.main([str(tmp_path)])
    record.save(folder)
    trials = pd.read_parquet(folder / "trials.parquet")
    trials.assign(status="failed").to_parquet(folder / "trials.parquet")
    with pytest.raises(InputError, match=f"'{folder}' has no completed trial to measure"):
        forgiveness.main([str(folder)])
    assert not (folder / "forgiveness.parquet").exists()


def test_runs_that_all_fail_are_an_error(runs: Runs, tmp_path: Path) -> None:
    folder = a_study(tmp_path)
    runs.outcome = lambda _: History("failed", error="ValueError: no")
    with pytest.raises(StudyError) as failed:
        forgiveness.main([str(folder)])
    assert str(failed.value) == (
        f"all 15 runs failed, the last with: ValueError: no; mend that, delete "
        f"'{folder / FORGIVENESS}', then python -m study.forgiveness {folder}"
    )


def test_every_way_it_is_cut_short_names_the_command_that_goes_on(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Which is no resume of the study: that would not train another run."""
    folder = a_study(tmp_path)
    again, patched = f"python -m study.forgiveness {folder}", monkeypatch.setattr
    runner = "study.execution.trial_runner.TrialRunner.run"
    patched(runner, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert forgiveness.main([str(folder)]) == 130
    assert capsys.readouterr().out.endswith(f"interrupted; resume with: {again}\n")
    patched(runner, lambda *_: None)
    with pytest.raises(StudyError, match=f"ended with 15 runs left; resume with: {again}$"):
        forgiveness.main([str(folder)])
    patched(runner, lambda _, trial_set: runs.run(trial_set))

    def full(_: ForgivenessTable) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patched(ForgivenessTable, "write", full)
    with pytest.raises(StudyError, match=f"No space left on device; make room, then {again}$"):
        forgiveness.main([str(folder)])


@pytest.mark.slow
def test_a_measurement_that_is_interrupted_and_killed_ends_as_if_undisturbed(
    tmp_path: Path,
) -> None:
    flags = ("--task", "digits", "--families", "constant", "--num-trials", 2, "--epochs", 20)
    subprocess.run(command(tmp_path, *flags, "--batch-size", 8), check=True, capture_output=True)
    folder, whole = tmp_path / "s", tmp_path / "whole"
    shutil.copytree(folder, whole)
    measuring = [sys.executable, "-m", "study.forgiveness"]
    for signal_, last, status in (("SIGINT", "[2/15] run", 130), ("SIGKILL", "[6/15] run", -9)):
        with started([*measuring, str(folder)]) as process:
            assert process.stdout
            for line in process.stdout:
                if last in line:
                    process.send_signal(getattr(signal, signal_))
            assert process.wait() == status
        if status == 130:
            resumed = f"python -m study.forgiveness {folder}"
            assert line == f"interrupted; resume with: {resumed}\n"
            assert 2 <= len(analysis.load(folder).forgiveness) < 15
    begun = trained(folder)
    for one in (folder, whole):
        done = subprocess.run([*measuring, str(one)], check=True, capture_output=True, text=True)
        assert "Forgiveness: constant " in done.stdout
        assert done.stdout.splitlines()[-1] == f"report: {one / 'report' / 'index.html'}"
    ended, undisturbed = (analysis.load(one).forgiveness for one in (folder, whole))
    columns = ["node", "device", *TIMES]
    pd.testing.assert_frame_equal(ended.drop(columns=columns), undisturbed.drop(columns=columns))
    assert len(ended) == 15
    assert begun.items() & trained(folder).items(), "what had ended is not trained again"
    assert len(trained(folder)) == 15, "once each"
