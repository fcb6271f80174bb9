"""The Optuna study on disk: what was proposed and how it ended. It is the source of truth.

Ray executes what stands here; whatever is killed, this journal, or database, can be read and the
study goes on. A trial that is RUNNING in it without a process behind it is simply not finished yet.
"""

import heapq
import json
import logging
import math
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from search_spaces import FAMILIES, Parameters, SearchSpace
from study.database import Database
from study.plan import Plan
from study.settings.choices import DrawnBy
from study.settings.study_config import StudyConfig
from study.system.atomic_files import where_known
from study.system.errors import InputError, said
from study.tasks.metric import Ranking
from study.training.history import History, RunConfig

JOURNAL = "optuna.journal"
VERSION = 2
GOOD = 25
"""Trials that TPE takes for the good ones, at most, whatever their number."""
REMEMBERED = 500
"""The latest trials, which a proposal is made from besides the good ones. TPE weighs trials less
the older they are."""
Records = Path | Database
"""Where an Optuna study is: the study's folder, which holds its journal, or a database."""
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Proposal:
    """One trial as the sampler wants it tried."""

    number: int
    """Optuna's trial number."""
    family: str
    parameters: Parameters
    seed: int
    """Of this trial's training run, derived from the study's seed."""
    drawn_by: DrawnBy = "tpe"

    def run_config(self, config: StudyConfig) -> RunConfig:
        """The training run that this stands for in a study."""
        return RunConfig(self.family, self.parameters, self.seed, config.epochs, config.batch_size)


