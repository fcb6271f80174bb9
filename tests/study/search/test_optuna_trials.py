"""The ledger: what is proposed, what Optuna hears, what a killed process leaves.

Over a journal and over a database: the laws are the same.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, get_args

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers._tpe.sampler import _split_trials
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from torch.optim.lr_scheduler import ConstantLR

from search_spaces import FAMILIES, Parameters, ScheduleFamily, SearchSpace, select
from search_spaces.family import Recipe, middle
from search_spaces.preflight import draw
from study.search.database import Database
from study.search.journal_file import JOURNAL, OptunaStore
from study.search.optuna_trials import OptunaTrials
from study.search.proposal import Proposal
from study.search.sampler import GOOD, REMEMBERED, VisibleTrials
from study.search.trial_plan import Plan
from study.settings.choices import Allocation, Sampler
from study.system.errors import InputError
from study.tasks.metric import ACCURACY, RMSE
from study.tasks.ranking import Ranking
from study.training.history import EpochRecord, History, Status

PEAK = (1e-3, 1.0)


# Of a folder's Optuna study, if it was begun under this name; the fixture settles it.
place_of: Callable[[Path, str], OptunaStore] = lambda folder, _: folder  # noqa: E731
only_a_journal = pytest.mark.parametrize("where", ["journal"], indirect=True)


@pytest.fixture(autouse=True, params=["journal", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the studies of a test are."""
    if request.param == "sqlite":
        in_database(f"sqlite:///{tmp_path}/optuna.db", monkeypatch)


def in_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(folder: Path, name: str) -> Database:
        return Database(url, name, folder)

    monkeypatch.setattr(sys.modules[__name__], "place_of", place)


def open_ledger(
    folder: Path,
    families: str = "classic",
    seed: int = 0,
    ranking: Ranking = ACCURACY,
    allocation: Allocation = "joint",
    sampler: Sampler = "tpe",
    name: str = "",
) -> OptunaTrials:
    place = place_of(folder, name or folder.name)
    resuming = (folder / JOURNAL).exists() or is_in_database(place)
    plan = Plan(SearchSpace(select(families), PEAK), allocation, sampler)
    return OptunaTrials(place, plan, ranking, seed, resuming)


def is_in_database(place: OptunaStore) -> bool:
    try:
        return isinstance(place, Database) and bool(place.load(None))
    except InputError:
        return False


def ended(status: Status, accuracy: float = 0.9) -> History:
    return History(status, [EpochRecord(1, 10, 0.1, 1.0, 1.0, accuracy, 1.0)])


def value_of(proposal: Proposal) -> History:
    """A made-up landscape with something to find: high peaks and late families are better."""
    peak = float(proposal.parameters["peak_lr"])
    return ended("completed", 0.5 + peak / 3 + list(FAMILIES).index(proposal.family) / 100)


def study_in(folder: Path) -> optuna.Study:
    place = place_of(folder, folder.name)
    if isinstance(place, Database):
        return place.load(None)
    storage = JournalStorage(JournalFileBackend(str((folder / JOURNAL).absolute())))
    return optuna.load_study(study_name=folder.name, storage=storage)


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_the_first_trials_are_the_defaults_of_all_families(
    allocation: Allocation, tmp_path: Path
) -> None:
    """The controls' before the others'; nobody waits for them."""
    optuna_trials = open_ledger(
        tmp_path, "cosine,linear_to_zero,one_cycle,constant", allocation=allocation
    )
    first = [optuna_trials.propose() for _ in range(4)]
    families = ["constant", "linear_to_zero", "cosine", "one_cycle"]
    assert [one.family for one in first] == families
    assert [one.parameters for one in first] == [FAMILIES[name].default(PEAK) for name in families]
    assert [one.drawn_by for one in first] == ["fixed"] * 4


def test_with_many_families_the_start_up_is_as_long_as_it_must_be(tmp_path: Path) -> None:
    optuna_trials = open_ledger(tmp_path, "all")
    assert {optuna_trials.propose().family for _ in FAMILIES} == set(FAMILIES)


