"""Finalists: on what they are trained, for how long, and when the test split is opened."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import analysis
from analysis.findings.findings import Findings
from analysis.page.verdict import verdict
from study import confirm, run
from study.results.reader import read_finalists
from study.results.study_record import StudyRecord
from study.results.writer import FinalistTable
from study.search.proposal import Proposal
from study.stages import resuming
from study.stages.confirming import open_test_split
from study.stages.replicates import replicate_seed
from study.storage.storage_path import FINALISTS
from study.system.errors import InputError, StudyError
from study.task import Split
from study.tasks.builtin import digits
from study.tasks.metric import ACCURACY
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun
from tests.study.studies import PAUSED, Killed, Runs, Study, command, completed, parameters_of


def test_a_replicate_begins_alike_in_every_family(tmp_path: Path) -> None:
    """The same weights, then the same batches in the same order."""
    task = digits.make_task()
    data, seed = task.load_search_data(tmp_path), replicate_seed(0, 3)
    shape = {"peak_lr": 0.1, "end_ratio": 0.1}
    configs = [RunConfig("constant", {"peak_lr": 0.3}, seed, 2, 50)]
    configs += [RunConfig("cosine", shape, seed, 2, 50)]
    configs += [RunConfig("cosine", shape, replicate_seed(0, 4), 2, 50)]
    first, paired, other = (TrainingRun(task, data, config) for config in configs)
    weights = [list(run.model.state_dict().values()) for run in (first, paired, other)]
    batches = [[inputs for inputs, _ in run._train] for run in (first, paired, other)]
    for kind in (weights, batches):
        assert all(map(torch.equal, kind[0], kind[1]))
        assert not any(map(torch.equal, kind[0], kind[2]))


def test_a_replicate_that_did_not_complete_has_no_result(tmp_path: Path) -> None:
    table = FinalistTable(tmp_path, ACCURACY, {0: (3, 0), 1: (6, 0)})
    proposal, ended = Proposal(3, "cosine", {"peak_lr": 0.1}, 3), completed(0.8, validated=0.95)
    table.on_trial_end(replace(proposal, number=1), replace(ended, status="diverged"))
    table.on_trial_end(replace(proposal, number=0), ended)
    table.flush()
    written = read_finalists(tmp_path, ACCURACY)
    assert written is not None
    first, second = written.to_pylist()
    assert (first["trial"], first["test_accuracy"], first["val_accuracy"]) == (3, 0.8, 0.95)
    assert (second["trial"], second["test_accuracy"], second["status"]) == (6, None, "diverged")


def test_finalists_are_what_the_training_loop_makes_of_them(study: Study, tmp_path: Path) -> None:
    """Bit for bit, on the test split too; the split is opened after the search, and counted."""
    os.environ["LR_STUDY_TEST_FOLDER"] = str(tmp_path / "s")
    search = ("--families", "constant,cosine,step", "--num-trials", 5, "--epochs", 2)
    results = study(*search, "--finalists", 3, "--replicates", 2, task="tests.tasks:watched")
    (opened,) = tmp_path.glob("when-opened-*")
    ended = re.findall(r'"op_code": ?6.*"state": ?[123]', opened.read_text())
    assert len(ended) == 5, "every trial had ended before the split was opened, once"
    rows = results.finalists.to_dict("records")
    assert len(rows) == 6
    assert "constant" in {row["family"] for row in rows}
    best = results.trials.sort_values(["val_accuracy", "trial"], ascending=[False, True])
    assert rows[0]["trial"] in set(best["trial"][:2])
    task = digits.make_task()
    data, test = task.load_search_data(tmp_path), task.load_test_data(tmp_path)
    assert isinstance(test, Split)
    trials = results.trials.set_index("trial")
    for row in rows:
        parameters = parameters_of(trials.loc[row["trial"]])
        config = RunConfig(row["family"], parameters, row["seed"], 2, 50)
        here = TrainingRun(task, data, config, test=test)
        while not here.history.ended:
            here.run_epoch()
        assert row["test_accuracy"] == here.history.test_metric
        assert row["test_loss"] == here.history.test_loss
        assert row["val_accuracy"] == here.history.epochs[-1].val_metric
        correct = (here.model.eval()(test.inputs).argmax(1) == test.targets).double().mean()
        assert row["test_accuracy"] == float(correct)
    assert [opening["replicates"] for opening in results.study["test_split"]] == [2]

    # More replicates stand beside these, none is trained again, and it is on record.
    folder = tmp_path / "s"
    before = {path: path.stat().st_mtime_ns for path in (folder / FINALISTS).rglob("manifest.json")}
    assert len(before) == 6
    assert confirm.main([str(folder), "--replicates", "1"]) == 0
    more = analysis.load(folder)
    pd.testing.assert_frame_equal(more.finalists[:6], results.finalists)
    assert list(more.finalists["replicate"]) == [0] * 3 + [1] * 3 + [2] * 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert [opening["replicates"] for opening in more.study["test_split"]] == [2, 1]
    assert more.study["ended"] >= results.study["ended"]
    pd.testing.assert_frame_equal(more.trials, results.trials)
    # With nothing left to do, a resume does not open it again, whatever its own default is.
    assert run.main(["--resume", str(folder)]) == 0
    assert len(analysis.load(folder).study["test_split"]) == 2


@pytest.mark.slow
def test_a_study_without_finalists_is_confirmed_later_and_resumed(
    study: Study, tmp_path: Path
) -> None:
    """What was asked of confirm is the plan from then on, and a spoiled table is written again."""
    flags = ("--families", "constant,cosine", "--num-trials", 2, "--epochs", 2)
    study(*flags, task="digits")
    folder = tmp_path / "s"
    assert confirm.main([str(folder), "--replicates", "2"]) == 0
    finalists = analysis.load(folder).finalists
    assert len(finalists) == 4
    assert run.main(["--resume", str(folder)]) == 0
    results = analysis.load(folder)
    assert len(results.study["test_split"]) == 1
    pd.testing.assert_frame_equal(results.finalists, finalists)
    (folder / "finalists.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"finalists\.parquet.* --resume .* writes it anew"):
        analysis.load(folder)
    assert run.main(["--resume", str(folder)]) == 0
    pd.testing.assert_frame_equal(analysis.load(folder).finalists, finalists)


def a_study(folder: Path, *flags: str) -> list[str]:
    """Of the digits, two trials of one family."""
    fixed = ["--task", "digits", "--families", "constant", "--num-trials", "2", "--epochs", "1"]
    return [*fixed, "--batch-size", "50", "--out", str(folder), "--name", "s", *flags]


def test_nothing_is_confirmed_before_the_search_has_ended(runs: Runs, tmp_path: Path) -> None:
    run.main(a_study(tmp_path, "--finalists", "0"))
    folder = tmp_path / "s"
    description = json.loads((folder / "study.json").read_text())
    assert description["test_split"] == []
    unfinished = {**description, "phase": "searching", "searched": None, "ended": None}
    (folder / "study.json").write_text(json.dumps(unfinished))
    with pytest.raises(InputError, match="has not ended, and nothing may be searched any more"):
        confirm.main([str(folder)])
    with pytest.raises(InputError, match="--replicates must be at least 1, not 0"):
        confirm.main([str(folder), "--replicates", "0"])
    with pytest.raises(InputError, match="is no study"):
        confirm.main([str(tmp_path)])
    lost = {**description, "finalists": [{"family": "constant", "trial": 9}]}
    (folder / "study.json").write_text(json.dumps(lost))
    with pytest.raises(InputError, match=r"study\.json is damaged: finalists"):
        confirm.main([str(folder)])


def test_replicates_are_asked_for_once_whenever_it_is_killed(runs: Runs, tmp_path: Path) -> None:
    """Before each step in turn: asked again, there are as many as if it had not been killed."""
    run.main(a_study(tmp_path, "--replicates", "2"))
    ask = [str(tmp_path / "s"), "--replicates", "3"]
    shutil.copytree(tmp_path / "s", tmp_path / "before")
    for steps in range(100):
        shutil.rmtree(tmp_path / "s")
        shutil.copytree(tmp_path / "before", tmp_path / "s")
        runs.steps_left = steps
        try:
            confirm.main(ask)
            killed = False
        except Killed:
            killed = True
        runs.steps_left = 10**9
        description = json.loads((tmp_path / "s" / "study.json").read_text())
        assert [plan["replicates"] for plan in description["plans"]] in ([2], [2, 3])
        if not killed:
            break
        confirm.main(ask)
        table = analysis.load(tmp_path / "s").finalists
        assert list(table["replicate"]) == list(range(5)), f"killed before step {steps}"
    assert steps >= 5


FAMILIES = ("constant", "cosine", "step")
REPLICATES = {replicate_seed(0, replicate): replicate for replicate in range(20)}


def three_finalists(folder: Path, *flags: str) -> list[str]:
    """The command of a study of three trials, as good as each other, that are the finalists."""
    return a_study(folder, "--families", ",".join(FAMILIES), "--num-trials", "3", *flags)


def paused(one: Proposal) -> History:
    """By its family and its seed alone; trials of the search are all alike."""
    if one.seed not in REPLICATES:
        return completed(0.5)
    return completed(PAUSED[FAMILIES.index(one.family), REPLICATES[one.seed]])


def looks(folder: Path, plan: int = -1) -> list[Any]:
    found: list[Any] = json.loads((folder / "study.json").read_text())["plans"][plan]["looks"]
    return found


def said(folder: Path) -> list[str]:
    return verdict(Findings(analysis.load(folder)), folder).lines


def test_seeds_are_trained_until_the_finalists_are_told_apart(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a plan that stands in study.json before the first of its runs; each look is said."""
    folder, declared = tmp_path / "s", []

    def outcome(one: Proposal) -> History:
        if one.seed in REPLICATES:
            record = StudyRecord.load(folder)
            (plan,) = record.plans
            declared.append((plan.first, plan.replicates, plan.looks_at, len(plan.looks)))
            assert [one.checked for one in record.test_split] == [True]
        return paused(one)

    runs.outcome = outcome
    assert run.main(three_finalists(tmp_path)) == 0
    assert {one[:2] for one in declared} == {(0, 20)}
    assert {tuple(one[2]) for one in declared} == {(7, 10, 13, 16, 20)}
    assert [one[3] for one in declared] == [0] * 21 + [1] * 6 + [2] * 12
    lines = capsys.readouterr().out.splitlines()
    assert (
        "finalists: constant, cosine, step; at most 20 fresh seeds each, with looks after 7, 10, "
        "13, 16, 20; measured on the test split"
    ) in lines
    said_of_looks = [line for line in lines if "ahead of" in line or "better than" in line]
    assert said_of_looks == [
        "constant ahead of cosine, 7 seeds, next look at 10",
        "constant ahead of cosine, 10 seeds, next look at 13",
        "constant is better than all others, after 13 seeds",
    ]
    assert len(analysis.load(folder).finalists) == 3 * 13


