"""Early stopping: within a family only, recorded before it is done, and never told as complete."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from search_spaces import SearchSpace
from study.execution.active_trials import ActiveTrials
from study.execution.trial_schedulers import StopsEarly
from study.execution.trial_set import TrialSet
from study.search.early_stopping import SPARED, EarlyStopping
from study.search.interfaces import TrialObserver
from study.search.optuna_trials import OptunaTrials
from study.search.proposal import Proposal
from study.search.trial_plan import Plan
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_files import write_checkpoint
from study.storage.checkpoint_store import trial_folder
from study.storage.mirror import Mirror
from study.system.interrupt import Interrupt
from study.tasks.check_data import load_for_search
from study.tasks.metric import ACCURACY, RMSE
from study.tasks.ranking import Ranking
from study.training.history import EpochRecord, History
from tests.records import store
from tests.study.studies import Study, journal

EPOCHS = 9
CONFIG = StudyConfig.of(epochs=EPOCHS)


class Played:
    """A study of cosine and step in turns, without Ray: trials run one after the other."""

    def __init__(self, folder: Path, ranking: Ranking = ACCURACY, resuming: bool = False) -> None:
        plan = Plan(SearchSpace(("cosine", "step"), (0.01, 1.0)), "balanced")
        self.optuna_trials = OptunaTrials(folder, plan, ranking, 0, resuming)
        self.early_stopping = EarlyStopping(self.optuna_trials, EPOCHS, 0)
        self.scheduler = StopsEarly(self.early_stopping)

    def play(self, values: list[float]) -> list[int | None]:
        """Trials that have these values after every epoch; the epochs after which they stopped."""
        return [self.play_one(value) for value in values]

    def play_one(self, value: float) -> int | None:
        proposal = self.optuna_trials.propose()
        trial: Any = SimpleNamespace(
            config={"trial": proposal.number, "run": {"family": proposal.family}}
        )
        history = History()
        for epoch in range(1, EPOCHS + 1):
            history.epochs.append(EpochRecord(epoch, 10 * epoch, 0.1, 1, 1, value, 1))
            result = {"epoch": epoch, "metric": value}
            if self.scheduler.on_trial_result(None, trial, result) == "STOP":
                break
        else:
            history.status = "completed"
        self.early_stopping.mark(proposal.number, history)
        self.optuna_trials.finish(proposal.number, history)
        return epoch if history.status == "stopped" else None

    def spared(self, numbers: range) -> list[int]:
        return [number for number in numbers if self.early_stopping.spares(number)]


def test_a_trial_is_compared_with_its_own_family_only(tmp_path: Path) -> None:
    """The better family changes nothing for the worse one."""
    played = Played(tmp_path)
    # Cosine, even numbers, always has 0.9 and step at most 0.5.
    assert played.play([0.9, 0.1, 0.9, 0.2, 0.9, 0.3, 0.9, 0.4]) == [None] * 8
    assert played.play([0.9, 0.1]) == [None, 1]
    assert played.play([0.8, 0.5]) == [1, None]


def test_lower_may_be_better(tmp_path: Path) -> None:
    played = Played(tmp_path, RMSE)
    assert played.play([0.9, 0.4, 0.9, 0.3, 0.9, 0.5]) == [None, None, None, None, None, 1]


def test_a_tenth_of_the_pruned_ends_all_the_same(tmp_path: Path) -> None:
    played = Played(tmp_path)
    count = 100
    spared = played.spared(range(count))
    assert 2 <= len(spared) <= 2 * count / SPARED
    played.play([1 - number / count for number in range(count)])  # ever worse: all are pruned
    histories = {proposal.number: history for proposal, history in played.optuna_trials.finished()}
    assert [number for number, one in histories.items() if one.status == "completed"] == sorted(
        {0, 1, *spared}
    )
    assert {one.pruned for number, one in histories.items() if number > 1} == {1}
    states = [trial.state for trial in played.optuna_trials._study.trials]
    assert states.count(TrialState.COMPLETE) == len({0, 1, *spared})
    assert states.count(TrialState.PRUNED) == count - len({0, 1, *spared})


def test_a_resumed_study_stops_the_same_trials(tmp_path: Path) -> None:
    """Ray itself forgets its rungs."""
    values = [0.5, 0.5, 0.6, 0.4, 0.7, 0.3, 0.55, 0.6, 0.8, 0.45, 0.1, 0.9, 0.75, 0.2]
    (tmp_path / "whole").mkdir()
    whole = Played(tmp_path / "whole").play(values)
    (tmp_path / "parts").mkdir()
    parts = Played(tmp_path / "parts").play(values[:9])
    parts += Played(tmp_path / "parts", resuming=True).play(values[9:])
    assert parts == whole
    assert {epoch for epoch in whole if epoch} == {1}


class Seen(TrialObserver):
    """What a job tells, kept."""

    def __init__(self) -> None:
        self.histories: dict[int, History] = {}
        self.resumed_epochs = 0
        self.notes: list[str] = []

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        self.histories[proposal.number] = history

    def on_trial_resume(self, proposal: Proposal, epochs: int) -> None:
        self.resumed_epochs += epochs

    def on_message(self, line: str) -> None:
        self.notes.append(line)


def resumed(config: StudyConfig, optuna_trials: OptunaTrials) -> tuple[ActiveTrials, Seen]:
    """The study as a new process takes it up, before Ray is started."""
    seen = Seen()
    no_data: Any = ()
    trial_set = TrialSet(
        optuna_trials,
        9,
        store(config.location.folder / "c"),
        no_data,
        load_for_search,
        (seen,),
        Mirror(config.location.folder, config.location.open()),
        EarlyStopping(optuna_trials, EPOCHS, 0),
    )
    active = ActiveTrials(config, trial_set, Interrupt())
    active.resume_unfinished()
    return active, seen


def test_a_pruned_trial_whose_stop_was_killed_is_stopped_by_the_resume(tmp_path: Path) -> None:
    """If it left a checkpoint at once, else as soon as it comes by again."""
    config = CONFIG.but(out=tmp_path, name="s")
    (tmp_path / "s" / "c").mkdir(parents=True)
    played = Played(tmp_path / "s")
    played.play([0.5, 0.5])
    with_checkpoint, without = played.optuna_trials.propose(), played.optuna_trials.propose()
    for proposal in (with_checkpoint, without):
        played.optuna_trials.prune(proposal.number, 1)
    folder = (
        tmp_path
        / "s"
        / "c"
        / "attempt-001"
        / trial_folder(with_checkpoint.number)
        / "checkpoint_000000"
    )
    folder.mkdir(parents=True)
    history = History(epochs=[EpochRecord(1, 10, 0.1, 1, 1, 0.4, 1)])
    write_checkpoint(folder, {}, history, with_checkpoint.run_config(config).digest())
    again = Played(tmp_path / "s", resuming=True)
    active, seen = resumed(config, again.optuna_trials)
    assert [proposal for proposal, _ in active.resumed] == [without]
    assert {number: one.status for number, one in seen.histories.items()} == {2: "stopped"}
    assert seen.histories[2].pruned == 1
    trial: Any = SimpleNamespace(config={"trial": 3, "run": {"family": "step"}})
    assert active.early_stopping
    result = {"epoch": 1, "metric": 0.9}
    scheduler = StopsEarly(active.early_stopping)
    assert scheduler.on_trial_result(None, trial, result) == "STOP"


def test_what_an_unfinished_trial_has_shown_is_remembered(tmp_path: Path) -> None:
    """Trials that begin after a resume are compared with those that go on, too."""
    config = CONFIG.but(out=tmp_path, name="s")
    (tmp_path / "s" / "c").mkdir(parents=True)
    running = Played(tmp_path / "s").optuna_trials.propose()
    folder = (
        tmp_path / "s" / "c" / "attempt-001" / trial_folder(running.number) / "checkpoint_000000"
    )
    folder.mkdir(parents=True)
    history = History(epochs=[EpochRecord(1, 10, 0.1, 1, 1, 0.9, 1)])
    write_checkpoint(folder, {}, history, running.run_config(config).digest())
    active, _ = resumed(config, Played(tmp_path / "s", resuming=True).optuna_trials)
    assert [proposal for proposal, _ in active.resumed] == [running]
    assert active.early_stopping
    assert active.early_stopping.falls_behind(running.family, 8, 1, 0.5)


def test_a_trial_that_diverged_is_one_that_others_are_compared_with(tmp_path: Path) -> None:
    """Ray asks nothing of a trial that is done; it only says so."""
    for name, diverged in (("with", True), ("without", False)):
        (tmp_path / name).mkdir()
        played = Played(tmp_path / name)
        assert not played.early_stopping.falls_behind("cosine", 0, 1, 0.5)
        if diverged:
            trial: Any = SimpleNamespace(config={"trial": 1, "run": {"family": "cosine"}})
            played.scheduler.on_trial_complete(None, trial, {"epoch": 1, "metric": 0.1})
        # Of 0.5 alone, 0.4 is not among the best third; of 0.5 and 0.1 it is.
        assert played.early_stopping.falls_behind("cosine", 2, 1, 0.4) != diverged


def test_in_a_study_what_is_stopped_is_never_told_as_complete(study: Study, tmp_path: Path) -> None:
    flags = ("--families", "constant,cosine", "--num-trials", 24, "--epochs", EPOCHS)
    early = ("--trial-scheduler", "asha-within-family", "--allocation", "balanced")
    trials = study(*flags, *early, task="digits").trials.set_index("trial")
    stopped = trials[trials["status"] == "stopped"]
    assert len(stopped) >= 8
    assert set(stopped["epochs"]) <= {1, 3}
    assert (stopped["epochs"] == stopped["pruned"]).all()
    completed = trials[trials["status"] == "completed"]
    assert set(completed["epochs"]) == {EPOCHS}
    for trial in journal(tmp_path / "s").trials:
        complete = trial.state == TrialState.COMPLETE
        assert complete == (trials.loc[trial.number, "status"] == "completed")
        if complete:
            assert trial.value == pytest.approx(trials.loc[trial.number, "val_accuracy"])