class Own(ScheduleFamily):
    """A family of a user's own, who has no configuration to begin with."""

    name = "own"
    groups = frozenset()
    space: ClassVar = {"height": FloatDistribution(0.2, 0.6), "kind": IntDistribution(1, 5)}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe(ConstantLR, {"factor": 1.0, "total_iters": total_steps})


@only_a_journal
def test_a_family_of_ones_own_without_defaults_begins_in_its_middle(tmp_path: Path) -> None:
    path = f"{__name__}:Own"
    try:
        optuna_trials = open_ledger(tmp_path, f"{path},constant,step,rex")
        proposals = propose_and_finish(optuna_trials, 20)
    finally:
        FAMILIES.pop(path, None)
    assert proposals[1].family == path
    rate = pytest.approx(PEAK[0] ** 0.4 * PEAK[1] ** 0.6)
    assert proposals[1].parameters == {"peak_lr": rate, "height": pytest.approx(0.4), "kind": 3}


def test_a_family_left_out_is_never_sampled(tmp_path: Path) -> None:
    optuna_trials = open_ledger(tmp_path, "cosine,one_cycle")
    for _ in range(40):
        proposal = optuna_trials.propose()
        assert proposal.family in ("cosine", "one_cycle")
        optuna_trials.finish(proposal.number, value_of(proposal))


def test_proposals_hold_their_familys_parameters_only(tmp_path: Path) -> None:
    optuna_trials = open_ledger(tmp_path)
    for _ in range(16):
        proposal = optuna_trials.propose()
        assert set(proposal.parameters) == {"peak_lr", *FAMILIES[proposal.family].space}


@pytest.mark.parametrize(
    ("status", "state", "value"),
    [
        ("completed", TrialState.COMPLETE, 0.9),
        ("diverged", TrialState.PRUNED, None),
        ("failed", TrialState.FAIL, None),
        ("stopped", TrialState.PRUNED, 0.9),
    ],
)
def test_optuna_hears_only_finished_values(
    tmp_path: Path, status: Status, state: TrialState, value: float | None
) -> None:
    optuna_trials = open_ledger(tmp_path)
    optuna_trials.finish(optuna_trials.propose().number, ended(status))
    (trial,) = study_in(tmp_path).trials
    assert (trial.state, trial.value) == (state, value)
    assert trial.user_attrs["status"] == status


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE])
def test_what_diverged_ranks_behind_what_was_stopped(ranking: Ranking, tmp_path: Path) -> None:
    """However far it came, and in either direction: as Optuna's TPE splits good from bad."""
    optuna_trials = open_ledger(tmp_path, ranking=ranking)
    late = [EpochRecord(9, 90, 0.1, 1.0, 1.0, 0.5, 1.0)]
    optuna_trials.finish(optuna_trials.propose().number, History("diverged", late))
    optuna_trials.finish(optuna_trials.propose().number, ended("stopped", 0.9))
    study = study_in(tmp_path)
    good, _ = _split_trials(study, study.trials, 1)
    assert [trial.number for trial in good] == [1]


def propose_and_finish(optuna_trials: OptunaTrials, count: int) -> list[Proposal]:
    proposals = []
    for _ in range(count):
        proposals.append(optuna_trials.propose())
        optuna_trials.finish(proposals[-1].number, value_of(proposals[-1]))
    return proposals


@only_a_journal
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_many_trials_the_best_and_the_latest_count(
    direction: Literal["maximize", "minimize"],
) -> None:
    study = optuna.create_study(direction=direction)
    values = [(7 * number) % 1000 / 1000 for number in range(REMEMBERED + 300)]
    for value in values:
        trial = optuna.create_trial(value=value, params={}, distributions={})
        study.add_trial(trial)
    seen = {trial.number for trial in VisibleTrials(study, None)._get_trials(deepcopy=False)}
    ranked = sorted(range(len(values)), key=values.__getitem__, reverse=direction == "maximize")
    good, latest = set(ranked[:GOOD]), set(range(300, len(values)))
    assert good | latest <= seen, "all that TPE takes for good ones, and the latest"
    assert len(seen) <= REMEMBERED + GOOD