def test_workers_wait_where_a_look_comes(study: Study, tmp_path: Path) -> None:
    """Real ones, side by side, and none for ever."""
    flags = ("--families", "rex,constant", "--num-trials", 3, "--epochs", 1)
    more = ("--finalists", 2, "--replicates", 8, "--max-concurrent", 2)
    results = study(*flags, *more, task="digits")
    seeds = [look["seeds"] for look in looks(tmp_path / "s")]
    assert seeds in ([7], [7, 8])
    assert len(results.finalists) == 2 * seeds[-1]
    assert results.study["ended"]


def test_killed_at_any_step_it_ends_as_if_undisturbed(runs: Runs, tmp_path: Path) -> None:
    """Before and after everything that is written down, at the looks and between them.

    Where the table of what was measured is lost, too.
    """
    runs.outcome, folder, searched = paused, tmp_path / "s", tmp_path / "searched"
    run.main(three_finalists(tmp_path))
    expected, table, lines = looks(folder), analysis.load(folder).finalists, said(folder)
    assert [look["seeds"] for look in expected] == [7, 10, 13]
    shutil.rmtree(folder)
    runs.steps_left = 4  # the study is begun, and its three trials end
    with pytest.raises(Killed):
        run.main(three_finalists(tmp_path))
    shutil.copytree(folder, searched)
    runs.steps, runs.steps_left = [], 10**9
    run.main(["--resume", str(folder)])
    saves = [step for step, kind in enumerate(runs.steps) if kind == "save"]
    assert len(saves) == 1 + 2 + 3 + 1, "the resume, the opening, three looks, the end"
    for step in sorted({*saves, *(step + 1 for step in saves), *range(0, len(runs.steps), 9)}):
        shutil.rmtree(folder)
        shutil.copytree(searched, folder)
        runs.steps_left = step
        with contextlib.suppress(Killed):
            run.main(["--resume", str(folder)])
        if step % 2:
            (folder / "finalists.parquet").unlink(missing_ok=True)
        runs.steps_left = 10**9
        assert run.main(["--resume", str(folder)]) == 0
        assert looks(folder) == expected, f"killed before step {step}"
        pd.testing.assert_frame_equal(analysis.load(folder).finalists, table)
        assert said(folder) == lines


