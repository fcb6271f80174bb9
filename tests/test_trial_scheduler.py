"""Early stopping: within a family only, recorded before it is done, and never told as complete."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from search_spaces import SearchSpace
from study.config import StudyConfig
from study.ledger import Ledger
from study.metric import ACCURACY, RMSE, Ranking
from study.plan import Plan
from study.search import SPARED, WithinFamily
from study.training import EpochRecord, History
from tests.test_study import Study, journal, study

__all__ = ["study"]
EPOCHS = 9
CONFIG = StudyConfig(epochs=EPOCHS)


class Played:
    """A study of cosine and step in turns, without Ray: trials run one after the other."""

    def __init__(self, folder: Path, ranking: Ranking = ACCURACY, resuming: bool = False) -> None:
        plan = Plan(SearchSpace(("cosine", "step"), (0.01, 1.0)), "balanced")
        self.ledger = Ledger(folder, plan, ranking, 0, resuming)
        self.scheduler = WithinFamily(self.ledger, CONFIG)

    def play(self, values: list[float]) -> list[int | None]:
        """Trials that have these values after every epoch; the epochs after which they stopped."""
        return [self.play_one(value) for value in values]

    def play_one(self, value: float) -> int | None:
        proposal = self.ledger.propose()
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
        self.scheduler.mark(proposal.number, history)
        self.ledger.finish(proposal.number, history)
        return epoch if history.status == "stopped" else None

    def spared(self, numbers: range) -> list[int]:
        return [number for number in numbers if self.scheduler._spared(number)]


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


def test_a_tenth_of_the_condemned_ends_all_the_same(tmp_path: Path) -> None:
    played = Played(tmp_path)
    count = 100
    spared = played.spared(range(count))
    assert 2 <= len(spared) <= 2 * count / SPARED
    played.play([1 - number / count for number in range(count)])  # ever worse: all are condemned
    histories = {proposal.number: history for proposal, history in played.ledger.finished()}
    assert [number for number, one in histories.items() if one.status == "completed"] == sorted(
        {0, 1, *spared}
    )
    assert {one.condemned for number, one in histories.items() if number > 1} == {1}
    states = [trial.state for trial in played.ledger._study.trials]
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


def test_a_condemned_trial_whose_stop_was_killed_is_stopped_by_the_resume(tmp_path: Path) -> None:
    played = Played(tmp_path)
    played.play([0.5, 0.5])
    number = played.ledger.propose().number
    played.ledger.condemn(number, 1)
    resumed = Played(tmp_path, resuming=True)
    history = History()
    resumed.scheduler.mark(number, history)
    assert (history.status, history.condemned) == ("stopped", 1)


def test_in_a_study_what_is_stopped_is_never_told_as_complete(study: Study, tmp_path: Path) -> None:
    flags = ("--families", "constant,cosine", "--num-trials", 24, "--epochs", EPOCHS)
    early = ("--trial-scheduler", "asha-within-family", "--allocation", "balanced")
    trials = study(*flags, *early, task="digits").trials.set_index("trial")
    stopped = trials[trials["status"] == "stopped"]
    assert len(stopped) >= 8
    assert set(stopped["epochs"]) <= {1, 3}
    assert (stopped["epochs"] == stopped["condemned"]).all()
    completed = trials[trials["status"] == "completed"]
    assert set(completed["epochs"]) == {EPOCHS}
    for trial in journal(tmp_path / "s").trials:
        complete = trial.state == TrialState.COMPLETE
        assert complete == (trials.loc[trial.number, "status"] == "completed")
        if complete:
            assert trial.value == pytest.approx(trials.loc[trial.number, "val_accuracy"])