def test_a_proposal_models_the_family_and_its_parameters_only(tmp_path: Path) -> None:
    """Each together, as Optuna's ``group`` does; what another family would take is not sampled."""
    optuna_trials = open_ledger(tmp_path, "all")
    propose_and_finish(optuna_trials, len(FAMILIES) + 10)
    for trial in study_in(tmp_path).trials[len(FAMILIES) :]:
        drawn = json.loads(trial.system_attrs["tpe:relative_params:0"])
        own = {name for name in trial.params if name != "family"}
        assert set(drawn) == own


def test_the_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        propose_and_finish(open_ledger(folder(tmp_path, name), seed=seed), 25)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first != other
    assert len({proposal.seed for proposal in first}) == 25


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_a_reopened_ledger_proposes_what_it_would_have(
    allocation: Allocation, tmp_path: Path
) -> None:
    """Before any trial, in every round and where one begins, and with TPE after the start-up."""
    whole = open_ledger(folder(tmp_path, "whole"), allocation=allocation)
    expected = propose_and_finish(whole, 20)
    broken, parts = folder(tmp_path, "broken"), []
    for count in (0, 1, 8, 2, 6, 3):
        parts += propose_and_finish(open_ledger(broken, allocation=allocation), count)
    assert parts == expected


def test_unfinished_proposals_come_back(tmp_path: Path) -> None:
    optuna_trials = open_ledger(tmp_path)
    proposals = [optuna_trials.propose() for _ in range(3)]
    optuna_trials.finish(1, ended("completed"))
    reopened = open_ledger(tmp_path)
    assert list(reopened.unfinished()) == [proposals[0], proposals[2]]
    assert reopened.finished_count == 1
    reopened.finish(2, ended("diverged"))
    assert [proposal.number for proposal, _ in reopened.finished()] == [1, 2]


def test_a_renamed_folder_holds_the_same_study(tmp_path: Path) -> None:
    whole = propose_and_finish(open_ledger(folder(tmp_path, "whole")), 4)
    before = folder(tmp_path, "before")
    parts = propose_and_finish(open_ledger(before), 2)
    reopened = open_ledger(before.rename(tmp_path / "after"), name="before")
    assert reopened.finished_count == 2
    assert parts + propose_and_finish(reopened, 2) == whole


def test_the_ledger_keeps_all_but_the_curve(tmp_path: Path) -> None:
    optuna_trials = open_ledger(tmp_path)
    history = History("failed", [EpochRecord(1, 9, 0.1, 1, 1, 0.5, 1)], [(0, 1, 1)], 2, "n", "e")
    proposal = optuna_trials.propose()
    optuna_trials.finish(proposal.number, history)
    ((stored, ending),) = open_ledger(tmp_path).finished()
    assert (stored, ending) == (proposal, replace(history, curve=[]))


def test_a_proposal_cut_short_is_completed_as_it_would_have_been(tmp_path: Path) -> None:
    expected = open_ledger(folder(tmp_path, "whole")).propose()
    broken = folder(tmp_path, "broken")
    optuna_trials = open_ledger(broken)
    optuna_trials._study.enqueue_trial(optuna_trials._plan.settled(0))
    optuna_trials._study.ask()  # the process dies before anything is suggested
    assert list(open_ledger(broken).unfinished()) == [expected]


@only_a_journal
def test_a_lock_left_by_a_dead_process_is_not_waited_for(tmp_path: Path) -> None:
    open_ledger(tmp_path).propose()
    journal = tmp_path / JOURNAL
    journal.with_name(f"{JOURNAL}.lock").symlink_to(journal)
    open_ledger(tmp_path).propose()  # the time-out of the suite is what fails otherwise


@only_a_journal
def test_tpe_learns(tmp_path: Path) -> None:
    """In the made-up landscape the second half of a study is better than its beginning."""
    proposals = propose_and_finish(open_ledger(tmp_path), 60)
    values = [value_of(proposal).epochs[-1].val_metric for proposal in proposals]
    assert sum(values[30:]) / 30 > sum(values[:16]) / 16 + 0.05