def test_more_seeds_after_a_decision_are_a_plan_of_their_own(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Declared before them, of fresh seeds only; asked again while it is cut short, it goes on."""
    runs.outcome, folder = paused, tmp_path / "s"
    run.main(three_finalists(tmp_path))
    before, table = looks(folder), analysis.load(folder).finalists

    def outcome(one: Proposal) -> History:
        fresh = one.seed not in REPLICATES
        return completed(0.5 + FAMILIES.index(one.family) / 10) if fresh else paused(one)

    runs.outcome = outcome
    ask = [str(folder), "--replicates", "8"]
    runs.steps_left = 10  # in the midst of it
    with pytest.raises(Killed):
        confirm.main(ask)
    plans = StudyRecord.load(folder).plans
    assert [(plan.first, plan.replicates) for plan in plans] == [(0, 20), (20, 8)]
    assert (plans[1].looks_at, plans[1].looks) == ([7, 8], [])
    runs.steps_left = 10**9
    capsys.readouterr()
    assert confirm.main(ask) == 0
    out = capsys.readouterr().out
    assert out.startswith("resuming what was interrupted; ask again for more seeds\n")
    assert "\nplan 2, of which earlier seeds are no part; finalists: constant, cosine, step" in out
    assert looks(folder, 0) == before
    (look,) = looks(folder, 1)
    assert (look["seeds"], look["leader"], look["second"]) == (7, 2, None)
    after = analysis.load(folder).finalists
    pd.testing.assert_frame_equal(after[: len(table)], table)
    assert sorted(set(after["replicate"])) == [*range(13), *range(20, 27)]
    assert after["seed"].nunique() == 20
    assert confirm.main(ask) == 0, "and now there is a third"
    assert [plan.first for plan in StudyRecord.load(folder).plans] == [0, 20, 28]


def test_below_seven_seeds_all_are_trained_and_it_is_said_that_they_are_too_few(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.outcome = lambda one: completed(0.5 + FAMILIES.index(one.family) / 10)
    run.main(three_finalists(tmp_path, "--replicates", "6"))
    assert len(analysis.load(tmp_path / "s").finalists) == 3 * 6
    assert looks(tmp_path / "s") == []
    out = capsys.readouterr().out
    assert "step; 6 fresh seeds each, too few to tell any apart; measured on the test split" in out


def test_replicates_are_added_to_what_is_there_when_the_study_is_locked(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has added some since the study.json was read."""
    run.main(a_study(tmp_path, "--replicates", "2"))
    begun, ask = resuming.begun_config, [str(tmp_path / "s"), "--replicates", "3"]

    def meanwhile(record: StudyRecord, location: str) -> Any:
        monkeypatch.setattr(resuming, "begun_config", begun)
        confirm.main(ask)
        return begun(record, location)

    monkeypatch.setattr(resuming, "begun_config", meanwhile)
    confirm.main(ask)
    assert list(analysis.load(tmp_path / "s").finalists["replicate"]) == list(range(8))


def test_replicates_that_all_fail_are_an_error_and_more_can_be_asked_for(
    runs: Runs, tmp_path: Path
) -> None:
    run.main(a_study(tmp_path, "--finalists", "0"))
    outcome, runs.outcome = runs.outcome, lambda _: History("failed", error="ValueError: no")
    with pytest.raises(StudyError, match="all 2 replicates failed, the last with: ValueError: no"):
        confirm.main([str(tmp_path / "s"), "--replicates", "2"])
    runs.outcome = outcome
    assert confirm.main([str(tmp_path / "s"), "--replicates", "1"]) == 0


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda: 1 / 0, r"load_test_data\(data_dir\) raised ZeroDivisionError"),
        (
            lambda: digits.load_test_data(Path())._replace(inputs=torch.tensor(1.0)),
            "test inputs must be a tensor",
        ),
        (lambda: digits.load_search_data(Path()).train, "test samples are among the training"),
        (lambda: digits.load_search_data(Path()).validation, "are among the validation samples"),
        (lambda: 7, "the test split must be a Split of tensors, a Dataset or a function"),
    ],
)
def test_a_bad_test_split_is_named(split: Callable[[], Any], message: str, tmp_path: Path) -> None:
    task = replace(digits.make_task(), load_test_data=lambda data_dir: split())
    with pytest.raises(InputError, match=message):
        open_test_split(task, tmp_path, task.load_search_data(tmp_path))


