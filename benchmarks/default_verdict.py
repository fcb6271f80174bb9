"""The recommendations of default studies beside configurations that nobody tuned.

``python -m benchmarks.default_verdict results/A results/B`` trains what each of these studies
recommends, and twelve untuned configurations, under the same 20 fresh seeds, with the LeNet on
MNIST as :mod:`benchmarks.pool` does. It keeps the runs in ``results/default_verdict.csv``, so that
what was interrupted goes on, and prints a table of means and of who is better by 0.05 points.
"""

import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.pool import Run, train_missing
from search_spaces.family import Parameters
from study.results.best_trials import best_trial, parameters_of
from study.results.sequential import p_value, paired_differences
from study.results.study_record import StudyRecord
from study.system.command_line import exit_status
from study.system.errors import InputError

SEEDS, MARGIN, LEVEL = 20, 5e-4, 0.05
SHAPES = ("linear_to_zero", "cosine", "wsd_linear")
SHAPE = {"cosine": {"end_ratio": 1e-3}, "wsd_linear": {"cooldown_fraction": 0.2}}
PEAKS, WARMUPS = (0.06, 0.1), (0.1, 0.2)
RUNS = Path("results/default_verdict.csv")


@dataclass(frozen=True)
class Configuration:
    """A schedule with its parameters."""

    label: str
    family: str
    parameters: Parameters


def recommended(folder: Path) -> Configuration:
    """The configuration that a study recommends.

    Raises:
        InputError: it has no completed trial.
    """
    record = StudyRecord.load(folder)
    trial = best_trial(folder, record)
    if not trial:
        raise InputError(f"{str(folder)!r} has no completed trial")
    return Configuration(folder.name, trial["family"], parameters_of(trial, record))


def untuned() -> list[Configuration]:
    """Three shapes, two peak rates, two warm-ups."""
    return [
        Configuration(
            f"{family}, peak {peak:g}, warm-up {warmup:g}",
            family,
            {"peak_lr": peak, "warmup_fraction": warmup, **SHAPE.get(family, {})},
        )
        for family, peak, warmup in product(SHAPES, PEAKS, WARMUPS)
    ]


def main(arguments: Sequence[str]) -> int:
    """Train what is missing, and print the table."""
    chosen = [recommended(Path(folder)) for folder in arguments]
    every = [*chosen, *untuned()]
    entropy = zlib.crc32(b"default verdict")
    seeds = np.random.SeedSequence(entropy).generate_state(SEEDS).tolist()
    # Numbered by what they are: studies that recommend the same share its runs.
    runs = {
        _number(one, seed): Run(_number(one, seed), one.family, "", one.parameters, seed)
        for seed in seeds
        for one in every
    }
    RUNS.parent.mkdir(exist_ok=True)
    train_missing(RUNS, runs.values())
    table = pd.read_csv(RUNS).set_index("number")["test_accuracy"]
    accuracies = {
        one.label: np.array([table[_number(one, seed)] for seed in seeds]) for one in every
    }
    for one in every:
        own = accuracies[one.label]
        better = [
            mine.label
            for mine in chosen
            if p_value(paired_differences(own, accuracies[mine.label]) - MARGIN) <= LEVEL
        ]
        print(
            f"| {one.label} | {100 * own.mean():.2f} | {100 * own.std(ddof=1):.2f} | "
            f"{', '.join(better) or 'none'} |"
        )
    return 0


def _number(one: Configuration, seed: int) -> int:
    return zlib.crc32(json.dumps([one.family, dict(one.parameters), seed]).encode())


if __name__ == "__main__":
    sys.exit(exit_status(main))
