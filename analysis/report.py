"""The report of a study, or of a sweep of them: ``python -m analysis.report results/NAME``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import tyro

from analysis import compare
from analysis.findings.findings import Findings
from analysis.findings.studies import is_sweep, load_studies, sweep_folders
from analysis.load import load
from analysis.page.html import Output, Style, render, run_and_exit, table, tell, typed
from analysis.page.others import other_sections
from analysis.page.sections import SECTIONS, Section
from analysis.page.verdict import verdict
from study.export import ExportConfig, export
from study.storage.mirror import local_copy, push
from study.storage.storage_path import StoragePath
from study.storage.urls import below, is_url
from study.system.command_line import Folder, Location, parse
from study.system.errors import InputError, StudyError, summary

COMMAND = "python -m analysis.report"
REPORT = "report"


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a study, which may still run: report/index.html, and every figure."""

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME, or its URL."""
    out: Folder | None = None
    """Folder for the report. Default: report, beside the study's tables."""
    style: Style = "screen"
    """Figures as PNG and SVG, or for a paper as PDF too."""
    also: tuple[str, ...] = ()
    """Further values of the task's evaluate to draw the schedules by: NAME, or NAME:min where lower
    is better."""


def write_report(
    folder: Path,
    style: Style = "screen",
    out: Path | None = None,
    location: str | None = None,
    also: Sequence[str] = (),
) -> tuple[Path, list[str]]:
    """Write ``index.html`` and ``figures/``.

    Args:
        folder: of a study or a sweep.
        style: of the figures.
        out: where to write, if not into ``report`` there.
        location: where the folder is a copy from; commands name this.
        also: further values to draw a study's schedules by.

    Returns:
        The page; and the verdict of a study, or the answer of each study of a sweep.

    Raises:
        InputError: the folder holds no study, a file is damaged, or nothing may be written there.
        StudyError: the disk is full or broken.
    """
    report, location = out or folder / REPORT, location or str(folder)
    command = typed(COMMAND, location)
    if is_sweep(folder):
        folders = sweep_folders(folder)
        studies = load_studies(folders, [below(location, one.name) for one in folders])
        title = f"{folder.resolve().name}: which learning-rate schedule?"
        return compare.write_comparison(studies, Output(report, style, command), title, command)
    found = Findings(load(folder))
    lines = verdict(found, location)
    output = Output(report, style, command)
    parts = [
        _part(section, found, output)
        for section in (*SECTIONS, *other_sections(also, found))
        if section.shown(found)
    ]
    output.write(_study_page(found, folder, location, lines, parts))
    return output.page, lines


def _study_page(
    found: Findings, folder: Path, location: str, lines: list[str], parts: list[dict[str, Any]]
) -> str:
    results = found.results
    return render(
        "report.html",
        title=f"{folder.resolve().name}: which learning-rate schedule?",
        study=results.study,
        verdict=[line for line in lines if not line.startswith("Code: ")],
        parts=parts,
        counts=results.trials["status"].value_counts().to_dict(),
        metric=results.scale.name,
        trials=_rows(found),
        curves=_curves(found),
        code=_code(found, folder, location),
        made=_made(found, location),
    )


def _part(section: Section, found: Findings, output: Output) -> dict[str, Any]:
    """All that the page needs of a section."""
    scale = found.results.scale
    words = {"metric": scale.name, "good": "high" if scale.higher_is_better else "low"}
    draw = section.draw
    return {
        "name": section.name,
        "title": section.title.format(**words),
        "caption": section.caption.format(**words),
        "picture": output.draw(section.name, lambda: draw(found)) if draw else None,
        "tables": [
            table(list(shown.columns), shown.to_numpy().tolist())
            for shown in section.tables(found)
            if len(shown)
        ],
        "remarks": section.remarks(found),
    }


def _rows(found: Findings) -> list[dict[str, Any]]:
    """Trials for the table: the completed ones first, best first, each with its own parameters."""
    trials, scale = found.results.trials, found.results.scale
    completed = trials["status"] == "completed"
    costs = scale.cost(trials[scale.column]).where(completed)
    trials = trials.assign(cost=costs, error=trials["error"].fillna(""))
    ordered = trials.sort_values(["cost", "trial"], na_position="last")
    parameters = [name for name in map(str, trials.columns) if name.startswith("params.")]
    return [
        {
            **{str(key): value for key, value in row.items()},
            "metric": row[scale.column],
            "value": scale.ranking.text(row[scale.column]) if pd.notna(row["cost"]) else "",
            "parameters": {
                column.removeprefix("params."): row[column]
                for column in parameters
                if pd.notna(row[column])
            },
        }
        for row in ordered.to_dict("records")
    ]


def _curves(found: Findings) -> dict[str, Any] | None:
    """Every trial's curve for the page: its height in percent at equal steps of the run."""
    rates, best = found.rates, found.best
    if rates.empty:
        return None
    low, high = rates.min().min(), rates.max().max()
    heights = (100 * (rates - low) / max(high - low, 1e-9)).round()
    return {
        "low": f"{10**low:.2g}",
        "high": f"{10**high:.2g}",
        "steps": rates.shape[1] - 1,
        "best": None if best is None else int(best["trial"]),
        "trials": {
            int(trial): [int(one) for one in own[np.isfinite(own)]]
            for trial, own in zip(heights.index, heights.to_numpy(), strict=True)
        },
    }


def _code(found: Findings, folder: Path, location: str) -> dict[str, str] | None:
    """The winner's code, or why there is none of it."""
    if found.best is None:
        return None
    number = int(found.best["trial"])
    made = {"trial": str(number), "command": typed("python -m study.export", location)}
    try:
        return made | {"text": export(ExportConfig(str(folder), number)).code, "error": ""}
    except InputError as error:  # of a family of one's own, that is not here or has changed
        return made | {"text": "", "error": str(error)}


def _made(found: Findings, location: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of names and values: how the study was made."""
    study, finalists = found.results.study, found.results.finalists
    groups = [
        (part, [(name, _said(value)) for name, value in study[part].items()])
        for part in ("config", "versions", "hardware")
    ]
    seeds = [("search", _said(study["config"].get("seed")))]
    if len(finalists):
        seeds.append(("finalists", _said(sorted(set(finalists["seed"].tolist())))))
    times = [("began", _said(study["began"])), ("ended", _said(study["ended"]))]
    repeat = [
        ("as it was typed", study["command"]),
        ("the same proposals", typed("python -m study.run --replay", location)),
    ]
    return [("command", repeat), ("seeds", seeds), *groups, ("times", times)]


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def main(arguments: Sequence[str]) -> int:
    """Write a report and say where it is."""
    mpl.use("agg")
    config = parse(ReportConfig, COMMAND, arguments)
    with local_copy(config.folder) as folder:
        page, lines = write_report(folder, config.style, config.out, config.folder, config.also)
        if is_url(config.folder) and not config.out:
            _push(folder / REPORT, config.folder)
            tell(lines, "report", below(below(config.folder, REPORT), page.name))
        else:
            tell(lines, "report", page)
    return 0


def _push(report: Path, url: str) -> None:
    target = StoragePath.of(url) / REPORT
    try:
        push(report, target)
    except OSError as error:
        raise StudyError(
            f"the report cannot be written to {target}: {summary(error)}; keep it here by --out DIR"
        ) from error


if __name__ == "__main__":
    run_and_exit(main)