UNFIT = """
from dataclasses import replace
from study.task import Split
from study.tasks.builtin import digits

def make_task():
    task = digits.make_task()

    def load(data_dir):
        inputs, targets = task.load_test_data(data_dir)
        return Split(inputs[:, :WIDTH], targets)

    return replace(task, load_test_data=load)
"""


def test_a_bad_test_split_is_mended_and_confirmed_again(runs: Runs, tmp_path: Path) -> None:
    """It is tried when it is opened: no replicate is trained that could not be measured."""
    path, folder = tmp_path / "mine.py", tmp_path / "s"
    path.write_text(UNFIT.replace("WIDTH", "63"))
    flags = ("--task", f"{path}:make_task", "--families", "constant,cosine", "--replicates", "2")
    with pytest.raises(InputError, match=r"raised RuntimeError: .*; mend load_test_data alone, th"):
        run.main(a_study(tmp_path, *flags))
    assert not (folder / FINALISTS).exists()
    path.write_text(UNFIT.replace("WIDTH", "64"))
    with pytest.raises(InputError, match="has changed since this study began"):
        path.write_text(UNFIT.replace("WIDTH", "64").replace("make_task()", "make_task(x=0)", 1))
        confirm.main([str(folder)])
    path.write_text(UNFIT.replace("WIDTH", "64"))
    assert confirm.main([str(folder), "--replicates", "9"]) == 0, "what was begun goes on"
    results = analysis.load(folder)
    assert results.finalists is not None
    assert list(results.finalists["status"]) == ["completed"] * 4
    assert [one["checked"] for one in results.study["test_split"]] == [False, True]
    path.write_text(UNFIT.replace("WIDTH", "65"))
    with pytest.raises(InputError, match="has changed since this study began"):
        confirm.main([str(folder)])


@pytest.mark.slow
def test_interrupted_finalists_go_on_and_end_as_if_undisturbed(tmp_path: Path) -> None:
    flags = ("--task", "digits", "--num-trials", 3, "--epochs", 40, "--batch-size", 8)
    arguments = command(tmp_path, *flags, "--finalists", 2, "--replicates", 4)
    folder = tmp_path / "s"
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "[2/8] run" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert line == f"interrupted; resume with: python -m study.run --resume {folder}\n"
    begun = read_finalists(folder, ACCURACY)
    assert begun is not None
    assert 2 <= len(begun) < 8
    subprocess.run(command(tmp_path, "--resume", folder), check=True, capture_output=True)
    ended = analysis.load(folder)
    shutil.rmtree(folder / FINALISTS)
    (folder / "finalists.parquet").unlink()
    subprocess.run(command(tmp_path, "--resume", folder), check=True, capture_output=True)
    again = analysis.load(folder)
    columns = ["family", "trial", "replicate", "seed", "test_accuracy", "test_loss", "val_loss"]
    pd.testing.assert_frame_equal(ended.finalists[columns], again.finalists[columns])
    assert len(ended.finalists) == 8
    assert [opening["replicates"] for opening in again.study["test_split"]] == [4, 4, 4]
