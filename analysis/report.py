"""The report of a study, or of a sweep of them: ``python -m analysis.report results/NAME``."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from analysis.load import is_sweep
from analysis.page.terminal import COMMAND, REPORT, Style, run_and_exit, tell
from study.results.study_record import StudyRecord
from study.storage.mirror import local_copy, push
from study.storage.storage_path import StoragePath
from study.storage.urls import below, is_url
from study.system.command_line import Folder, Location, parse
from study.system.errors import StudyError, summary

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
    """Write it again while the study runs, until it has ended; the open page refreshes itself."""
    also: tuple[str, ...] = ()
    """Further values of the task's evaluate to draw the schedules by: NAME, or NAME:min where lower
    is better."""


def main(arguments: Sequence[str]) -> int:
    """Write a report and say where it is; before that again and again while a study is followed."""
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
        if not is_sweep(folder):
            StudyRecord.load(folder)
        # Here, not above: what draws takes seconds to import, and bad input should not wait for it.
        from analysis.page.report_page import write_report

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
