"""The numbers of the linked pictures: what is drawn in the page is what was found."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis import load
from analysis.figures.style import DPI, house_style, save
from analysis.findings.findings import Findings
from analysis.findings.shapes import highest_shown
from analysis.page.pictures import FLAT, HEIGHT, Axis, overview_picture, panels_picture
from benchmarks.report import made_up_study
from tests.analysis.page.test_verdict import ALIKE, compared, study_of


def test_the_rows_are_ranked_and_marked_as_the_finalists_are(tmp_path: Path) -> None:
    results = study_of(tmp_path, ALIKE)
    comparison = compared(results)
    rows = overview_picture(Findings(results))["rows"]
    assert [row["name"] for row in rows] == comparison.finalists["finalist"].tolist()
    assert [row["name"] for row in rows if row["is_tied"]] == comparison.tied
    assert rows[0]["test"]["text"] == f"{comparison.finalists['mean'][0]:.2%}"
    for row in rows:
        begin, end = row["test"]["span"]
        assert begin < row["test"]["mean"] < end
    means = [row["test"]["mean"] for row in rows]
    assert means[0] == max(means), "better is to the right"


def test_a_default_beside_its_family_has_a_row_with_its_own_trial_alone(tmp_path: Path) -> None:
    values = {"cosine": ALIKE["cosine"], "cosine (default)": ALIKE["step"]}
    rows = overview_picture(Findings(study_of(tmp_path, values, trials={"cosine": 5})))["rows"]
    trials = {row["name"]: [one["trial"] for one in row["trials"]] for row in rows}
    assert trials["cosine (default)"] == [1]
    assert 1 not in trials["cosine"]
    assert sum(map(len, trials.values())) == 5, "each trial stands in one row"


def test_panels_show_what_was_applied_with_few_points(tmp_path: Path) -> None:
    made_up_study(tmp_path, 64)
    found = Findings(load(tmp_path))
    rates = 10**found.rates
    top = highest_shown(rates.max(axis=1))
    points = 0
    for panel in panels_picture(found)["panels"]:
        for one in panel["trials"]:
            places, heights = np.array(re.findall(r"(\d+) (-?\d+)", one["line"]), float).T
            drawn = 1.05 * top * (1 - np.interp(range(64), places, heights) / HEIGHT)
            atol = 1.05 * top * (FLAT + 1) / HEIGHT
            np.testing.assert_allclose(drawn, rates.loc[one["trial"]], atol=atol)
            points += len(places)
    assert points < 64 * 64 / 3


@pytest.mark.parametrize(
    ("axis", "places"),
    [
        (Axis(0, 10), {0: 0, 5: 50, 10: 100, 20: 100}),
        (Axis(1, 100, is_log=True), {1: 0, 10: 50, 0: 0, -1: 0}),
        (Axis(0.1, 0.001, is_log=True), {0.1: 0, 0.01: 50, 0.001: 100, 1e-9: 100}),
        (Axis(3, 3), {3: 0}),
    ],
)
def test_a_place_on_an_axis_is_a_share_of_its_length(
    axis: Axis, places: dict[float, float]
) -> None:
    assert {value: axis.at(value) for value in places} == pytest.approx(places)


def test_a_picture_is_what_matplotlib_saves(tmp_path: Path) -> None:
    """Whatever else is written of it: the pixels are those of savefig."""
    with plt.rc_context(house_style()):
        drawn = []
        for _ in range(2):
            figure, axes = plt.subplots(figsize=(3, 2))
            axes.plot([0, 1], [98, 99], label="a line")
            axes.set(xlabel="a label below", ylabel="a label beside")
            drawn.append(figure)
        png, *_ = save(drawn[0], tmp_path / "x", ("png", "svg", "pdf"))
        drawn[1].savefig(tmp_path / "y.png", dpi=DPI, bbox_inches=None)
    ours, theirs = (plt.imread(path) for path in (png, tmp_path / "y.png"))
    assert ours.shape == theirs.shape
    assert (ours == theirs).all()


def test_pixels_in_a_vector_are_as_fine_as_the_picture(tmp_path: Path) -> None:
    """Whatever was written before it."""
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.scatter(range(9), range(9), rasterized=True)
    *_, pdf = save(figure, tmp_path / "x", ("png", "svg", "pdf"))
    widths = map(int, re.findall(rb"/Width (\d+)", pdf.read_bytes()))
    assert max(widths) > DPI, "of two inches, most are the axes"
