"""Early stopping: a trial is compared with its own family only, and pruned where it falls behind.

Among all families, schedules that anneal late would be pruned while those that anneal early shine
(arXiv 1803.02021, 2405.18392). Within one it is asynchronous successive halving (ASHA, Li et al.,
arXiv 1810.05934).
"""

import math
import zlib

import numpy as np

from study.search.optuna_trials import OptunaTrials
from study.search.proposal import Proposal
from study.training.history import History

KEPT = 3
"""One in so many continues after a ninth and after a third of its horizon."""
SPARED = 10
"""One in so many of the pruned continues, too."""


class Rungs:
    """The rungs of one family, at 1, 3, 9 ... times a ninth of the horizon.

    As Ray Tune's ``AsyncHyperBandScheduler`` has them with one bracket.

    Args:
        epochs: the horizon.
    """

    def __init__(self, epochs: int) -> None:
        first = max(1, round(epochs / KEPT**2))
        count = 1 + int(math.log(epochs / first) / math.log(KEPT))
        self._rungs: list[tuple[int, dict[int, float]]] = [
            (first * KEPT**rung, {}) for rung in reversed(range(count))
        ]

    def falls_behind(self, number: int, epoch: int, value: float) -> bool:
        """True if a trial comes to a rung and is not among the best third that came there before.

        Args:
            number: the trial's.
            epoch: the epoch that it has done.
            value: what it came to; higher is better.
        """
        for milestone, seen in self._rungs:
            if epoch >= milestone:
                if number in seen:
                    return False
                before = [*seen.values()]
                seen[number] = value
                cutoff = np.nanpercentile(before, (1 - 1 / KEPT) * 100) if before else -math.inf
                return bool(value < cutoff)
        return False


class EarlyStopping:
    """Prunes the trials of a study, of which one in ten continues, to see how many wrongly.

    What an earlier process saw is filled in from the Optuna study; that a trial was pruned is on
    record there before it is stopped.

    Args:
        optuna_trials: the study's.
        epochs: the horizon of a trial.
        seed: the study's.
    """

    def __init__(self, optuna_trials: OptunaTrials, epochs: int, seed: int) -> None:
        self._optuna_trials, self._epochs, self._seed = optuna_trials, epochs, seed
        self._pruned = optuna_trials.pruned()
        self._families: dict[str, Rungs] = {}
        for proposal, history in optuna_trials.finished():
            self.recall(proposal, history)

    def recall(self, proposal: Proposal, history: History) -> None:
        """Take in what an earlier process saw of a trial."""
        for record in history.epochs:
            self.falls_behind(proposal.family, proposal.number, record.epoch, record.val_metric)
        self.mark(proposal.number, history)

    def mark(self, number: int, history: History) -> None:
        """Write on a history that its trial was pruned, and was stopped for it."""
        history.pruned = self._pruned.get(number)
        if history.pruned and not history.ended and not self.spares(number):
            history.status = "stopped"

    def stops(self, family: str, number: int, epoch: int, metric: float) -> bool:
        """True if a trial is to stop after this epoch, having been pruned now or before."""
        if self.falls_behind(family, number, epoch, metric) and number not in self._pruned:
            self._optuna_trials.prune(number, epoch)
            self._pruned[number] = epoch
        return number in self._pruned and not self.spares(number)

    def falls_behind(self, family: str, number: int, epoch: int, metric: float) -> bool:
        """:meth:`Rungs.falls_behind` of the trial's family."""
        rungs = self._families.setdefault(family, Rungs(self._epochs))
        return rungs.falls_behind(number, epoch, -self._optuna_trials.ranking.cost(metric))

    def spares(self, number: int) -> bool:
        """True if a trial continues although it is pruned."""
        entropy = (self._seed, number, zlib.crc32(b"spared"))
        return bool(np.random.SeedSequence(entropy).generate_state(1)[0] % SPARED == 0)
