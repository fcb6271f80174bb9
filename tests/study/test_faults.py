"""Real processes, killed and spoiled in every way: nothing is lost, and nothing is done twice."""

import contextlib
import importlib
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import ray
import torch
from optuna.trial import TrialState

import analysis
from study import run
from study.search.proposal import Proposal
from study.stages.display import Display
from study.storage.checkpoint_files import read_checkpoint
from study.storage.storage_path import CHECKPOINTS, StoragePath
from study.system.errors import InputError, StudyError
from study.system.interrupt import Interrupt
from study.tasks.builtin import digits as digits_task
from tests.conftest import IS_ROOT, as_nobody, run_command
from tests.study.studies import TIMINGS, Study, command, journal, started, without_reports

pytestmark = [pytest.mark.slow, pytest.mark.unix]

DIGITS = ("--task", "digits", "--batch-size", "8", "--epochs", "4")
TRIALS = 12


def digits(folder: Path, *flags: object) -> list[str]:
    """The command of a digits study of 12 trials, some tenths of a second each."""
    finalists = ("--finalists", 2, "--replicates", 3)
    fixed = ("--num-trials", TRIALS, "--max-concurrent", 2, *finalists)
    return command(folder, *DIGITS, *fixed, *flags)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(digits(folder), check=True, capture_output=True)
    return folder / "s"


def same_study(one: Path, other: Path) -> None:
    """The tables but for the times, Optuna's trials, and the weights of every trial."""
    finalists = [pd.read_parquet(folder / "finalists.parquet") for folder in (one, other)]
    assert len(finalists[0]) == 2 * 3
    first_runs, second_runs = (table.drop(columns="wall_seconds") for table in finalists)
    pd.testing.assert_frame_equal(first_runs, second_runs)
    first, second = analysis.load(one), analysis.load(other)
    pd.testing.assert_frame_equal(
        first.trials.drop(columns=TIMINGS), second.trials.drop(columns=TIMINGS)
    )
    pd.testing.assert_frame_equal(
        first.epochs.drop(columns="seconds"), second.epochs.drop(columns="seconds")
    )
    pd.testing.assert_frame_equal(first.schedules, second.schedules)
    for folder in (one, other):
        states = [trial.state for trial in journal(folder).trials]
        assert len(states) == TRIALS
        assert not {TrialState.RUNNING, TrialState.WAITING} & set(states)
    for number in first.trials["trial"]:
        weights = [final_weights(folder, number) for folder in (one, other)]
        assert weights[0].keys() == weights[1].keys()
        assert all(map(torch.equal, *(state.values() for state in weights))), number


def last_checkpoint(folder: Path, number: int) -> Path:
    """The only one that is left of a trial."""
    (left,) = (folder / CHECKPOINTS).glob(f"attempt-*/trial-{number:05d}/checkpoint_*")
    return left


def final_weights(folder: Path, number: int) -> dict[str, torch.Tensor]:
    last = StoragePath.of(last_checkpoint(folder, number))
    weights: dict[str, torch.Tensor] = read_checkpoint(last)[0]["model"]
    return weights


def test_killed_at_ten_random_moments_it_ends_as_if_undisturbed(
    undisturbed: Path, tmp_path: Path
) -> None:
    """Kills of the driver, from before the first trial to in the middle of a resume."""
    chance = random.Random(0)
    arguments = command(tmp_path, "--replay", undisturbed)
    resume = command(tmp_path, "--resume", tmp_path / "s")
    kills = 0
    while kills < 10:
        with started(arguments) as process:
            try:
                process.wait(timeout=chance.uniform(2, 14))
            except subprocess.TimeoutExpired:
                process.kill()  # the driver alone: what it started has to notice
                kills += 1
            else:
                assert process.returncode == 0, process.stdout and process.stdout.read()
                break
        if (tmp_path / "s" / "study.json").exists():  # on a busy machine, none may have begun
            arguments = resume
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kills >= 3, "it was killed at all"
    same_study(undisturbed, tmp_path / "s")


