"""The finalists of a study and their replicates: which they are, and their seeds."""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from search_spaces import CONTROLS
from study.results.sequential import Race
from study.results.study_record import SeedPlan
from study.search.interfaces import FinishedTrial, NothingYetError
from study.search.proposal import Proposal
from study.storage.checkpoint_store import CheckpointStore
from study.tasks.ranking import Ranking
from study.training.history import History

CONTROL = CONTROLS[0]


def choose(finished: Iterable[FinishedTrial], ranking: Ranking, count: int) -> list[Proposal]:
    """The finalists: the best trial of each of the best families, best first.

    Where the constant rate was searched it is one of them, whatever its place: the control. So is
    the default of the best family that is better tuned, so that the answer is no worse than what
    needs no tuning.
    """
    completed = [
        (ranking.cost(history.epochs[-1].val_metric), proposal.number, proposal)
        for proposal, history in finished
        if history.status == "completed"
    ]
    order = [proposal for *_, proposal in sorted(completed, key=lambda entry: entry[:2])]
    best = {one.family: one for one in reversed(order)}
    control = [best.pop(CONTROL)] if CONTROL in best else []
    others = [one for one in order if best.get(one.family) is one]
    tuned = [one.family for one in others if one.drawn_by != "fixed"]
    defaults = [one for one in order if one.drawn_by == "fixed" and one.family in tuned[:1]]
    chosen = [*others[:1], *control, *defaults, *others[1:]][:count]
    return [one for one in order if any(one is each for each in chosen)]


class Planned:
    """Runs that are all known before the first of them begins: a :class:`TrialSource`.

    Args:
        runs: in their order.
        checkpoints: where an earlier process has left its own.
    """

    def __init__(self, runs: Sequence[Proposal], checkpoints: CheckpointStore) -> None:
        begun = checkpoints.trials()
        self._begun = [run for run in runs if run.number in begun]
        self._fresh = iter([run for run in runs if run.number not in begun])
        self.finished_count = 0

    def unfinished(self) -> Iterator[Proposal]:
        """Those that an earlier process may have begun, or even ended."""
        yield from self._begun

    def propose(self) -> Proposal:
        """The next one."""
        return next(self._fresh)

    def finish(self, number: int, history: History) -> None:
        """Count it; all else is in its checkpoint."""
        self.finished_count += 1


class SeedRuns:
    """Runs of the finalists under fresh seeds, as far as they are wanted: a :class:`TrialSource`.

    Run ``replicate * finalists + position`` is that finalist under the seed of that replicate,
    whenever it is trained. The looks of the plans follow from what the runs came to.

    Args:
        finalists: their trials.
        plans: theirs, whose looks are kept up to date.
        seed: the study's.
        ranking: of the test metric.
    """

    def __init__(
        self, finalists: Sequence[Proposal], plans: Sequence[SeedPlan], seed: int, ranking: Ranking
    ) -> None:
        self.finalists, self.plans = finalists, plans
        self._seed, self._ranking = seed, ranking
        trials = [one.number for one in finalists]
        self._races = [Race.of(trials, plan.replicates) for plan in plans]
        self._begun: set[int] = set()
        self._look()

    @property
    def total(self) -> int:
        """Runs of all plans, those included that nobody may need."""
        return len(self.finalists) * sum(plan.replicates for plan in self.plans)

    @property
    def identities(self) -> dict[int, tuple[int, int]]:
        """Trial and replicate of each run, by its number."""
        replicates = range(self.total // len(self.finalists))
        every = ((one.number, replicate) for replicate in replicates for one in self.finalists)
        return dict(enumerate(every))

    @property
    def left(self) -> int:
        """Runs that are wanted before the next look; none after a decision."""
        return len(self._wanted)

    @property
    def finished_count(self) -> int:
        """Runs that have ended, or are not wanted any more."""
        return sum(int(race.is_there.sum()) for race in self._races) if self.left else self.total

    def unfinished(self) -> Iterator[Proposal]:
        """Those that an earlier process has begun, by :meth:`begun`."""
        yield from map(self._run, sorted(self._begun))

    def propose(self) -> Proposal:
        """The first that is wanted and has not begun.

        Raises:
            NothingYetError: a look comes first, or has ended it.
        """
        for number in self._wanted:
            if number not in self._begun:
                self._begun.add(number)
                return self._run(number)
        raise NothingYetError

    def finish(self, number: int, history: History) -> None:
        """Take in what a run came to; a look may be due."""
        self._enter(number, history.status, history.test_metric)
        self._look()

    def begun(self, numbers: Iterable[int]) -> None:
        """Runs of which an earlier process has left checkpoints."""
        self._begun = set(numbers)

    def recall(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in the rows of the finalists' table, without their checkpoints."""
        positions = {one.number: position for position, one in enumerate(self.finalists)}
        for row in rows:
            if row["trial"] in positions:
                number = row["replicate"] * len(self.finalists) + positions[row["trial"]]
                self._enter(number, row["status"], row[f"test_{self._ranking.column}"])
        self._look()

    def _run(self, number: int) -> Proposal:
        replicate, position = divmod(number, len(self.finalists))
        fresh = replicate_seed(self._seed, replicate)
        return replace(self.finalists[position], number=number, seed=fresh)

    def _enter(self, number: int, status: str, metric: float | None) -> None:
        """A run that failed says nothing of its finalist; one without a finite metric collapsed."""
        replicate, position = divmod(number, len(self.finalists))
        value = math.nan if status == "failed" else -math.inf
        if status == "completed" and metric is not None and math.isfinite(metric):
            value = -self._ranking.cost(metric)
        for plan, race in zip(self.plans, self._races, strict=True):
            if plan.first <= replicate < plan.first + plan.replicates:
                race.enter(position, replicate - plan.first, value)

    def _look(self) -> None:
        self._wanted: list[int] = []
        for plan, race in zip(self.plans, self._races, strict=True):
            looks, wanted = race.standing()
            plan.looks += looks[len(plan.looks) :]
            count = len(self.finalists)
            self._wanted += [(plan.first + seed) * count + position for position, seed in wanted]


def replicate_seed(study_seed: int, replicate: int, use: str = "replicate") -> int:
    """Seed of a replicate in every family; of each use another one, and of no trial's search."""
    entropy = (study_seed, replicate, zlib.crc32(use.encode()))
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
