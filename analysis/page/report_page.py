"""The page of a study, or of a sweep of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import figures
from analysis.findings.findings import Findings
from analysis.findings.studies import load_studies
from analysis.load import is_sweep, load, sweep_folders
from analysis.page.card import card, card_picture
from analysis.page.comparison_page import write_comparison
from analysis.page.html import Output, render, table
from analysis.page.made import made
from analysis.page.others import other_sections
from analysis.page.pictures import overview_picture, panels_picture
from analysis.page.progress import progress
from analysis.page.sections import SECTIONS, Section, alike
from analysis.page.terminal import COMMAND, REPORT, Style, typed
from analysis.page.trials import Code, linked_data, trial_codes, trial_rows
from analysis.page.verdict import verdict
from analysis.page.words import counted, extent
from study.results.study_record import StudyRecord
from study.storage.urls import below


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
        return write_comparison(studies, Output(report, style, command), title, command)
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
