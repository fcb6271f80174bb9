"""What the terminal shows."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from study.results.study_record import Look, SeedPlan
from study.search.proposal import Proposal
from study.stages.display import Display, Workload, _clock
from study.stages.reporting import standing_line
from study.tasks.metric import ACCURACY, RMSE
from study.training.history import EpochRecord, History
from tests.study.studies import completed

RECORD = EpochRecord(1, 10, 0.1, 1.0, 1.0, 0.9876, 1.0)


def proposal(number: int, family: str = "cosine") -> Proposal:
    return Proposal(number, family, {"peak_lr": 0.0451}, 0)


def before(value: float, count: int = 1) -> list[tuple[Proposal, History]]:
    """Trials of step that an earlier process finished, as good as this."""
    history = History("completed", [replace(RECORD, val_metric=value)])
    return [(proposal(number, "step"), history) for number in range(count)]


def test_elsewhere_a_plain_line_for_each_finished_trial() -> None:
    file = io.StringIO()
    with Display(Workload(3, 1), ACCURACY, Console(file=file)) as display:
        display.on_trial_start(proposal(0))
        display.on_epoch(proposal(1), RECORD, 500)
        display.on_trial_end(proposal(0), History("completed", [RECORD], wall_seconds=2.5))
        display.on_trial_end(proposal(1, "step"), History("diverged", [RECORD], wall_seconds=1))
        display.on_trial_end(
            proposal(2, "step"), History("failed", error="ValueError: [bold] \\[/x] :cat:\n  x")
        )
    assert file.getvalue().splitlines() == [
        "[1/3] trial 0  cosine  peak_lr 0.0451  98.76%  2.5 s  best 98.76% cosine",
        "[2/3] trial 1  step  peak_lr 0.0451  diverged  1.0 s  best 98.76% cosine",
        "[3/3] trial 2  step  peak_lr 0.0451  failed (ValueError: [bold] \\[/x] :cat: x)  "
        "0.0 s  "
        "best 98.76% cosine",
    ]


def test_what_an_earlier_process_ended_is_counted_and_not_printed_again() -> None:
    file = io.StringIO()
    with Display(Workload(3, 1, kind="run"), ACCURACY, Console(file=file)) as display:
        for number in range(2):
            display.on_trial_resume(proposal(number), 1)
        display.on_trial_end(proposal(0), completed(0.9))
        display.on_trial_start(proposal(1))
        display.on_trial_end(proposal(1), completed(0.8))
    assert file.getvalue() == "[2/3] run 1  cosine  peak_lr 0.0451  80.00%  0.0 s\n"


def test_lower_may_be_better_and_has_no_percent() -> None:
    file = io.StringIO()
    with Display(Workload(3, 1, before(0.9)), RMSE, Console(file=file)) as display:
        for number, value in ((1, 0.71), (2, 0.8)):
            record = replace(RECORD, val_metric=value)
            display.on_trial_end(proposal(number), History("completed", [record]))
    assert [line.split("0.0451  ")[1] for line in file.getvalue().splitlines()] == [
        "0.71  0.0 s  best 0.71 cosine",
        "0.8  0.0 s  best 0.71 cosine",
    ]


def test_on_a_terminal_one_live_display() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    with Display(Workload(40, 2, before(0.98, 10)), ACCURACY, console) as display:
        display.on_trial_start(proposal(10))
        display.on_trial_start(proposal(11))
        display.on_epoch(proposal(1), RECORD, 50_000)
        console.print(display._render())
    shown = file.getvalue()
    assert re.search(r"10/40 trials · 2 running · \d+:\d\d left", shown)
    assert re.search(r"best 98.00% step · [\d,]+ samples/s", shown)
    assert "trial 10" not in shown


STANDING = "cosine ahead of step, 7 seeds, next look at 10"


def test_how_the_runs_stand_is_shown_on_a_terminal_until_it_changes() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    with Display(Workload(40, 1, kind="run"), ACCURACY, console) as display:
        display.on_trial_start(proposal(0))
        console.print(display._render())
        assert "ahead of" not in file.getvalue(), "before the first look"
        display.stand("step ahead of cosine, 7 seeds, next look at 10")
        display.stand(STANDING)
        display.on_epoch(proposal(0), RECORD, 500)
        file.truncate(file.seek(0))
        console.print(display._render())
    assert re.search(rf"{STANDING} · [\d,]+ samples/s", file.getvalue())
    assert "step ahead" not in file.getvalue()


def test_how_the_runs_stand_is_elsewhere_a_line_of_its_own() -> None:
    file = io.StringIO()
    with Display(Workload(40, 1, kind="run"), ACCURACY, Console(file=file)) as display:
        display.on_trial_end(proposal(0), completed(0.9))
        display.stand(STANDING)
        display.on_trial_end(proposal(1, "step"), completed(0.8))
    assert file.getvalue().splitlines() == [
        "[1/40] run 0  cosine  peak_lr 0.0451  90.00%  0.0 s",
        STANDING,
        "[2/40] run 1  step  peak_lr 0.0451  80.00%  0.0 s",
    ]


@pytest.mark.parametrize(
    ("look", "line"),
    [
        (Look(7, 3, 1, 0.1, [], [], False), "cosine ahead of step, 7 seeds, next look at 10"),
        (
            Look(10, 3, None, 0.0, [(3, 1)], [], True),
            "cosine is better than all others, after 10",
        ),
        (Look(10, 1, 3, 0.4, [], [], True), "step ahead of cosine, 10 seeds, which cannot tell th"),
        (Look(12, 1, 3, 0.04, [], [], True), "step ahead of cosine, 12 seeds, which cannot tell "),
        (Look(7, None, None, 0.0, [], [1, 3], True), "no finalist is left after 7 seeds: all"),
    ],
)
def test_a_look_in_words(look: Look, line: str) -> None:
    plan = SeedPlan(0, 12, [7, 10, 12], [look])
    assert standing_line(plan, {1: "step", 3: "cosine"}).startswith(line)


def test_only_epochs_that_are_left_take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four trials of 10 epochs, an earlier process has ended one, and another but for two."""
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    display = Display(Workload(4, 10, kind="run"), ACCURACY, console)
    display.on_trial_resume(proposal(0), 10)
    display.on_trial_end(proposal(0), History("completed", [RECORD] * 10))
    display.on_trial_resume(proposal(0), 8)
    display.on_trial_start(proposal(1))
    clock += 7
    display.on_epoch(proposal(1), RECORD, 50)
    console.print(display._render())
    # Of 22 epochs one is done, in 7 s.
    assert "1/4 runs · 1 running · 2:27 left" in file.getvalue()


def test_time_left_is_written_as_a_clock() -> None:
    assert [_clock(seconds) for seconds in (-1, 5, 65.4, 3_601)] == [
        "0:00",
        "0:05",
        "1:05",
        "60:01",
    ]
