"""The finalists of a study and their replicates: which they are, and their seeds."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from search_spaces import CONTROLS
from study.search.interfaces import FinishedTrial
from study.search.proposal import Proposal
from study.storage.checkpoint_store import CheckpointStore
from study.tasks.ranking import Ranking
from study.training.history import History

CONTROL = CONTROLS[0]


def choose(finished: Iterable[FinishedTrial], ranking: Ranking, count: int) -> list[Proposal]:
    """The best trial of each of the best families, best first.

    Where the constant rate was searched it is one of them, whatever its place: the control.
    """
    best: dict[str, tuple[float, int, Proposal]] = {}
    for proposal, history in finished:
        if history.status == "completed":
            cost = ranking.cost(history.epochs[-1].val_metric)
            entry = (cost, proposal.number, proposal)
            best[proposal.family] = min(best.get(proposal.family, entry), entry)
    order = [proposal for _, _, proposal in sorted(best.values(), key=lambda entry: entry[:2])]
    if CONTROL in best:
        others = [proposal for proposal in order if proposal.family != CONTROL][: count - 1]
        return [one for one in order if one in others or one.family == CONTROL]
    return order[:count]


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


def replicates_of(
    finalists: Sequence[Proposal], replicates: int, seed: int
) -> tuple[list[Proposal], dict[int, tuple[int, int]]]:
    """Every finalist under every seed, a replicate of all before the next.

    Args:
        finalists: their trials.
        replicates: of each.
        seed: the study's.

    Returns: the runs, and the trial and replicate of each by its number.
    """
    runs: list[Proposal] = []
    replicate_of: dict[int, tuple[int, int]] = {}
    for replicate in range(replicates):
        fresh = replicate_seed(seed, replicate)
        for finalist in finalists:
            replicate_of[len(runs)] = finalist.number, replicate
            runs.append(replace(finalist, number=len(runs), seed=fresh))
    return runs, replicate_of


def replicate_seed(study_seed: int, replicate: int) -> int:
    """Seed of a replicate in every family, and of no trial of the search."""
    entropy = (study_seed, replicate, zlib.crc32(b"replicate"))
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
