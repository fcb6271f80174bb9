"""Which schedule is best at which budget: seven of them at 5 to 100% of 20 epochs.

After REX, arXiv 2107.04197, with the small LeNet on MNIST: each schedule's defaults, but for its
peak rate, tuned anew for each budget on the validation split. ``python -m reproductions.budgets``
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis.figures.style import COLUMN, beside
from reproductions.runs import Bench, Outcome, Run, percent
from search_spaces import FAMILIES
from study.search.proposal import seeds_of
from study.settings.study_options import SearchOptions
from study.stages.replicates import replicate_seed
from study.system.command_line import exit_status
from study.tasks.builtin import mnist

EPOCHS, SEEDS, STUDY_SEED = (1, 2, 5, 10, 20), 3, 0
PEAKS = tuple(0.02 * 15**share for share in (0.6, 0.35, 0.8, 0.5))
"""Peak rates within the task's range that are tried, the default first."""
PUBLISHED = {
    "constant": "1 / 5",
    "exponential": "5 / 11",
    "one_cycle": "13 / 45",
    "linear_to_zero": "11 / 70",
}
"""Share of first and of top-three places, in percent, over 82 settings."""
SCHEDULES = (
    "constant",
    "multi_step",
    "exponential",
    "cosine",
    "one_cycle",
    "linear_to_zero",
    "rex",
)


def ranks(runs: pd.DataFrame) -> pd.DataFrame:
    """The place of each schedule by its mean test accuracy: a row a schedule, a column a budget."""
    means = runs.pivot_table(index="schedule", columns="epochs", values="test_accuracy")
    return means.rank(ascending=False, method="min").astype(int).loc[list(SCHEDULES)]


def tabled(runs: pd.DataFrame) -> list[list[str]]:
    """Mean accuracies and places; the share of first and of top-three places, a place a seed."""
    places, budgets = ranks(runs), sorted(set(runs["epochs"]))
    each = runs.groupby(["epochs", "seed"])["test_accuracy"].rank(ascending=False, method="min")
    heads = [f"{one} epoch{'s' * (one > 1)}" for one in budgets]
    lines = [["schedule", *heads, "first / top three, %", "REX"]]
    for family in SCHEDULES:
        own = runs["schedule"] == family
        cells = [
            f"{percent([*runs.loc[own & (runs['epochs'] == epochs), 'test_accuracy']], False)} "
            f"(place {places.loc[family, epochs]})"
            for epochs in budgets
        ]
        first, three = (100 * (each[own] <= most).mean() for most in (1, 3))
        lines.append([family, *cells, f"{first:.0f} / {three:.0f}", PUBLISHED.get(family, "")])
    return lines


def draw(places: pd.DataFrame) -> Figure:
    """Place against budget, a line a schedule."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.2))
    for family, row in places.iterrows():
        axes.plot(range(len(row)), row, marker="o", ms=3, lw=1)
        beside(axes, row.iloc[-1], str(family))
    axes.set(xlabel="epochs", ylabel="place by test accuracy", yticks=range(1, len(places) + 1))
    axes.set_xticks(range(places.shape[1]), map(str, places.columns))
    axes.invert_yaxis()
    return figure


def tuning(epochs: int, peaks: Iterable[float]) -> list[Run]:
    """A run for each peak rate and schedule; the other parameters are the family's defaults."""
    runs: list[Run] = []
    peak_range, extras = mnist.make_task().peak_lr, SearchOptions().extras()
    for peak, family in product(peaks, SCHEDULES):
        parameters = FAMILIES[family].default(peak_range, extras) | {"peak_lr": peak}
        runs.append(Run(family, family, parameters, epochs, seeds_of(STUDY_SEED, len(runs))[0]))
    return runs


def best(tuned: Iterable[Outcome]) -> list[Run]:
    """The run of highest validation accuracy by budget and schedule; the earliest of equal ones."""
    found: dict[tuple[int, str], Run] = {}
    for one in sorted(tuned, key=lambda one: -one.val_accuracy):
        found.setdefault((one.run.epochs, one.run.family), one.run)
    return [*found.values()]


def main(arguments: Sequence[str]) -> int:
    """Tune the peak rates, train the best of each schedule with fresh seeds, and rank."""
    bench = Bench.parse("budgets", arguments)
    every, fewest = (EPOCHS, PEAKS, SEEDS), (EPOCHS[:1], PEAKS[:1], 2)
    budgets, peaks, seeds = fewest if bench.asked.quick else every
    tuned = replace(bench, folder=bench.folder / "tuning").train(
        "mnist", [run for epochs in budgets for run in tuning(epochs, peaks)]
    )
    finals = [
        run._replace(seed=replicate_seed(STUDY_SEED, replicate))
        for run in best(tuned)
        for replicate in range(seeds)
    ]
    rows = [one.row for one in bench.train("mnist", finals)]
    runs = pd.DataFrame(rows)
    return bench.report(rows, tabled(runs), lambda: draw(ranks(runs)))


if __name__ == "__main__":
    sys.exit(exit_status(main))
