"""The report in a real browser: what it shows, what it answers to, and that it keeps to itself."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from analysis import load
from analysis.findings.shapes import highest_shown, log_rates
from analysis.findings.studies import load_studies
from analysis.page.comparison_page import write_comparison
from analysis.page.html import Output
from analysis.page.report_page import write_report
from study.export import ExportConfig, export
from study.tasks.metric import RMSE
from tests.analysis.figures.test_figures import STUDY, Outcome, write_study
from tests.records import a_record, a_space

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MARKUP = (
    "<img src=x onerror=\"document.title='executed'\"><script>document.title='executed'</script>"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        assert "CI" not in os.environ, "continuous integration has to install chromium"
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


class Watched:
    """A page, and all that it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page, self.asked, self.said = page, list[str](), list[str]()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))

    def open(self, index: Path) -> Page:
        self.page.goto(index.as_uri())
        return self.page


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def page(watched: Watched, real_study: Path) -> Page:
    return watched.open(real_study / "report" / "index.html")


def cells(page: Page, column: int) -> list[str]:
    return page.locator(f"#trials tbody tr:visible td:nth-child({column})").all_inner_texts()


def test_the_page_asks_for_nothing_and_complains_of_nothing(
    watched: Watched, real_study: Path
) -> None:
    index = real_study / "report" / "index.html"
    page = watched.open(index)
    expect(page.locator("#tools")).to_be_visible()
    assert watched.asked == [index.as_uri()]
    assert watched.said == []
    expect(page.locator("h2:visible")).to_have_text(
        [
            re.compile("^Train with |^Until more is known, train with "),
            "Schedules against final accuracy",
            "Every schedule as it was applied",
            "All trials",
            "Finalists on fresh seeds",
            "What tuning brings",
            "Final accuracy against the peak rate",
            "Learning curves",
            "What each family was given",
            "How it was made",
        ]
    )
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < 3_500, "pixels, folded"
    for picture in page.locator(".sheet svg").all():
        assert picture.locator("text").count() > 4, "words that can be searched for"


def test_its_policy_lets_nothing_else_run_or_load(watched: Watched, real_study: Path) -> None:
    page = watched.open(real_study / "report" / "index.html")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=https://127.0.0.1:9>')")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        "{textContent: \"document.title = 'executed'\"}))"
    )
    assert page.title() != "executed"
    assert len(watched.said) == 2
    assert all("Content Security Policy" in line for line in watched.said)


def test_the_table_sorts_by_a_click_and_by_the_keyboard(page: Page, real_study: Path) -> None:
    trials = load(real_study).trials
    completed = (trials["status"] == "completed").sum()
    best_first = cells(page, 4)
    assert sorted(best_first[:completed], reverse=True) == best_first[:completed]
    head = page.locator("#trials th", has_text="peak rate")
    head.get_by_role("button").click()
    rates = [float(text) for text in cells(page, 5)]
    assert rates == sorted(rates)
    expect(head).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Enter")
    assert [float(text) for text in cells(page, 5)] == sorted(rates, reverse=True)
    page.locator("#trials th button", has_text="family").press("Enter")
    assert cells(page, 2) == sorted(trials["family"])
    expect(page.locator("#trials th[aria-sort]")).to_have_count(1)


def test_what_has_no_value_stays_below_in_either_direction(
    watched: Watched, tmp_path: Path
) -> None:
    outcomes: list[Outcome] = [("cosine", "failed", 0.5), ("step", "diverged", 0.1)]
    outcomes += [("cosine", "completed", 0.9), ("constant", "completed", 0.95)]
    write_study(tmp_path, outcomes)
    page = watched.open(write_report(tmp_path)[0])
    assert cells(page, 1) == ["3", "2", "0", "1"]
    button = page.locator("#trials th button", has_text="accuracy")
    button.click()
    assert cells(page, 4) == ["90.00%", "95.00%", "", ""]
    button.click()
    assert cells(page, 4) == ["95.00%", "90.00%", "", ""]
    assert "E: no" in cells(page, 3)[2], "and why it failed"


def test_what_should_be_low_sorts_by_its_value(watched: Watched, tmp_path: Path) -> None:
    outcomes: list[Outcome] = [("cosine", "completed", value) for value in (0.7, 9.0, 10.0)]
    write_study(tmp_path, outcomes, ranking=RMSE)
    page = watched.open(write_report(tmp_path)[0])
    assert cells(page, 4) == ["0.7", "9", "10"], "the best first"
    head = page.locator("#trials th", has_text="RMSE")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert cells(page, 4) == ["0.7", "9", "10"]
    head.get_by_role("button").click()
    assert cells(page, 4) == ["10", "9", "0.7"]