@only_a_journal
def test_lower_may_be_better(tmp_path: Path) -> None:
    """The made-up landscape upside down: TPE goes where the value falls."""
    optuna_trials = open_ledger(tmp_path, ranking=RMSE)
    values = []
    for _ in range(60):
        proposal = optuna_trials.propose()
        values.append(1 - value_of(proposal).epochs[-1].val_metric)
        optuna_trials.finish(proposal.number, ended("completed", values[-1]))
    assert sum(values[30:]) / 30 < sum(values[:16]) / 16 - 0.05
    assert study_in(tmp_path).best_value == min(values)


def families_of(optuna_trials: OptunaTrials) -> Counter[str]:
    return Counter(proposal.family for proposal, _ in optuna_trials.finished())


@only_a_journal
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_balanced_study_is_balanced_wherever_it_is_cut(tmp_path: Path, sampler: Sampler) -> None:
    """After every line of the journal, trials that had only been begun included."""
    whole = folder(tmp_path, "whole")
    families = "constant,step,cosine,one_cycle"
    optuna_trials = open_ledger(whole, families, allocation="balanced", sampler=sampler)
    propose_and_finish(optuna_trials, 18)
    assert sorted(families_of(optuna_trials).values()) == [4, 4, 5, 5]
    lines = (whole / JOURNAL).read_bytes().splitlines(keepends=True)
    begun = next(k for k, line in enumerate(lines) if json.loads(line)["op_code"] == 4)
    for cut in range(begun, len(lines)):
        broken = folder(tmp_path, str(cut))
        (broken / JOURNAL).write_bytes(b"".join(lines[:cut]))
        reopened = open_ledger(broken, families, allocation="balanced", sampler=sampler)
        begun_too = Counter(proposal.family for proposal in reopened.unfinished())
        counts = families_of(reopened) + begun_too
        numbers = [counts[family] for family in families.split(",")]
        assert max(numbers) - min(numbers) <= 1, lines[cut - 1]


@only_a_journal
def test_a_balanced_family_learns_from_its_own_trials_only(tmp_path: Path) -> None:
    """However good the others are: their values change nothing of what is proposed for it."""

    def cosines(name: str, others: float) -> list[Proposal]:
        optuna_trials = open_ledger(folder(tmp_path, name), "cosine,step", allocation="balanced")
        found = []
        for _ in range(120):
            proposal = optuna_trials.propose()
            own = proposal.family == "cosine"
            optuna_trials.finish(
                proposal.number, value_of(proposal) if own else ended("completed", others)
            )
            found += [proposal] if own else []
        return found

    found = cosines("a", 0.0)
    assert found == cosines("b", 1.0)
    assert len(found) == 60
    rates = [float(proposal.parameters["peak_lr"]) for proposal in found]
    assert sum(rates[45:]) > 1.5 * sum(rates[:15]), "higher is better, and it has been learnt"


@only_a_journal
def test_the_sampler_learns_which_family_is_good(tmp_path: Path) -> None:
    optuna_trials, found = open_ledger(tmp_path), []
    for _ in range(60):
        proposal = optuna_trials.propose()
        found.append(proposal.family)
        value = 0.9 if proposal.family == "one_cycle" else 0.1
        optuna_trials.finish(proposal.number, ended("completed", value))
    assert found[40:].count("one_cycle") > 5, "of 20; by chance 2"


@only_a_journal
def test_random_trials_are_independent_of_all_results(tmp_path: Path) -> None:
    found = []
    for name, value in (("a", 0.1), ("b", 0.9)):
        optuna_trials = open_ledger(folder(tmp_path, name), sampler="random")
        for _ in range(40):
            optuna_trials.finish(optuna_trials.propose().number, ended("completed", value))
        found.append([proposal for proposal, _ in optuna_trials.finished()])
    assert found[0] == found[1]
    assert [proposal.drawn_by for proposal in found[0]] == ["fixed"] * 9 + ["random"] * 31


def test_it_is_recorded_how_a_trial_came_about(tmp_path: Path) -> None:
    drawn = [one.drawn_by for one in propose_and_finish(open_ledger(tmp_path), 20)]
    assert drawn == ["fixed"] * 9 + ["tpe"] * 11


@only_a_journal
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_middle_that_can_be_drawn(name: str) -> None:
    family = FAMILIES[name]
    parameters = {name: middle(range_) for name, range_ in family.searched(PEAK).items()}
    assert draw(family, parameters, 100)[:, 0].max() > 0
