"""Several studies on one page: ``python -m analysis.compare results/A results/B``."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tyro

from analysis.page.terminal import Style, run_and_exit, tell, typed
from study.results.study_record import StudyRecord
from study.storage.mirror import local_copy
from study.storage.urls import is_url
from study.system.command_line import Folder, Location, parse
from study.system.errors import InputError

COMMAND = "python -m analysis.compare"


@dataclass(frozen=True)
class CompareConfig:
    """Put several studies, or one study at several budgets, on one page."""

    folders: tyro.conf.Positional[tuple[Location, ...]]
    """The studies' folders, results/A results/B and so on, or their URLs."""
    out: Folder = Path("comparison")
    """Folder for the page, index.html, and figures/."""
    style: Style = "screen"
    """Figures as PNG and SVG, or for a paper as PDF too."""


def main(arguments: Sequence[str]) -> int:
    """Write the page and say where it is."""
    config = parse(CompareConfig, COMMAND, arguments)
    different = {one if is_url(one) else Path(one).resolve(): one for one in config.folders}
    locations = list(different.values())
    if len(locations) < 2:
        raise InputError(f"it takes two studies or more to compare, not {len(locations)}")
    with ExitStack() as copies:
        folders = [copies.enter_context(local_copy(one)) for one in locations]
        for folder in folders:
            StudyRecord.load(folder)
        # Here, not above: what draws takes seconds to import, and bad input should not wait for it.
        from analysis.findings.studies import load_studies
        from analysis.page.comparison_page import write_comparison
        from analysis.page.html import Output

        studies = load_studies(folders, locations)
    command = typed(COMMAND, *locations, "--out", config.out)
    output = Output(config.out, config.style, command)
    title = f"{len(studies)} studies side by side"
    page, lines = write_comparison(studies, output, title, command)
    tell(lines, "comparison", page)
    return 0


if __name__ == "__main__":
    run_and_exit(main)