def test_the_table_filters_by_words(page: Page, real_study: Path) -> None:
    trials = load(real_study).trials
    search = page.get_by_label("Filter")
    search.fill("ONE_cycle anneal cos")
    meant = trials[(trials["family"] == "one_cycle") & (trials["params.anneal"] == "cos")]
    assert sorted(map(int, cells(page, 1))) == meant["trial"].tolist()
    expect(page.locator("#count")).to_have_text(f"{len(meant)} of {len(trials)} trials")
    search.fill("nothing has this")
    assert cells(page, 1) == []
    search.fill("")
    assert len(cells(page, 1)) == len(trials)


def trials_of(marks: Locator) -> set[str]:
    """The trials that these marks of a picture stand for."""
    return set(marks.evaluate_all("marks => marks.map((mark) => mark.dataset.t)"))


def lit(page: Page) -> set[str]:
    """The trials that stand out in some picture."""
    return trials_of(page.locator("[data-t].lit"))


def test_a_trial_pointed_at_or_in_focus_lights_up_everywhere(page: Page, real_study: Path) -> None:
    trials = load(real_study).trials.set_index("trial")
    families = trials["family"].astype(str)
    readout = page.locator("#readout")

    def check(trial: int, marks: int) -> None:
        expect(readout).to_contain_text(f"Trial {trial}: {families[trial]}, ")
        assert lit(page) == {str(trial)}
        assert page.locator(".lit").count() == marks, "its rate, its result, its curve"
        expect(page.locator("#trials tr.here")).to_have_id(f"trial-{trial}")
        expect(page.locator(".overview .own[d]")).to_have_count(1)

    ended = [int(one) for one in trials.index[trials["status"] == "completed"]]
    first, second, third, fourth = ended[3], ended[9], ended[5], ended[7]
    page.locator(f".results [data-t='{first}']").hover(force=True)
    check(first, 3)
    page.locator(f".rates [data-t='{second}']").hover(force=True)
    check(second, 3)
    page.locator(f"#trial-{third} a").hover()
    check(third, 3)
    page.locator(f"#trial-{fourth} a").focus()
    check(fourth, 3)


def test_the_curve_under_the_pointer_is_the_one_that_lights_up(page: Page) -> None:
    """By either scale: where the pointer is on a curve, none is nearer by a pixel."""
    at_middle = """path => {
        const box = path.ownerSVGElement.getBoundingClientRect();
        const own = path.ownerSVGElement.querySelectorAll("[data-t]");
        const heights = Object.fromEntries([...own].map((one) => {
            const points = one.getAttribute("d").slice(1).split("L").map((at) => at.split(" "));
            const k = points.findIndex(([x]) => x >= 30);
            const [[x0, y0], [x, y]] = [points[k - 1], points[k]];
            return [one.dataset.t, +y0 + ((y - y0) * (30 - x0)) / (x - x0)];
        }));
        return [heights, box.left + (box.width * 30) / 63, box.top, box.height, path.dataset.t];
    }"""
    for scale in ("linear", "log"):
        page.get_by_label(scale, exact=True).check()
        for path in page.locator(".plot path").all()[::7]:
            path.scroll_into_view_if_needed()
            heights, x, top, height, trial = path.evaluate(at_middle)
            page.mouse.move(x, top + height * heights[trial] / 1000)
            (shown,) = lit(page)
            assert heights[shown] == pytest.approx(heights[trial], abs=2 * 1000 / height)


def test_curves_are_those_that_were_applied_by_either_scale(page: Page, real_study: Path) -> None:
    logs = log_rates(load(real_study).schedules)
    expect(page.locator("#preview")).to_be_visible()
    trial = int(logs.index[4])
    page.locator(f"#trial-{trial} a").focus()
    curve = logs.loc[trial].dropna().to_numpy()
    top = highest_shown(10 ** logs.max(axis=1))
    for scale, expected in (
        ("linear", 10**curve / (1.05 * top)),
        ("log", (curve - logs.min().min() + np.log10(1.2)) / (np.ptp(logs) + 2 * np.log10(1.2))),
    ):
        page.get_by_label(scale, exact=True).check()
        drawn = page.locator("#preview .own").get_attribute("d") or ""
        points = np.array(re.findall(r"[ML](\d+) (-?\d+)", drawn), float)
        assert points[:, 0].tolist() == list(range(len(curve)))
        np.testing.assert_allclose(1 - points[:, 1] / 1000, expected, atol=0.006)


