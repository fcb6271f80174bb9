"""The page of several studies."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from analysis import figures
from analysis.findings.studies import Study, rank_by_study, winning_curves
from analysis.page.html import Output, render, table
from analysis.page.verdict import verdict
from analysis.page.words import extent, intervals


def write_comparison(
    studies: Sequence[Study], output: Output, title: str, command: str
) -> tuple[Path, list[str]]:
    """Write ``index.html`` and ``figures/``.

    Returns:
        The page, and each study's answer.

    Raises:
        InputError: nothing may be written there.
        StudyError: the disk is full or broken.
    """
    ranks, curves = rank_by_study(studies), winning_curves(studies)
    written = ranks.assign(text=ranks["rank"].map("{:g}".format))
    answers = [verdict(study.found, study.location).answer for study in studies]
    drawn = {
        "ranks": output.draw("ranks", lambda: figures.rank_by_study(ranks)) if len(ranks) else None,
        "curves": output.draw("winners", lambda: figures.winners(curves)) if len(curves) else None,
    }
    page = render(
        "compare.html",
        title=title,
        studies=[
            _described(study, output.page.parent) | {"verdict": words}
            for study, words in zip(studies, answers, strict=True)
        ],
        rank_table=_pivoted(written, "family") if len(ranks) else None,
        test_table=_tested(studies),
        command=command,
        **drawn,
    )
    output.write(page)
    lines = [f"{study.label}: {words}" for study, words in zip(studies, answers, strict=True)]
    return output.page, lines


def _described(study: Study, beside: Path) -> dict[str, str]:
    results, page = study.found.results, study.folder / "report" / "index.html"
    return {
        "label": study.label,
        "href": quote(os.path.relpath(page, beside)) if page.exists() else "",
        "made": extent(results),
    }


def _tested(studies: Sequence[Study]) -> dict[str, object] | None:
    """The finalists' means on the test split, where there are any."""
    means = []
    for study in studies:
        if study.found.comparison:
            found, text = study.found.comparison.finalists, study.found.results.scale.written
            written = [
                f"{mean} ({ends})" if ends else mean
                for mean, ends in zip(found["mean"].map(text), intervals(found, text), strict=True)
            ]
            columns = {"finalist": found["finalist"], "text": written, "study": study.label}
            means.append(pd.DataFrame(columns))
    return _pivoted(pd.concat(means), "finalist") if means else None


def _pivoted(cells: pd.DataFrame, rows: str) -> dict[str, object]:
    """A row a family or finalist, in the order of the last that has it; a column a study."""
    studies = list(dict.fromkeys(cells["study"]))
    wide = cells.pivot(index=rows, columns="study", values="text").fillna("")
    names = (name for one in reversed(studies) for name in cells.loc[cells["study"] == one, rows])
    order = dict.fromkeys(names)
    return table([rows, *studies], [[name, *wide.loc[name, studies]] for name in order])
