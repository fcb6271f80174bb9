"""The card of a study, on its page and in a terminal, and the words that they share."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup

from analysis import report
from analysis.figures.style import TIERS
from analysis.findings.findings import Findings
from analysis.load import Results
from analysis.page.card import Card, card, sparkline
from analysis.page.inline_svg import inline
from analysis.page.progress import progress
from analysis.page.terminal import tell
from analysis.page.trials import Code
from analysis.page.verdict import verdict
from analysis.page.words import BLOCKS, date
from analysis.scale import MINUS, Scale
from study.tasks.metric import ACCURACY, RMSE
from tests.analysis.figures.test_figures import STUDY, Outcome, page_of, write_study
from tests.analysis.page.test_verdict import ALIKE, THREE, Values, about, study_of

CODE = "# cosine\n\nimport torch\nschedule = 1\n"


def card_of(results: Results, code: str = CODE) -> Card:
    found = Findings(results)
    return card(found, verdict(found, "s"), Code(code))


def test_the_winner_is_named_with_its_result_and_its_leads(tmp_path: Path) -> None:
    made = card_of(study_of(tmp_path, THREE))
    assert made.headline == "Train with one_cycle"
    assert [(tile.value, tile.label) for tile in made.tiles] == [
        (f"{np.mean(np.array(about(0.985, 7), float)):.2%}", "test accuracy"),
        ("0.40 points", "ahead of cosine"),
        ("1.50 points", "ahead of the constant rate"),
    ]
    assert made.tiles[1].note == "found better; 95%: 0.40 to 0.40 points"
    assert not made.others


def test_without_a_winner_the_tied_are_drawn_beside_the_simplest(tmp_path: Path) -> None:
    made = card_of(study_of(tmp_path, ALIKE))
    assert made.headline == "Train with step: of 3 that cannot be told apart, the simplest"
    assert set(made.others) == {"cosine", "linear"}
    assert made.tiles[1].label == "behind cosine", "which has the best mean"
    assert made.tiles[1].note.startswith("no difference found; ")
    assert made.tiles[2].note.startswith("found better; ")


def test_until_a_plan_has_ended_the_card_says_until(tmp_path: Path) -> None:
    few = card_of(study_of(tmp_path, THREE, plans=(6,)))
    assert few.headline == "Until more is known, train with one_cycle"
    assert not few.others, "nothing was tested, and the worse are no equals"
    assert [tile.note.split(";")[0] for tile in few.tiles[1:]] == ["too few seeds to tell"] * 2
    lost: Values = {"cosine": ["failed", 0.98], "constant": about(0.97)}
    single = card_of(study_of(tmp_path / "lost", lost, plans=(2,)))
    assert single.tiles[0].note == "mean of 1 fresh seed", "which has no interval"
    one = card_of(write_study(tmp_path / "one", [("cosine", "completed", 0.9)]))
    assert one.headline == "Best so far: cosine, in one run"
    assert [tile.note for tile in one.tiles] == ["one run, one seed"]
    none = card_of(write_study(tmp_path / "none", [("cosine", "diverged", 0.1)]))
    assert (none.headline, none.tiles) == ("No trial has completed yet.", [])
    assert none.lines == ["No trial has completed yet."]


def test_what_may_make_the_answer_wrong_stands_before_it(tmp_path: Path) -> None:
    results = study_of(tmp_path, THREE, trials={"one_cycle": 9})
    made = card_of(results)
    assert made.verdict.doubt.startswith("the finalists were tuned unequally")
    assert made.lines[0] == f"First of all: {made.verdict.doubt}."
    page = page_of(tmp_path)
    assert page.index('class="chip"') < page.index("Train with one_cycle")


def test_a_curve_in_a_terminal_has_the_shape_of_the_schedule() -> None:
    steps = np.arange(100)
    line = sparkline(pd.DataFrame({"step": steps, "lr": 0.1 * steps / 99}))
    drawn, words = line.split(" ", 1)
    assert words == "100 steps"
    assert (drawn[0], drawn[-1]) == (BLOCKS[0], BLOCKS[-1])
    assert list(drawn) == sorted(drawn), "it rises"
    assert set(drawn) == set(BLOCKS)
    assert set(sparkline(pd.DataFrame({"step": steps, "lr": 0.0})).split()[0]) == {BLOCKS[0]}


def test_the_terminal_has_the_lines_of_code_where_they_are_few(tmp_path: Path) -> None:
    results = study_of(tmp_path, THREE)
    assert card_of(results).lines[-5:] == [
        "    # cosine",
        "",
        *("    " + one for one in ("import torch", "schedule = 1")),
        "",
    ]
    long = card_of(results, "line\n" * 40).lines
    assert not [line for line in long if line.startswith("    ")], "the command stands above"


def test_a_terminal_without_such_letters_gets_plainer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    tell([f"{MINUS}0.10 points", BLOCKS], "report", "x")
    printed.flush()
    lines = printed.buffer.getvalue().decode().splitlines()
    assert lines == ["-0.10 points", "_.,:-=+#", "report: x"]


def test_dates_and_minus_signs_are_as_people_write_them() -> None:
    assert date("2026-03-05T09:07:00+00:00") == "5 March 2026, 09:07 UTC"
    assert date("2026-12-30T23:07:59+05:30") == "30 December 2026, 23:07 UTC+05:30"
    assert (date(""), date("some day")) == ("not yet", "some day")
    assert Scale().difference(-0.0013) == f"{MINUS}0.13 points"
    assert Scale(RMSE).written(-0.5) == f"{MINUS}0.5"
    assert Scale().difference(-1e-9) == "0.00 points"


@pytest.mark.parametrize(
    ("usual", "written"),
    [(0.7123, "0.0008"), (54.3, "0.0008"), (5e-9, "0.000777"), (0.0712, "0.00078")],
)
def test_differences_are_written_as_finely_as_the_values(usual: float, written: str) -> None:
    values = pd.Series([usual, 0.9 * usual, 1.1 * usual])
    assert Scale.of(RMSE, values).difference(0.000777) == written
    assert Scale.of(ACCURACY, values).decimals is None
    assert Scale.of(RMSE, values[:0]).decimals is None, "none has completed"
    assert Scale.of(RMSE, values).difference(0.0) in ("0", "0.00", "0.0000", "0.00000")


def test_a_figure_in_a_page_has_the_colours_of_the_page() -> None:
    drawn = (
        '<?xml version="1.0"?><!DOCTYPE svg><svg width="252pt" height="7pt" viewBox="0 0 9 9">'
        f'<metadata>by</metadata><defs><style type="text/css">*{{}}</style></defs><g id="a">'
        f'<use xlink:href="#m" style="fill: {TIERS[1]}; stroke: #ffffff"/>'
        '<path clip-path="url(#p)" style="stroke: #262626; fill: #e5e5e5"/></g></svg>'
    )
    assert inline(drawn, "tuning") == Markup(
        '<svg viewBox="0 0 9 9" style="width:560px" aria-hidden="true"><defs></defs>'
        '<g id="tuning-a"><use xlink:href="#tuning-m" style="fill: var(--t1); '
        'stroke: var(--paper)"/><path clip-path="url(#tuning-p)" '
        'style="stroke: color-mix(in srgb, currentColor 86%, transparent); '
        'fill: color-mix(in srgb, currentColor 11%, transparent)"/></g></svg>'
    )


def test_a_figure_with_other_colours_or_pixels_keeps_them(tmp_path: Path) -> None:
    """And is inverted in the dark."""
    for own in ('style="fill: #ff0000"', "><image x='1'/"):
        drawn = (
            f'<svg width="504pt" height="1pt"><path {own}/><path style="fill: {TIERS[0]}"/></svg>'
        )
        assert inline(drawn, "winners") == drawn.replace(
            'width="504pt" height="1pt"',
            'class="wide fixed" style="width:1120px" aria-hidden="true"',
        )


def test_the_page_says_how_far_a_study_is(tmp_path: Path) -> None:
    begun = write_study(tmp_path, [("cosine", "completed", 0.9)] * 3)
    found = progress(begun)
    assert found
    assert (found.done, found.of) == (3, 40)
    two = study_of(tmp_path / "two", THREE, plans=(20,))
    plans = [*two.study["plans"], {**two.study["plans"][0], "first": 20, "looks": []}]
    again = progress(two._replace(study={**two.study, "plans": plans, "phase": "confirming"}))
    assert again
    assert again.done == 0, "the first plan ended after seven seeds"
    confirming = progress(study_of(tmp_path / "c", THREE, plans=(6,), phase="confirming"))
    assert confirming
    assert (confirming.done, confirming.of) == (6, 6)
    assert confirming.words.endswith("under fresh seeds, 6 of at most 6.")
    assert not progress(write_study(tmp_path / "e", [], {**STUDY, "ended": "2026"}))


def test_a_study_is_followed_until_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: list[Outcome] = [("cosine", "completed", 0.9)] * 2
    states: list[dict[str, Any]] = [STUDY, {**STUDY, "ended": "2026"}]
    write_study(tmp_path, outcomes)
    pages = []

    def go_on(seconds: float) -> None:
        pages.append((tmp_path / "report" / "index.html").read_text())
        outcomes.append(("step", "completed", 0.8))
        write_study(tmp_path, outcomes, states.pop(0))

    monkeypatch.setattr("analysis.report.time.sleep", go_on)
    assert report.main([str(tmp_path), "--follow"]) == 0
    assert [re.findall(r"(\d) of 40 trials are done", page) for page in pages] == [["2"], ["3"]]
    first, answer, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("following the study until it has ended: ")
    assert answer.startswith("Best of 4 trials: cosine")
    assert 'id="progress"' not in (tmp_path / "report" / "index.html").read_text()
