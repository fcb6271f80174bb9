"""Section h: what Optuna takes to propose a trial and to be told how it ended."""

import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row, Scale
from search_spaces import GROUPS, SearchSpace
from study.search.optuna_trials import OptunaTrials
from study.search.trial_plan import Plan
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History

SPACE = SearchSpace(GROUPS["all"], (3e-3, 0.3), {})


def proposals(scale: Scale) -> list[Row]:
    """Over all families, with another trial running, after random ones that ended like any.

    Each value is the median over a number of proposals.
    """
    chance = random.Random(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        filling = OptunaTrials(Path(folder), Plan(SPACE, sampler="random"), ACCURACY, seed=0)
        for count in scale.counts:
            while filling.proposed_count < count:
                filling.finish(filling.propose().number, _history(chance))
            asking = OptunaTrials(Path(folder), Plan(SPACE), ACCURACY, seed=0, resuming=True)
            values = [_seconds(asking, scale.proposals, chance) for _ in range(scale.repeats)]
            milliseconds = tuple(1000 * value for value in values)
            rows.append(Row("h", f"ask and tell after {count:,} trials", "ms", milliseconds))
    return rows


def _seconds(optuna_trials: OptunaTrials, count: int, chance: random.Random) -> float:
    seconds = []
    running = optuna_trials.propose()
    for _ in range(count):
        history = _history(chance)
        started = time.perf_counter()
        proposal = optuna_trials.propose()
        optuna_trials.finish(running.number, history)
        seconds.append(time.perf_counter() - started)
        running = proposal
    optuna_trials.finish(running.number, _history(chance))
    return statistics.median(seconds)


def _history(chance: random.Random) -> History:
    """Of a completed trial, as long as a real one's."""
    epochs = [EpochRecord(k, 390 * k, 0.01, 0.1, 0.1, chance.random(), 2.7) for k in (1, 2, 3)]
    return History("completed", epochs, wall_seconds=9.0, node="node")
