"""What a study does when what it runs on, or everything that it runs, fails; without Ray."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.tune.search import Searcher

from study.execution import active_trials
from study.execution.active_trials import ActiveTrials
from study.execution.environment import ENVIRONMENT
from study.execution.ray_session import Connection, RayLost
from study.execution.trial_set import TrialSet
from study.execution.tune_adapters import TuneCallback, TuneSearcher
from study.search.interfaces import NothingYetError
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.stages.replicates import Planned
from study.storage.checkpoint_files import write_checkpoint
from study.storage.checkpoint_store import trial_folder
from study.storage.mirror import Mirror
from study.storage.storage_path import StoragePath
from study.system.errors import CutShortError
from study.system.interrupt import Interrupt
from study.training.history import EpochRecord, History, Status
from tests.records import store
from tests.study.execution.test_trial_schedulers import Seen

RECORD = EpochRecord(1, 10, 0.1, 1.0, 1.0, 0.5, 1.0)
CONFIG = StudyConfig.of(epochs=3)
RUNS = [Proposal(number, "constant", {"peak_lr": 0.1}, number) for number in range(6)]
SIZES = "RuntimeError: size {0} of <X object at 0x7f{0}a> of pid={0}"


def begun(folder: Path, total: int = len(RUNS)) -> tuple[ActiveTrials, Seen]:
    """A job of six runs, of which an earlier process may have left some in the folder."""
    seen, mirror = Seen(), Mirror(folder, StoragePath.of(folder))
    nothing: Any = None
    source = Planned(RUNS[:total], store(folder))
    trial_set = TrialSet(source, total, store(folder), nothing, lambda *_: nothing, (seen,), mirror)
    active = ActiveTrials(CONFIG, trial_set, Interrupt())
    active.resume_unfinished()
    return active, seen


def left(folder: Path, number: int, status: Status, epochs: int) -> None:
    """What an earlier process did of a run."""
    checkpoint = folder / "attempt-001" / trial_folder(number) / "checkpoint_000000"
    checkpoint.mkdir(parents=True)
    history = History(status, [RECORD] * epochs, error=SIZES.format(number))
    write_checkpoint(checkpoint, {}, history, RUNS[number].run_config(CONFIG).digest())


def ended(active: ActiveTrials, *outcomes: str) -> None:
    """Runs end so: with a status, or failed with an error."""
    for outcome in outcomes:
        proposal, _ = active.next_trial()
        history = History("failed", error=outcome)
        if outcome in ("completed", "diverged"):
            history = History("completed" if outcome == "completed" else "diverged", [RECORD])
        with active.first_error_ends_the_study():
            active.finish(proposal.number, history)


ALIKE = [SIZES.format(number) for number in (16, 256, 9)]


def test_equal_failures_from_the_start_end_it_before_the_rest_fails_too(tmp_path: Path) -> None:
    active, seen = begun(tmp_path)
    ended(active, *ALIKE[:2])
    assert not active.stopping
    ended(active, ALIKE[2])
    assert active.stopping
    assert isinstance(active.error, CutShortError)
    assert ALIKE[2] in str(active.error), "with its reason"
    assert [history.status for history in seen.histories.values()] == ["failed"] * 3


@pytest.mark.parametrize(
    "outcomes",
    [
        ["completed", *ALIKE],
        ["diverged", *ALIKE],
        [*ALIKE[:2], "diverged", *ALIKE],
        [*ALIKE[:2], "ValueError: no", *ALIKE[:2]],
        ["diverged"] * 5,
    ],
)
def test_what_is_no_row_of_equal_failures_goes_on(tmp_path: Path, outcomes: list[str]) -> None:
    active, _ = begun(tmp_path)
    ended(active, *outcomes)
    assert not active.stopping


def test_where_nothing_is_left_nothing_is_ended(tmp_path: Path) -> None:
    """That all have failed is said of the whole study then."""
    active, _ = begun(tmp_path, total=3)
    ended(active, *ALIKE)
    assert not active.stopping


def test_a_resume_counts_its_own_failures(tmp_path: Path) -> None:
    for number in range(3):
        left(tmp_path, number, "failed", epochs=0)
    active, seen = begun(tmp_path)
    assert len(seen.histories) == 3, "they stay failed"
    assert not active.stopping
    ended(active, *ALIKE[:2])
    assert not active.stopping


def test_the_epochs_of_an_earlier_process_are_told(tmp_path: Path) -> None:
    left(tmp_path, 0, "running", epochs=2)
    left(tmp_path, 1, "completed", epochs=3)
    _, seen = begun(tmp_path)
    assert seen.resumed_epochs == 5


def test_a_step_that_failed_is_no_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    active, seen = begun(tmp_path)
    epochs: list[tuple[object, ...]] = []
    monkeypatch.setattr(seen, "on_epoch", lambda *told: epochs.append(told))
    active.next_trial()
    callback, trial = TuneCallback(active), a_trial(0)
    for result in ({"samples": 50, "record": asdict(RECORD)}, {"samples": 0, "record": None}):
        callback.on_trial_result(0, [], trial, result)
    assert epochs == [(RUNS[0], RECORD, 50)]


def test_what_depends_on_a_running_trial_is_waited_for_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray asks again where the answer is none, as often as something runs, and never otherwise."""

    def propose() -> Proposal:
        raise NothingYetError

    active, _ = begun(tmp_path)
    searcher, callback = TuneSearcher(active), TuneCallback(active)
    suggested = [searcher.suggest(str(number)) for number in range(2)]
    assert [one and one["trial"] for one in suggested] == [0, 1]
    monkeypatch.setattr(active.source, "propose", propose)
    assert searcher.suggest("2") is None
    active.finish(0, History("completed", [RECORD]))
    assert searcher.suggest("2") is None, "one is left"
    callback.on_trial_error(0, [], a_trial(1))
    end: object = searcher.suggest("2")
    assert end == Searcher.FINISHED
    assert active.error is None


