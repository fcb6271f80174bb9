"""The report of a study, or of a sweep of them: ``python -m analysis.report results/NAME``."""

import base64
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import tyro
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from analysis import figures
from analysis.budgets import is_sweep, load_sweep, rank_by_budget
from analysis.load import Results, load
from analysis.sections import SECTIONS, Findings, Section
from analysis.verdict import verdict
from study.cli import exit_status, parse
from study.errors import StudyError
from study.files import replacing, write_atomically

COMMAND = "python -m analysis.report"


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a study: report/index.html, and every figure as PNG and SVG."""

    folder: tyro.conf.Positional[Path]
    """The study's folder, results/NAME."""


def write_report(folder: Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/`` into the folder of a study or a sweep.

    Raises:
        InputError: the folder holds no study with a finished trial.
        StudyError: the report cannot be written.
    """
    read = load_sweep(folder) if is_sweep(folder) else Findings.of(load(folder))
    report = folder / "report"
    try:
        (report / "figures").mkdir(parents=True, exist_ok=True)
        with figures.house_style():
            page = (
                _study_page(folder, read)
                if isinstance(read, Findings)
                else _sweep_page(folder, read)
            )
        write_atomically(report / "index.html", page.encode())
    except OSError as error:
        raise StudyError(
            f"{str(report)!r} cannot be written: {error.strerror or error}; mend that, then type "
            f"{COMMAND} {shlex.quote(str(folder))}"
        ) from error
    return report / "index.html"


def summary(folder: Path) -> list[str]:
    """The verdict of a study; of a sweep, the first line of each of its studies'.

    Raises:
        InputError: the folder holds no study with a finished trial.
    """
    if not is_sweep(folder):
        return verdict(load(folder), folder)
    return [
        f"--epochs {epochs}: {verdict(results, folder / f'epochs-{epochs}')[0]}"
        for epochs, results in load_sweep(folder).items()
    ]


def _part(section: Section, found: Findings, folder: Path) -> dict[str, Any]:
    """What the page needs of a section."""
    scale = found.results.scale
    words = {"metric": scale.name, "good": "high" if scale.higher_is_better else "low"}
    return {
        "name": section.name,
        "title": section.title.format(**words),
        "caption": section.caption.format(**words),
        "png": _drawn(section.name, section.draw(found), folder) if section.draw else None,
        "tables": [
            _table(list(table.columns), table.to_numpy().tolist())
            for table in section.tables(found)
        ],
        "remarks": section.remarks(found),
    }


def _table(head: list[str], rows: list[list[str]]) -> dict[str, Any]:
    """What the page needs of a table; columns whose first cell is a number are aligned as such."""
    numbers = [bool(re.match(r"-?\d", cell)) for cell in rows[0]]
    return {"head": head, "rows": rows, "numbers": numbers}


def _drawn(name: str, figure: Figure, folder: Path) -> str:
    """Save a figure as PNG and SVG; returns the former as base64."""
    for suffix in ("png", "svg"):
        with replacing(folder / f"{name}.{suffix}") as path:
            figure.savefig(path, format=suffix, dpi=160)
    plt.close(figure)
    return base64.b64encode((folder / f"{name}.png").read_bytes()).decode()


def _study_page(folder: Path, found: Findings) -> str:
    results = found.results
    trials, scale = results.trials, results.scale
    shown = [section for section in SECTIONS if section.shown(found)]
    return _rendered(
        "report.html",
        folder,
        study=results.study,
        verdict=verdict(results, folder),
        parts=[_part(section, found, folder / "report" / "figures") for section in shown],
        counts=trials["status"].value_counts().to_dict(),
        scale=scale,
        trials=_rows(
            trials.assign(cost=scale.cost(trials[scale.column])).sort_values(["cost", "trial"])
        ),
    )


def _sweep_page(folder: Path, sweep: Mapping[int, Results]) -> str:
    ranks = rank_by_budget(sweep)
    written = ranks["rank"].map("{:g}".format) + ranks.apply(_interval, axis=1)
    table = ranks.assign(rank=written).pivot(index="family", columns="epochs", values="rank")
    last = ranks[ranks["epochs"] == max(sweep)].sort_values("rank")["family"]
    rows = [[family, *table.loc[family].fillna("")] for family in last]
    budgets = [
        {"epochs": epochs, "href": f"../epochs-{epochs}/report/index.html", "line": lines[0]}
        for epochs, results in sweep.items()
        for lines in [verdict(results, folder / f"epochs-{epochs}")]
    ]
    return _rendered(
        "sweep.html",
        folder,
        budgets=budgets,
        metric=next(iter(sweep.values())).scale.name,
        png=_drawn("ranks", figures.rank_by_budget(ranks), folder / "report" / "figures"),
        ranks=_table(["family", *(f"--epochs {epochs}" for epochs in sweep)], rows),
    )


def _interval(row: "pd.Series[float]") -> str:
    return f" ({row['low']:g} to {row['high']:g})"


def _rendered(template: str, folder: Path, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(name=folder.resolve().name, **values)


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
    page = write_report(config.folder)
    for line in summary(config.folder):
        print(line)
    print(f"report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
