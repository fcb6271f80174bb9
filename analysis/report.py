"""The report of a study: ``python -m analysis.report results/NAME``."""

import base64
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import tyro
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from analysis import figures
from analysis.load import Results, load
from study.cli import exit_status, parse
from study.errors import StudyError
from study.files import replacing, write_atomically

COMMAND = "python -m analysis.report"


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a study: report/index.html, and every figure as PNG and SVG."""

    folder: tyro.conf.Positional[Path]
    """The study's folder, results/NAME."""


class Plot(NamedTuple):
    """A figure of the report."""

    name: str
    title: str
    caption: str
    draw: Callable[[Results], Figure]


PLOTS = (
    Plot(
        "schedules",
        "Schedules and what they achieved",
        "Every trial's learning rate as the optimizer used it, coloured by the {metric} it ended "
        "with (darker is better). The strongest line is the best trial of all, the next strongest "
        "the best of each family. Dotted grey lines diverged or failed.",
        lambda study: figures.schedules_by_result(study.trials, study.schedules, study.scale),
    ),
    Plot(
        "families",
        "Final {metric} by family",
        "Every trial a dot, families ordered by their best. Families whose clouds overlap cannot "
        "be told apart by one run each.",
        lambda study: figures.result_by_family(study.trials, study.scale),
    ),
    Plot(
        "peak_rates",
        "Final {metric} against the peak rate",
        "A family whose dots stay {good} over a wide range forgives a badly chosen rate.",
        lambda study: figures.result_by_peak_lr(study.trials, study.scale),
    ),
    Plot(
        "learning_curves",
        "Learning curves",
        "Validation {metric} after each epoch, coloured by where it ended. A schedule that looks "
        "poor in the middle may be the best at the end.",
        lambda study: figures.learning_curves(study.trials, study.epochs, study.scale),
    ),
    Plot(
        "search",
        "How the search went",
        "The line is the best {metric} so far; a line that is flat for long has found what it can.",
        lambda study: figures.best_by_trial(study.trials, study.scale),
    ),
)

RANGE_TEST = Plot(
    "range_test",
    "Which peak rates were searched",
    "The range test: three short runs whose rate rises exponentially from step to step. The shaded "
    "range ends where the training loss was lowest, and begins two decades below.",
    lambda study: figures.range_test(
        study.study["range_test"], study.study["search_space"]["peak_lr"]
    ),
)


def write_report(folder: Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/`` into a study's folder.

    Raises:
        InputError: the folder holds no study with a finished trial.
        StudyError: the report cannot be written.
    """
    results = load(folder)
    report = folder / "report"
    try:
        (report / "figures").mkdir(parents=True, exist_ok=True)
        tested = results.study.get("range_test")
        completed = bool((results.trials["status"] == "completed").any())
        plots = [*(PLOTS if completed else ()), *([RANGE_TEST] if tested else ())]
        images = [_save(plot, results, report / "figures") for plot in plots]
        page = _page(folder.resolve().name, results, images)
        write_atomically(report / "index.html", page.encode())
    except OSError as error:
        raise StudyError(
            f"{str(report)!r} cannot be written: {error.strerror or error}; mend that, then type "
            f"{COMMAND} {folder}"
        ) from error
    return report / "index.html"


def _save(plot: Plot, results: Results, folder: Path) -> dict[str, str]:
    """Draw a figure into its two files; returns what the page needs of it."""
    with figures.house_style():
        figure = plot.draw(results)
        for suffix in ("png", "svg"):
            with replacing(folder / f"{plot.name}.{suffix}") as path:
                figure.savefig(path, format=suffix, dpi=160)
        plt.close(figure)
    png = base64.b64encode((folder / f"{plot.name}.png").read_bytes()).decode()
    scale = results.scale
    words = {"metric": scale.name, "good": "high" if scale.higher_is_better else "low"}
    title, caption = plot.title.format(**words), plot.caption.format(**words)
    return {"title": title, "caption": caption, "name": plot.name, "png": png}


def _page(name: str, results: Results, images: Sequence[dict[str, str]]) -> str:
    environment = Environment(
        loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined
    )
    trials, scale = results.trials, results.scale
    best = figures.with_cost(trials, scale).sort_values(["cost", "trial"]).head(1)
    return environment.get_template("report.html").render(
        name=name,
        study=results.study,
        images=images,
        counts=trials["status"].value_counts().to_dict(),
        best=next(iter(_rows(best)), None),
        scale=scale,
        trials=_rows(
            trials.assign(cost=scale.cost(trials[scale.column])).sort_values(["cost", "trial"])
        ),
    )


def _rows(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Trials for the table, each with the parameters that its family has."""
    parameters = [name for name in map(str, trials.columns) if name.startswith("params.")]
    rows = [{str(key): value for key, value in row.items()} for row in trials.to_dict("records")]
    for row in rows:
        row["parameters"] = {
            column.removeprefix("params."): row[column]
            for column in parameters
            if pd.notna(row[column])
        }
    return rows


def main(arguments: Sequence[str]) -> int:
    """Write a report and say where it is."""
    mpl.use("agg")
    config = parse(ReportConfig, COMMAND, arguments)
    print(f"report: {write_report(config.folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