def test_the_slider_fades_all_but_the_best(page: Page, real_study: Path) -> None:
    trials = load(real_study).trials.set_index("trial")
    values = trials.loc[trials["status"] == "completed", "val_accuracy"]
    written = values.map("{:.2%}".format)
    slider = page.get_by_label("accuracy at least")
    levels = sorted(written.unique(), key=lambda text: float(text.rstrip("%")))
    assert len(levels) < len(values), "some trials are equal"
    for steps in (0, 5, len(levels) - 1):
        slider.fill(str(steps))
        kept = values.index[values >= float(values[written == levels[steps]].min())]
        words = f"{levels[steps]}: {len(kept)} of {len(values)} trials"
        expect(page.locator("#left")).to_have_text(words)
        expect(slider).to_have_attribute("aria-valuetext", words)
        if steps:
            shown = trials_of(page.locator(".plot path:not(.faded)"))
            assert shown == set(map(str, kept)), "as good ones stay together"
            expect(page.locator("#trials tbody tr:not(.faded)")).to_have_count(len(kept))
    slider.press("Home")
    expect(page.locator(".faded")).to_have_count(0)


def test_a_click_shows_the_code_of_a_trial_and_escape_closes_it(
    page: Page, real_study: Path
) -> None:
    for trial in (2, 11):
        page.locator(f"#trial-{trial} td:nth-child(2)").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"Trial {trial}: ")
        code = export(ExportConfig(str(real_study), trial)).code
        assert page.locator("#own").text_content() == code
        dialog.get_by_role("button", name="Copy").click()
        assert page.evaluate("navigator.clipboard.readText()") == code
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()


def test_a_first_touch_lights_a_trial_up_and_a_second_shows_its_code(
    browser: Browser, real_study: Path
) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto((real_study / "report" / "index.html").as_uri())
    expect(page.locator("#tools")).to_be_visible()
    dot = page.locator(".results [data-t]").nth(3)
    dot.tap(force=True)
    assert len(lit(page)) == 1
    expect(page.get_by_role("dialog")).not_to_be_visible()
    dot.tap(force=True)
    expect(page.get_by_role("dialog")).to_contain_text(f"Trial {lit(page).pop()}: ")
    context.close()


def test_the_keyboard_alone_reaches_every_trial_of_a_family(page: Page, real_study: Path) -> None:
    trials = load(real_study).trials
    button = page.locator(".overview").get_by_role("button", name="one_cycle", exact=True)
    button.focus()
    row = page.locator(
        ".overview .row", has=page.get_by_role("button", name="one_cycle", exact=True)
    ).locator(".rates [data-t]")
    own = trials[trials["trial"].isin([int(one) for one in trials_of(row)])]
    own = own.sort_values(["val_accuracy", "trial"], ascending=[False, True])
    assert len(own) > 5
    seen: list[str] = []
    for _ in range(len(own)):
        seen += lit(page)
        page.keyboard.press("ArrowRight")
    assert sorted(map(int, seen)) == sorted(own["trial"]), "each once, and around"
    assert [trials["val_accuracy"][int(one)] for one in seen] == own["val_accuracy"].tolist()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text(f"Trial {seen[1]}: one_cycle")


def test_the_copy_button_copies_the_winner(page: Page, real_study: Path) -> None:
    code = export(ExportConfig(str(real_study))).code
    button = page.locator(".card").get_by_role("button", name="Copy")
    button.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code
    # Where a browser lets no page write to the clipboard, by the old command.
    page.evaluate("navigator.clipboard.writeText('')")
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject())")
    page.locator(".card button.copy").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == code.strip()


def barriers(page: Page) -> list[tuple[str, str]]:
    """Rules of axe that the page breaks seriously, and where."""
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_no_screen_overflows_and_everybody_can_read_it(scheme: str, width: int, page: Page) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overview = page.locator(".overview")
    assert overview.evaluate("box => box.scrollWidth - box.clientWidth") <= 1, "it is not scrolled"
    assert not barriers(page)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_on_paper_nothing_is_folded_or_cut_off(page: Page) -> None:
    page.emulate_media(media="print")
    expect(page.get_by_label("Filter")).not_to_be_visible()
    expect(page.locator("#tools")).not_to_be_visible()
    expect(page.locator(".card button.copy")).not_to_be_visible()
    box = page.locator(".all .scroll")
    assert box.evaluate("box => box.scrollHeight - box.clientHeight") <= 1, "nothing is cut off"
    assert page.locator(".sheet").last.bounding_box()["height"] > 100, "nothing is folded"  # type: ignore[index]
    assert len(page.pdf()) > 50_000