class Ledger:
    """Proposes trials, and is told how they ended.

    Args:
        records: where the Optuna study is; the caller holds the lock on the study's folder.
        plan: what to sample from, and what of it is settled before.
        ranking: what to look for.
        seed: the study's.
        resuming: whether there has to be a study already.

    Raises:
        InputError: the journal is damaged, or of a newer version, or of a study that lacks its
            study.json; the database cannot be used, or has such a study already, or has it not.
    """

    def __init__(
        self,
        records: Records,
        plan: Plan,
        ranking: Ranking,
        seed: int,
        resuming: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._plan, self._space, self._seed = plan, plan.space, seed
        self.ranking = ranking
        sampler = ResumableTPE(seed, plan)
        if isinstance(records, Path):
            self.where = repr(str(_journal(records)))
            self._study = _prepared(records, ranking, resuming, sampler)
        elif resuming:
            self.where = str(records)
            self._study = _opened(records, sampler)
        else:
            self.where = str(records)
            refuse_trials_without_description(records.folder)
            self._study = records.begun(ranking.direction, sampler, VERSION)
        self._open: dict[int, Trial] = {}
        self._replaying = True  # an earlier process may have left some
        self._next = 0

    def replay(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Have these proposed first, in their order: parameters as Optuna recorded them."""
        for parameters in trials:
            self._study.enqueue_trial(dict(parameters))

    @property
    def proposed_count(self) -> int:
        """How many trials there are, those that wait to be replayed included."""
        return len(self._study.get_trials(deepcopy=False))

    def open_proposals(self) -> dict[int, Proposal | None]:
        """As :meth:`unfinished`, but nothing is sampled: None where a kill left something out."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {
            trial.number: self._proposal(trial) if _is_complete(trial, self._space) else None
            for trial in trials
        }

    def unfinished(self) -> Iterator[Proposal]:
        """The proposals that an earlier process left without an end."""
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # What was sampled is kept; what a kill in between left out is sampled now.
            yield self._complete(Trial(self._study, frozen._trial_id))

    def propose(self) -> Proposal:
        """A new trial."""
        if self._replaying:
            trials = self._study.get_trials(deepcopy=False)
            self._replaying = any(trial.state == TrialState.WAITING for trial in trials)
            self._next = len(trials)
        if not self._replaying and (settled := self._plan.settled(self._next)):
            self._study.enqueue_trial(settled)
        proposal = self._complete(self._study.ask())
        self._next = proposal.number + 1
        return proposal

    def finish(self, number: int, history: History) -> None:
        """Record how a trial ended. Only a completed one is told to Optuna as complete."""
        trial = self._open.pop(number)
        trial.set_user_attr("status", history.status)
        # The curve is the only large part; it stays with the checkpoint.
        trial.set_user_attr("history", replace(history, curve=[]).to_json())
        if history.status == "completed":
            self._study.tell(trial, history.epochs[-1].val_metric)
        elif history.status in ("diverged", "stopped"):
            # TPE ranks a pruned trial below every complete one, by how far it came, and then by its
            # value; one that diverged came to nothing.
            last, stopped = history.epochs[-1], history.status == "stopped"
            if not trial._get_latest_trial().intermediate_values:  # else a kill came after this
                trial.report(last.val_metric if stopped else math.nan, last.step if stopped else 0)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def condemn(self, number: int, epoch: int) -> None:
        """Record that a trial scheduler saw no hope for a running trial after an epoch."""
        self._open[number].set_user_attr("condemned", epoch)

    def condemned(self) -> dict[int, int]:
        """The epoch of each such trial."""
        return {
            trial.number: int(trial.user_attrs["condemned"])
            for trial in self._study.get_trials(deepcopy=False)
            if "condemned" in trial.user_attrs
        }

    def finished(self) -> Iterator[tuple[Proposal, History]]:
        """Every trial that has ended, with its history but for the curve."""
        for frozen in self._study.get_trials(deepcopy=False, states=_FINISHED):
            try:
                history = History.from_json(frozen.user_attrs["history"])
            except (KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{self.where}: trial {frozen.number} has ended, but not how ({said(error)}); "
                    "was it written by another tool? Put a copy of it back"
                ) from error
            yield self._proposal(frozen), history

    @property
    def finished_count(self) -> int:
        """How many trials have ended."""
        return len(self._study.get_trials(deepcopy=False, states=_FINISHED))

    def _complete(self, trial: Trial) -> Proposal:
        self._open[trial.number] = trial
        family = FAMILIES[trial.suggest_categorical("family", self._space.families)]
        family.suggest(trial, self._space.peak_lr, self._space.extras)
        return self._proposal(trial)

    def _proposal(self, trial: Trial | FrozenTrial) -> Proposal:
        family = str(trial.params["family"])
        prefix = f"{FAMILIES[family].name}."
        parameters = {
            name.removeprefix(prefix): value
            for name, value in trial.params.items()
            if name.startswith(prefix)
        }
        seed, drawn_by = _seeds(self._seed, trial.number)[0], self._plan.drawn_by(trial.number)
        return Proposal(trial.number, family, parameters, seed, drawn_by)


def records_of(config: StudyConfig, study: str | None = None) -> Records:
    """Where a study's Optuna study is; ``study``: its name, where it is not that of the folder."""
    if config.optuna_storage is None:
        return config.folder
    url = config.location if config.storage else None
    return Database(config.optuna_storage, study or config.name, config.folder, url)


def refuse_trials_without_description(folder: Path) -> None:
    """A study is never begun over the trials of another.

    Raises:
        InputError: the folder's journal has trials that have begun, or cannot be read.
    """
    journal = _journal(folder)
    if not journal.exists() or not journal.stat().st_size:
        return
    trials = _opened(folder).get_trials(deepcopy=False)
    if any(trial.state != TrialState.WAITING for trial in trials):
        raise InputError(
            f"{str(folder)!r} holds the trials of a study, but not its study.json; put that back, "
            "or choose another --name"
        )


def recorded_proposals(records: Records, space: SearchSpace) -> list[dict[str, Any]]:
    """What :meth:`Ledger.replay` takes: the proposals of a study that may even be running.

    Raises:
        InputError: its journal or database cannot be read.
    """
    if isinstance(records, Path) and not _journal(records).exists():
        raise InputError(f"{str(records)!r} has no {JOURNAL}, so there is nothing to replay")
    trials = _opened(records).get_trials(deepcopy=False)
    recorded = [trial.params for trial in takewhile(lambda one: _is_complete(one, space), trials)]
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    if len(recorded) < len(trials) - waiting - 1:  # the last may have been killed while proposed
        raise InputError(
            f"trial {len(recorded)} of {str(records)!r} lacks parameters that its family has now, "
            "so it cannot be replayed"
        )
    return recorded


def _is_complete(trial: FrozenTrial, space: SearchSpace) -> bool:
    """Whether all of its parameters were sampled before a kill."""
    if "family" not in trial.params:
        return False
    family = FAMILIES[trial.params["family"]]
    return family.ranges(space.peak_lr, space.extras).keys() <= trial.params.keys()


class ResumableTPE(TPESampler):
    """TPE whose draws for a trial follow from the seed, the trial's number and the trials before.

    Optuna's own draws from one random stream in memory, which a resumed study begins again and so
    proposes what it has tried already. Here each trial has a stream of its own.

    First comes the family, then its parameters, which are modelled together. Optuna's ``group``
    does the same, but finds the groups by going through all trials each time, and samples for every
    family what one alone will use: with ten families, nine tenths of the time. And of more than
    :data:`REMEMBERED` trials, it goes by the best and the latest, so that a proposal does not take
    longer and longer.
    """

    def __init__(self, seed: int, plan: Plan) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                n_startup_trials=1,  # the plan knows when it begins
                multivariate=True,
                # Trials that still run count as bad, so that proposals side by side differ.
                constant_liar=True,
                seed=seed,
            )
        self._seed, self._plan = seed, plan
        self._view: View | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give the trial its own random stream."""
        super().before_trial(study, trial)
        self._view = None
        _, tpe_seed, random_seed = _seeds(self._seed, trial.number)
        self._rng.rng.seed(tpe_seed)
        self._random_sampler._rng.rng.seed(random_seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The family, where it is not given, and the parameters of those that it may be."""
        given, space = self._plan.family(trial.number), self._plan.space
        families = (given,) if given else space.families
        ranges: dict[str, BaseDistribution] = {"family": CategoricalDistribution(space.families)}
        for family in families:
            ranges |= FAMILIES[family].ranges(space.peak_lr, space.extras)
        return {name: one for name, one in ranges.items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing for the trials that are to be independent draws."""
        if self._plan.drawn_by(trial.number) != "tpe":
            return {}
        drawn: dict[str, Any] = {}
        if not (family := self._plan.family(trial.number)):
            which = {name: one for name, one in search_space.items() if name == "family"}
            drawn = self._sample_relative(study, trial, which)
            # A trial that was cut short has its family already.
            family = trial.params.get("family", drawn.get("family", self._plan.space.families[0]))
        prefix = f"{FAMILIES[family].name}."
        own = {name: one for name, one in search_space.items() if name.startswith(prefix)}
        return drawn | super().sample_relative(study, trial, own)

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """From the trials of one family where it is given; Optuna would rank it among all."""
        self._view = self._view or View(study, self._plan.family(trial.number))
        return super()._sample(self._view, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Give each parameter its own, too: a kill between two must not change the second."""
        entropy = (self._seed, trial.number, zlib.crc32(param_name.encode()))
        tpe_seed, random_seed = np.random.SeedSequence(entropy).generate_state(2)
        self._rng.rng.seed(tpe_seed)
        self._random_sampler._rng.rng.seed(random_seed)
        by_tpe = self._plan.drawn_by(trial.number) == "tpe"
        sample = super().sample_independent if by_tpe else self._random_sampler.sample_independent
        return sample(study, trial, param_name, param_distribution)


class View(Study):
    """A study as its sampler sees it: one family's trials, if it is given; of many, a part.

    As it is when it is first looked at: a proposal is sampled in two parts from the same trials.
    """

    def __init__(self, study: Study, family: str | None) -> None:
        vars(self).update(vars(study))
        self._family = family
        self._seen: list[FrozenTrial] = []

    def _get_trials(self, *arguments: Any, **keywords: Any) -> list[FrozenTrial]:
        if not self._seen:
            trials = super()._get_trials(*arguments, **keywords)
            if self._family:
                trials = [trial for trial in trials if trial.params.get("family") == self._family]
            self._seen = self._part(trials)
        return self._seen

    def _part(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        old, latest = trials[:-REMEMBERED], trials[-REMEMBERED:]
        running = [trial for trial in old if trial.state == TrialState.RUNNING]
        completed = (trial for trial in old if trial.state == TrialState.COMPLETE)
        pick = heapq.nlargest if self.direction == StudyDirection.MAXIMIZE else heapq.nsmallest
        best = pick(GOOD, completed, key=lambda trial: trial.values[0])
        return sorted([*best, *running, *latest], key=lambda trial: trial.number)


class Lines(JournalFileBackend):
    """A journal on any file system, be it one without links, or that cannot be told to sync."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal), JournalFileOpenLock(str(journal)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines, which are synced after that, where that is known."""
        with where_known():
            super().append_logs(logs)


def _journal(folder: Path) -> Path:
    # Absolute: over a relative path, a lock that outlived its process is waited for for ever.
    return (folder / JOURNAL).absolute()


def _opened(records: Records, sampler: TPESampler | None = None) -> Study:
    """The study that is there."""
    if isinstance(records, Path):
        return _of_journal(_journal(records), None, sampler)
    study = records.opened(sampler)
    _check_version(study.user_attrs.get("version", VERSION), str(records))
    return study


def _prepared(folder: Path, ranking: Ranking, resuming: bool, sampler: TPESampler) -> Study:
    """The study in the folder's journal, which is mended, or made, first."""
    journal = _journal(folder)
    # The journal's own lock outlives a kill; with the folder locked, nobody can hold it.
    journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    _mend(journal, resuming)
    if not resuming:
        refuse_trials_without_description(folder)
        journal.unlink(missing_ok=True)  # of a start that was killed before it began
    return _of_journal(journal, None if resuming else ranking, sampler)


def _of_journal(journal: Path, ranking: Ranking | None, sampler: TPESampler | None) -> Study:
    """The one study in a journal, made if there is none yet and a ranking is given."""
    try:
        storage = JournalStorage(Lines(journal))
        # Under the name that the folder had when it began.
        names = optuna.get_all_study_names(storage)
        if names:
            study = optuna.load_study(study_name=names[0], storage=storage, sampler=sampler)
        elif ranking:
            study = optuna.create_study(
                storage=storage,
                study_name=journal.parent.name,
                direction=ranking.direction,
                sampler=sampler,
            )
            study.set_user_attr("version", VERSION)
        else:
            raise ValueError("it has been cut short, and holds no study")
        version = study.user_attrs.get("version", VERSION)
    except OSError:
        raise
    except Exception as error:  # whatever Optuna makes of lines that are not its own
        raise _damaged(journal, said(error)) from error
    _check_version(version, repr(str(journal)))
    return study


def _check_version(version: object, where: str) -> None:
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f"{where} has version {version!r}, newer than this project reads ({VERSION}); "
            "update the project"
        )


def _mend(journal: Path, resuming: bool) -> None:
    """Cut off the half line that a killed process may have left: Optuna would write on behind it.

    A journal that is nothing but half a line never was one, unless there has to be one.

    Raises:
        InputError: another line is damaged.
    """
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if content and not whole and resuming:
        raise _damaged(journal, "line 1 is no record")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError as error:
            raise _damaged(journal, f"line {number} is no record") from error
    if len(whole) < len(content):
        os.truncate(journal, len(whole))


def _damaged(journal: Path, what: str) -> InputError:
    return InputError(
        f"{str(journal)!r} is damaged: {what}; put a copy of it back, or start another study with "
        "another --name"
    )


def _seeds(study_seed: int, number: int) -> tuple[int, int, int]:
    """Independent seeds for a trial's training run and for the sampler's two random streams."""
    first, second, third = np.random.SeedSequence((study_seed, number)).generate_state(3)
    return int(first), int(second), int(third)
