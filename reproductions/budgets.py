"""Which schedule is best at which budget: seven of them at 5 to 100% of 20 epochs.

After REX, arXiv 2107.04197, with the small LeNet on MNIST: peak rates are tuned anew for each
schedule and budget, on the validation split. ``python -m reproductions.budgets``
"""

import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import analysis
from analysis.style import COLUMN, beside
from reproductions.runs import Bench, percent
from study import sweep
from study.system.command_line import exit_status

EPOCHS, PEAKS, SEEDS = (1, 2, 5, 10, 20), 4, 3
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
    means = runs.pivot_table(index="family", columns="epochs", values="test_accuracy")
    return means.rank(ascending=False, method="min").astype(int).loc[list(SCHEDULES)]


def tabled(runs: pd.DataFrame) -> list[list[str]]:
    """Mean accuracies and places; the share of first and of top-three places, a place a seed."""
    places, budgets = ranks(runs), sorted(set(runs["epochs"]))
    each = runs.groupby(["epochs", "replicate"])["test_accuracy"].rank(
        ascending=False, method="min"
    )
    heads = [f"{one} epoch{'s' * (one > 1)}" for one in budgets]
    lines = [["schedule", *heads, "first / top three, %", "REX"]]
    for family in SCHEDULES:
        own = runs["family"] == family
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


def main(arguments: Sequence[str]) -> int:
    """Run a sweep, and rank."""
    bench = Bench.parse("budgets", arguments)
    budgets, peaks, seeds = ((1, 2), 1, 2) if bench.asked.quick else (EPOCHS, PEAKS, SEEDS)
    flags = {
        "epochs": ",".join(map(str, budgets)),
        "families": ",".join(SCHEDULES),
        "sampler": "grid-of-defaults",
        "peak-lr": "0.01,0.2",
        "num-trials": peaks * len(SCHEDULES),
        "finalists": len(SCHEDULES),
        "replicates": seeds,
        "data-dir": bench.asked.data_dir,
        "out": bench.folder.parent,
        "name": bench.folder.name,
    }
    if status := sweep.main([f"--{name}={value}" for name, value in flags.items()]):
        return status
    runs = pd.concat(
        analysis.load(bench.folder / f"epochs-{epochs}").finalists.assign(epochs=epochs)
        for epochs in budgets
    )
    columns = ["family", "epochs", "seed", "val_accuracy", "test_accuracy"]
    rows = [dict(zip(columns, row, strict=True)) for row in runs[columns].itertuples(index=False)]
    return bench.report(rows, tabled(runs), lambda: draw(ranks(runs)))


if __name__ == "__main__":
    sys.exit(exit_status(main))