def test_without_scripts_it_is_still_a_report(browser: Browser, real_study: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((real_study / "report" / "index.html").as_uri())
    trials = load(real_study).trials
    assert page.locator("#trials tbody tr").count() == len(trials)
    assert page.locator(".plot path").count() == len(trials), "every curve"
    assert page.locator("#winner").text_content() == export(ExportConfig(str(real_study))).code
    page.get_by_text("What tuning brings").click()
    expect(page.locator(".sheet").nth(1)).to_be_visible()
    for without in (".filter", "#tools", "#preview", "button.copy"):
        expect(page.locator(without).first).not_to_be_visible()
    context.close()


def test_the_page_of_a_study_that_runs_refreshes_itself(watched: Watched, tmp_path: Path) -> None:
    outcomes: list[Outcome] = [("cosine", "completed", 0.9)] * 2
    write_study(tmp_path, outcomes)
    watched.page.clock.install()
    page = watched.open(write_report(tmp_path)[0])
    expect(page.locator("#progress")).to_contain_text("2 of 40 trials are done")
    write_study(tmp_path, [*outcomes, ("step", "completed", 0.8)])
    write_report(tmp_path)
    page.clock.run_for(6_000)
    expect(page.locator("#progress")).to_contain_text("3 of 40 trials are done")
    page.locator("#trial-1 a").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    write_study(tmp_path, [*outcomes, ("step", "completed", 0.8)], {**STUDY, "ended": "2026"})
    write_report(tmp_path)
    page.clock.run_for(6_000)
    expect(page.get_by_role("dialog")).to_be_visible()  # nobody reads on a page that goes away
    page.keyboard.press("Escape")
    page.clock.run_for(6_000)
    expect(page.locator("#progress")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_link_leads_to_a_trial_that_nothing_covers(
    width: int, watched: Watched, real_study: Path
) -> None:
    watched.page.set_viewport_size({"width": width, "height": 800})
    watched.page.goto(f"{(real_study / 'report' / 'index.html').as_uri()}#trial-7")
    expect(watched.page.locator("#readout")).to_contain_text("Trial 7: ")
    seen = """trial => {
        const {x, y, height} = trial.getBoundingClientRect();
        return document.elementFromPoint(x + 5, y + height / 2).closest("tr")?.id;
    }"""
    assert watched.page.locator("#trial-7").evaluate(seen) == "trial-7"


def test_the_table_can_be_skipped(page: Page) -> None:
    page.get_by_label("Filter").press("Tab")
    expect(page.get_by_text("Skip the table")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("details:not(.card details) summary").first).to_be_focused()


def test_where_everything_diverged_the_table_still_shows_curves_and_code(
    watched: Watched, tmp_path: Path
) -> None:
    outcomes: list[Outcome] = [("cosine", "diverged", 0.1), ("constant", "diverged", 0.1)]
    write_study(tmp_path, outcomes)
    page = watched.open(write_report(tmp_path)[0])
    page.locator("#trial-1 a").focus()
    expect(page.locator("#preview figcaption")).to_contain_text("Trial 1: constant, diverged")
    expect(page.locator("#preview .own")).to_have_attribute("d", re.compile("^M0 "))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("# constant over 200 optimizer steps")
    assert watched.said == []


def test_studies_side_by_side_are_read_from_top_to_bottom(watched: Watched, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for k, folder in enumerate(folders):
        write_study(folder, [("cosine", "completed", 0.9 + k / 100), ("step", "completed", 0.9)])
    studies = load_studies(folders, list(map(str, folders)))
    output = Output(tmp_path / "out", "screen", "compare")
    page = watched.open(write_comparison(studies, output, "three", "compare")[0])
    schemes: list[Literal["light", "dark"]] = ["light", "dark"]
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        boxes = [one.bounding_box() for one in page.locator(".studies p").all()]
        assert len({box["x"] for box in boxes if box}) == 1
        assert min(box["width"] for box in boxes if box) > 600
        assert not barriers(page)
    assert watched.said == []


def test_names_full_of_markup_are_words(watched: Watched, tmp_path: Path) -> None:
    task = replace(a_record().task, name=MARKUP)
    study = {"command": MARKUP, "task": task, "hardware": {MARKUP: MARKUP}}
    study["search_space"] = a_space([MARKUP, "cosine"])
    results = write_study(tmp_path / "s", [("cosine", "completed", 0.9)] * 3, study)
    trials = results.trials.assign(family=MARKUP, error=MARKUP, node=MARKUP)
    table = pd.concat([trials, results.trials.assign(trial=[3, 4, 5])], ignore_index=True)
    table.to_parquet(tmp_path / "s" / "trials.parquet")
    folder = tmp_path / "<b>s"
    (tmp_path / "s").rename(folder)
    page = watched.open(write_report(folder)[0])
    assert page.title().startswith("Study <b>s")
    page.locator("#trial-0 a").focus()
    expect(page.locator("#readout")).to_contain_text(MARKUP)
    page.get_by_label("Filter").fill(MARKUP)
    assert page.title() != "executed"
    assert page.locator("img").count() == 0
    assert page.locator("script:not([type])").count() == 1
    assert watched.said == []
