"""The report in a real browser: what it shows, what it answers to, and that it keeps to itself."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from analysis import load
from analysis.findings.shapes import log_rates
from analysis.report import write_report
from study.export import ExportConfig, export
from study.tasks.metric import RMSE
from tests.analysis.figures.test_figures import Outcome, write_study
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
    inline = [url for url in watched.asked if not url.startswith("data:image/png;")]
    assert inline == [index.as_uri()]
    assert watched.said == []
    expect(page.locator("h2")).to_have_text(
        [
            "Schedules and what they achieved",
            "Map of the curves",
            "Finalists on fresh seeds",
            "What tuning brings",
            "Final accuracy against the peak rate",
            "Learning curves",
            "What each family was given",
            "All trials",
            "The winner as code",
            "How it was made",
        ]
    )
    for picture in page.locator("img").all():
        assert picture.evaluate("image => image.naturalWidth") > 400
        assert len(picture.get_attribute("alt") or "") > 40


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


def test_a_trial_pointed_at_or_in_focus_shows_its_curve(page: Page, real_study: Path) -> None:
    results = load(real_study)
    rates = log_rates(results.schedules)
    for trial, show in ((5, "hover"), (9, "focus")):
        link = page.locator(f"#trial-{trial} a")
        page.mouse.move(0, 0)  # else the page scrolls to a link, and another lies under the mouse
        getattr(link, show)()
        family = str(results.trials.set_index("trial").loc[trial, "family"])
        caption = page.locator("#preview figcaption")
        expect(caption).to_contain_text(f"Trial {trial}: {family}, ")
        drawn = page.locator("#preview .own").get_attribute("d") or ""
        points = np.array(re.findall(r"[ML]([\d.]+),([\d.]+)", drawn), float)
        curve = rates.loc[trial].dropna().to_numpy()
        low, high = rates.min().min(), rates.max().max()
        heights = low + (100 - points[:, 1]) / 100 * (high - low)
        np.testing.assert_allclose(heights, curve, atol=0.006 * (high - low))
        np.testing.assert_allclose(points[:, 0], 100 * np.arange(len(curve)) / 63, atol=1e-6)


def test_the_copy_button_copies_the_winner(page: Page, real_study: Path) -> None:
    code = export(ExportConfig(str(real_study))).code
    button = page.get_by_role("button", name="Copy")
    button.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code
    # Where a browser lets no page write to the clipboard, by the old command.
    page.evaluate("navigator.clipboard.writeText('')")
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject())")
    page.locator("button.copy").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == code.strip()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_no_screen_overflows_and_everybody_can_read_it(scheme: str, width: int, page: Page) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    serious = [
        one for one in found.response["violations"] if one["impact"] in ("serious", "critical")
    ]
    assert not serious, [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_on_paper_every_trial_is_there_and_no_button(page: Page, real_study: Path) -> None:
    page.emulate_media(media="print")
    expect(page.get_by_label("Filter")).not_to_be_visible()
    expect(page.locator("button.copy")).not_to_be_visible()
    box = page.locator(".all .scroll")
    assert box.evaluate("box => box.scrollHeight - box.clientHeight") <= 1, "nothing is cut off"
    assert len(page.pdf()) > 50_000


def test_without_scripts_it_is_still_a_report(browser: Browser, real_study: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((real_study / "report" / "index.html").as_uri())
    assert page.locator("#trials tbody tr").count() == len(load(real_study).trials)
    expect(page.locator(".tools")).not_to_be_visible()
    expect(page.locator("#preview")).not_to_be_visible()
    expect(page.locator("button.copy")).not_to_be_visible()
    context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_a_link_leads_to_a_trial_that_nothing_covers(
    width: int, watched: Watched, real_study: Path
) -> None:
    watched.page.set_viewport_size({"width": width, "height": 800})
    watched.page.goto(f"{(real_study / 'report' / 'index.html').as_uri()}#trial-7")
    expect(watched.page.locator("#preview figcaption")).to_contain_text("Trial 7: ")
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
    expect(page.get_by_role("button", name="Copy")).to_be_focused()


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
    assert page.title().startswith("<b>s")
    page.locator("#trial-0 a").focus()
    expect(page.locator("#preview figcaption")).to_contain_text(MARKUP)
    page.get_by_label("Filter").fill(MARKUP)
    assert page.title() != "executed"
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert page.locator("script:not([type])").count() == 1
    assert watched.said == []