def test_killed_in_the_middle_it_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    """The driver is killed after its second finished trial, and says what it finds."""
    with started(command(tmp_path, "--replay", undisturbed)) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("[2/"):
                break
        process.kill()
    done = subprocess.run(
        command(tmp_path, "--resume", tmp_path / "s"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    finished, to_resume, damaged = done.stdout.splitlines()[:3]
    assert finished.startswith("finished: ")
    assert to_resume.startswith("to resume: trial ")
    assert damaged == "damaged and skipped: nothing"
    same_study(undisturbed, tmp_path / "s")


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def test_any_one_file_spoiled_is_recovered_or_refused_by_name(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished study, each file in turn: cut in half, overwritten, emptied, deleted."""
    without_reports(monkeypatch)
    expected = analysis.load(undisturbed)
    names = [path.relative_to(undisturbed) for path in files_of(undisturbed)]
    assert len(names) > 3 * TRIALS
    refused = set()
    ours = ("study.json", "optuna.journal", "trials.parquet", "epochs.parquet")
    for name in dict.fromkeys([*map(Path, ours), *names[::4]]):
        for damage in ("cut", "rubbish", "empty", "gone"):
            folder = tmp_path / "s"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(undisturbed, folder)
            spoil(folder / name, damage)
            try:
                assert run.main(["--resume", str(folder)]) == 0
            except InputError as error:
                assert name.name in str(error)
                refused.add(name.name)
                continue
            results = analysis.load(folder)
            pd.testing.assert_frame_equal(results.trials, expected.trials)
            pd.testing.assert_frame_equal(results.epochs, expected.epochs)
            pd.testing.assert_frame_equal(results.schedules, expected.schedules)
    assert refused == {"study.json", "optuna.journal"}


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "rubbish":
            path.write_bytes(random.Random(0).randbytes(len(content)))
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()


def test_a_damaged_checkpoint_is_skipped_and_said_so(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the last trial, which is made to look unfinished: it runs again, to the same end."""
    folder = tmp_path / "s"
    shutil.copytree(undisturbed, folder)
    lines = (folder / "optuna.journal").read_bytes().splitlines(keepends=True)
    ends = [k for k, line in enumerate(lines) if b'"op_code":6' in line]
    ending = [k for k in ends if f'"trial_id":{TRIALS - 1}'.encode() in lines[k]]
    del lines[ending[-1]]
    (folder / "optuna.journal").write_bytes(b"".join(lines))
    spoil(last_checkpoint(folder, TRIALS - 1) / "state.pt", "cut")
    assert run.main(["--resume", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"to resume: trial {TRIALS - 1} from its beginning" in out
    assert "state.pt is damaged" in out
    same_study(undisturbed, folder)


SMALL = ("--num-trials", 3, "--epochs", 2, "--max-concurrent", 2)


def test_a_worker_killed_while_it_saves_goes_on(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = study(*SMALL, "--max-concurrent", 1, name="undisturbed")
    monkeypatch.setenv("LR_STUDY_TEST_MARKER", str(tmp_path / "died"))
    killed = study(*SMALL, "--max-concurrent", 1, name="killed", model="DiesWhileItSaves")
    assert (tmp_path / "died").exists()
    columns = ["trial", "family", "status", "val_accuracy", "val_loss", "epochs"]
    pd.testing.assert_frame_equal(undisturbed.trials[columns], killed.trials[columns])


def test_no_more_failures_than_allowed(study: Study, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="all 1 trials failed"):
        study("--num-trials", 1, "--epochs", 2, "--max-failures", 0, model="AlwaysDies")
    assert list(analysis.load(tmp_path / "s").trials["status"]) == ["failed"]


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_ray_of_our_own_that_dies_is_one_line_and_the_study_goes_on(
    undisturbed: Path, tmp_path: Path, name: str
) -> None:
    arguments = command(tmp_path, "--replay", undisturbed)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("[2/"):
                break
        children = psutil.Process(process.pid).children()
        (victim,) = (one for one in children if one.name() == name)
        victim.kill()
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert errors.count("error: ") == 1
    last = errors.splitlines()[-1]
    assert f"its {name} is gone" in last
    assert last.endswith(f"resume with: python -m study.run --resume {tmp_path / 's'}")
    assert "Traceback" not in errors
    subprocess.run(command(tmp_path, "--resume", tmp_path / "s"), check=True, capture_output=True)
    same_study(undisturbed, tmp_path / "s")


def test_a_worker_that_wants_too_much_memory_is_one_failed_trial(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LR_STUDY_TEST_MARKER", str(tmp_path / "greedy"))
    trials = study(*SMALL, model="GreedyOnce").trials
    assert sorted(trials["status"]) == ["completed", "completed", "failed"]
    (error,) = trials.loc[trials["status"] == "failed", "error"]
    assert "memory" in error.lower()


def test_a_model_that_is_slow_to_die_costs_no_slot(study: Study) -> None:
    results = study("--num-trials", 4, "--epochs", 1, "--max-concurrent", 2, model="SlowToDie")
    assert list(results.trials["status"]) == ["completed"] * 4


def test_a_clock_that_jumps_back_changes_nothing(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, before = time.time, study(*SMALL, "--max-concurrent", 1, name="before")
    calls = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * (next(calls) > 200))
    after = study(*SMALL, "--max-concurrent", 1, name="after")
    assert next(calls) > 200
    pd.testing.assert_frame_equal(
        before.trials.drop(columns=TIMINGS), after.trials.drop(columns=TIMINGS)
    )
    assert after.trials["wall_seconds"].between(0, 60).all()


def test_the_time_budget_ends_it_cleanly(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of an hour is made to end with the third trial."""
    budgets: list[float | None] = []

    class Ending(Interrupt):
        def __init__(self, budget: float | None = None) -> None:
            super().__init__(budget)
            budgets.append(budget)

        @property
        def stopping(self) -> bool:
            return len(finished) >= 3

    finished: list[int] = []

    def count(display: Display, proposal: Proposal, history: Any) -> None:
        finished.append(proposal.number)

    monkeypatch.setattr("study.stages.session.Interrupt", Ending)
    monkeypatch.setattr(Display, "on_trial_end", count)
    results = study("--num-trials", 50, "--epochs", 2, "--time-budget", "1h")
    assert budgets == [3600]
    assert 3 <= len(results.trials) <= 5
    assert results.study["ended"] is None
    left = [trial for trial in journal(tmp_path / "s").trials if not trial.state.is_finished()]
    assert len(left) <= 2, "what was running goes on by --resume"


def test_a_name_with_anything_in_it(tmp_path: Path) -> None:
    name = "a b 'ü' <b>&amp; \"$HOME\""
    done = subprocess.run(
        [
            *digits(tmp_path)[:3],
            *DIGITS,
            "--num-trials",
            "1",
            "--replicates",
            "2",
            "--out",
            str(tmp_path),
            "--name",
            name,
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / name / "report" / "index.html").read_text()
    assert "<b>" not in page
    assert len(analysis.load(tmp_path / name).trials) == 1


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of 5 MB in memory."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(("size=5m", *options)), "tmpfs", str(folder)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(4_500_000))
        done = subprocess.run(digits(disk), capture_output=True, text=True, timeout=300)
        assert done.returncode == 1, done.stdout
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left on device" in done.stderr
        assert f"--resume {disk}/s" in done.stderr
        filler.unlink()
        again = subprocess.run(
            command(disk, "--resume", disk / "s"), capture_output=True, text=True, timeout=300
        )
        assert again.returncode == 0, again.stderr
        assert list(analysis.load(disk / "s").trials["trial"]) == list(range(TRIALS))


def test_a_read_only_folder_is_one_line(tmp_path: Path, undisturbed: Path) -> None:
    with mounted(tmp_path / "disk") as disk:
        shutil.copytree(undisturbed, disk / "s")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for flags in (("--resume", disk / "s"), (*DIGITS, "--name", "t", "--out", disk)):
            done = run_command("study.run", *flags)
            assert done.returncode in (1, 2)
            assert done.stderr.count("\n") == 1, done.stderr
            assert "Read-only file system" in done.stderr


def refused(arguments: list[str]) -> str:
    """What the command says."""
    try:
        return f"exit status {run.main(arguments)}"
    except (InputError, StudyError) as error:
        return str(error)


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
def test_a_folder_of_another_user_is_one_line(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who may not read the packages here cannot start Ray, and that is not what is tested.
    monkeypatch.setattr("study.execution.trial_runner.TrialRunner.start", lambda _: None)
    # Loaded now, for the same reason.
    importlib.import_module("torch._dynamo")  # by torch itself, for an optimizer
    splits = digits_task._splits()
    monkeypatch.setattr(digits_task, "_splits", lambda: splits)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        shutil.copytree(undisturbed, folder / "s")
        hidden = as_nobody(refused, ["--resume", str(folder / "s")])
        assert "study.json' cannot be read: [Errno 13] Permission denied" in hidden
        folder.chmod(0o755)
        for arguments in (["--resume", str(folder / "s")], [*DIGITS, "--out", str(folder)]):
            said = as_nobody(refused, arguments)
            assert "Permission denied" in said
            assert "traceback" not in said
            assert "\n" not in said


def test_a_node_that_goes_and_another_that_comes(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    original = ray.init

    def join(**arguments: Any) -> object:
        for name in ("num_cpus", "num_gpus", "include_dashboard"):
            arguments.pop(name)
        return original(**arguments | {"address": cluster.address})

    replaced: list[bool] = []

    def on_epoch(display: Any, *told: Any, original: Any = Display.on_epoch) -> None:
        original(display, *told)
        if len(replaced) == 0 and display._done >= 2:
            replaced.append(True)
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=1)

    monkeypatch.setattr(ray, "init", join)
    monkeypatch.setattr(Display, "on_epoch", on_epoch)
    try:
        results = study("--num-trials", 8, "--epochs", 8, "--max-concurrent", 2)
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    assert replaced
    assert set(results.trials["status"]) <= {"completed", "diverged"}
    assert list(results.trials["trial"]) == list(range(8))
