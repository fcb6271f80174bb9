"""The report of a study, or of a sweep of them: ``python -m analysis.report results/NAME``."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import tyro

from analysis import compare, figures
from analysis.findings.findings import Findings
from analysis.findings.studies import is_sweep, load_studies, sweep_folders
from analysis.load import load
from analysis.page.card import card, card_picture
from analysis.page.html import Output, Style, render, run_and_exit, table, tell, typed
from analysis.page.made import made
from analysis.page.others import other_sections
from analysis.page.pictures import overview_picture, panels_picture
from analysis.page.progress import progress
from analysis.page.sections import SECTIONS, Section, alike
from analysis.page.trials import Code, linked_data, trial_codes, trial_rows
from analysis.page.verdict import verdict
from analysis.page.words import counted, extent
from study.results.study_record import StudyRecord
from study.storage.mirror import local_copy, push
from study.storage.storage_path import StoragePath
from study.storage.urls import below, is_url
from study.system.command_line import Folder, Location, parse
from study.system.errors import StudyError, summary

COMMAND = "python -m analysis.report"
REPORT = "report"
FOLLOW = 5.0
"""Seconds between two reports of a study that is followed; the page looks as often."""


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a study, which may still run: report/index.html, and every figure."""

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME, or its URL."""
    out: Folder | None = None
    """Folder for the report. Default: report, beside the study's tables."""
    style: Style = "screen"
    """Figures as PNG and SVG, or for a paper as PDF too."""
    follow: bool = False
    """Write it again as the study goes on, until it has ended; the open page refreshes itself."""
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
    found, output = Findings(load(folder)), Output(report, style, command)
    codes = trial_codes(found, StudyRecord.load(folder))
    words = verdict(found, location)
    answer = card(found, words, codes[int(found.best["trial"])] if found.best else Code(""))
    parts = [
        _part(section, found, output)
        for section in (*SECTIONS, *other_sections(also, found))
        if section.shown(found)
    ]
    output.write(
        render(
            "report.html",
            title=f"Study {folder.resolve().name}: which learning-rate schedule?",
            answer=answer,
            winner=card_picture(answer),
            export=_export(found, location),
            parts=parts,
            made=made(found, location),
            data=linked_data(found, codes) if codes else None,
            **_pictures(found, output),
            **_described(found),
        )
    )
    return output.page, answer.lines


def _export(found: Findings, location: str) -> dict[str, Any]:
    """The command for the code of a run of another length, and the trial that it is of."""
    trial = None if found.best is None else found.best["trial"]
    command = typed("python -m study.export", location, "--trial", trial, "--total-steps", "N")
    return {"command": command, "trial": trial}


def _described(found: Findings) -> dict[str, Any]:
    """All that the page says of the study itself."""
    results = found.results
    return {
        "extent": extent(results),
        "metric": results.scale.name,
        "higher_is_better": results.scale.higher_is_better,
        "counts": results.trials["status"].value_counts().to_dict(),
        "progress": progress(results),
        "finalists": _finalists(found),
    }


def _finalists(found: Findings) -> str:
    """The numbers of finalists and of their seeds, in words; none without a comparison."""
    if not found.comparison:
        return ""
    count = counted(len(found.results.study["finalists"]), "finalist")
    seeds = counted(int(found.comparison.finalists["seeds"].max()), "fresh seed")
    return f"Then {count} under up to {seeds} each."


def _pictures(found: Findings, output: Output) -> dict[str, Any]:
    """The linked pictures, and the table of trials beside them."""
    rows = trial_rows(found)
    if not found.completed:
        return {"trials": rows, "main": None, "curves": None}
    results = found.results
    tables = results.trials, results.schedules, results.scale, found.comparison
    files = output.save("overview", lambda: figures.overview(*tables))
    main = overview_picture(found) | {"files": files}
    if found.rates.empty:
        return {"trials": rows, "main": main, "curves": None}
    files = output.save("schedules", lambda: figures.schedules_by_result(*tables))
    curves = panels_picture(found) | {"files": files, "remarks": alike(found)}
    return {"trials": rows, "main": main, "curves": curves}


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
        "is_open": section.is_open,
        "tables": [
            table(list(shown.columns), shown.to_numpy().tolist())
            for shown in section.tables(found)
            if len(shown)
        ],
        "remarks": section.remarks(found),
    }


def main(arguments: Sequence[str]) -> int:
    """Write a report and say where it is; before that again and again while a study is followed."""
    mpl.use("agg")
    config = parse(ReportConfig, COMMAND, arguments)
    if config.follow:
        _follow(config)
    page, lines = _write(config)
    tell(lines, "report", page)
    return 0


def _follow(config: ReportConfig) -> None:
    """Write the report again and again until the study has ended."""
    told = False
    while not StudyRecord.load(config.folder).ended:
        page, _ = _write(config)
        if not told:
            print(f"following the study until it has ended: {page}", flush=True)
            told = True
        gc.collect()  # which the command has turned off for a single page
        time.sleep(FOLLOW)


def _write(config: ReportConfig) -> tuple[str, list[str]]:
    """Write the report where it was asked for; returns where it is, and the lines to print."""
    with local_copy(config.folder) as folder:
        page, lines = write_report(folder, config.style, config.out, config.folder, config.also)
        if is_url(config.folder) and not config.out:
            _push(folder / REPORT, config.folder)
            return below(below(config.folder, REPORT), page.name), lines
        return str(page), lines


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