def a_trial(number: int) -> Any:
    return SimpleNamespace(config={"trial": number}, error_file=None)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ActiveTrials, Seen]:
    """A job on a Ray that is there, and patience with it that has run out."""
    monkeypatch.setattr(active_trials, "WORKER_SECONDS", 0)
    active, seen = begun(tmp_path)
    active.connection = Connection(tmp_path / "logs")
    return active, seen


def test_that_no_worker_comes_is_said_once(
    watched: tuple[ActiveTrials, Seen], tmp_path: Path
) -> None:
    active, seen = watched
    callback = TuneCallback(active)
    callback.on_step_end(0, [])
    assert not seen.notes, "nothing waits for one"
    active.next_trial()
    for _ in range(3):
        callback.on_step_end(0, [])
    (note,) = seen.notes
    assert note.startswith("no worker has started after 0 s")
    assert str(tmp_path / "logs") in note
    assert not active.stopping, "one may come yet"


def test_where_a_worker_has_come_nothing_is_said(watched: tuple[ActiveTrials, Seen]) -> None:
    active, seen = watched
    proposal, _ = active.next_trial()
    TuneCallback(active).on_trial_start(0, [], a_trial(proposal.number))
    active.next_trial()
    active.look_around()
    assert not seen.notes


def zombie() -> psutil.Process:
    """A process that has ended, of which its parent has not heard."""
    number = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    process = psutil.Process(number)
    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
    return process


def reaped() -> psutil.Process:
    """One of which its parent has heard."""
    process = zombie()
    os.waitpid(process.pid, 0)
    return process


@pytest.mark.parametrize("death", [zombie, reaped])
def test_where_ray_has_died_no_trial_is_blamed(
    tmp_path: Path, death: Callable[[], psutil.Process]
) -> None:
    """And Ray Tune, which would wait for it, is left at once: no Exception is raised."""
    active, seen = begun(tmp_path)
    here = psutil.Process()
    active.connection = Connection(tmp_path, {"raylet": here, "gcs_server": here})
    callback = TuneCallback(active)
    callback.on_step_end(0, [])
    proposal, _ = active.next_trial()
    dead = death()
    active.connection = Connection(tmp_path, {"raylet": here, "gcs_server": dead})
    with pytest.raises(RayLost, match="its gcs_server is gone"):
        callback.on_step_end(0, [])
    with pytest.raises(RayLost, match="its gcs_server is gone"):
        callback.on_trial_error(0, [], a_trial(proposal.number))
    if death is zombie:
        os.waitpid(dead.pid, 0)
    assert not issubclass(RayLost, Exception)
    assert not seen.histories


# A process of its own, since Ray reads its settings when it is imported


def printed_under_uv(folder: Path, code: str) -> list[str]:
    """What Python prints that was started by ``uv run``, as Ray sees it: by its parent's name."""
    (folder / "run").write_text('"$PYTHON" -c "$CODE"\nexit $?\n')
    environment = {**os.environ, "PYTHON": sys.executable, "CODE": code}
    for name in ENVIRONMENT:
        environment.pop(name, None)
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    done = subprocess.run(
        ["uv", "run"],
        executable="/bin/sh",
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


SETTINGS = """
{first}
import ray._private.worker as worker
from ray._private.services import get_node_ip_address
from ray._private.runtime_env.uv_runtime_env_hook import _get_uv_run_cmdline
assert _get_uv_run_cmdline(), "Ray sees uv"
print(worker._maybe_modify_runtime_env(None, False))
print(get_node_ip_address())
"""


def test_workers_run_in_this_environment_and_ray_listens_here_only(tmp_path: Path) -> None:
    printed = printed_under_uv(
        tmp_path, SETTINGS.format(first="import study.execution.trial_runner")
    )
    assert printed == ["None", "127.0.0.1"]


@pytest.mark.slow
def test_all_of_a_ray_of_our_own_listens_here_only(tmp_path: Path) -> None:
    """And its nodes have the name that they have elsewhere."""
    code = """
import platform, study.execution, ray
from study.execution.ray_session import connect
from study.execution.capacity import LOCAL
connection = connect(LOCAL, 0, {})
node, = ray.nodes()
assert node["NodeManagerHostname"] == platform.node()
print(node["NodeManagerAddress"], *sorted(connection.core))
for process in connection.core.values():
    for one in process.net_connections():
        if one.status == "LISTEN":
            print(one.laddr.ip.removeprefix("::ffff:"))
"""
    first, *listening = printed_under_uv(tmp_path, code)
    assert first == "127.0.0.1 gcs_server raylet"
    assert listening
    assert set(listening) == {"127.0.0.1"}
