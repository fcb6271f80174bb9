"""The code that is handed back gives the very rates of the trial, with nothing but torch."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces import FAMILIES, Parameters, ScheduleFamily, SearchSpace
from search_spaces.as_code import code
from search_spaces.family import NO_EXTRAS, Extras
from search_spaces.optimizers import applied_rate
from search_spaces.preflight import draw, samples
from study import export
from study.results.writer import FinalistTable, ResultTables
from study.search.proposal import Proposal
from study.system.errors import InputError
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History, Status
from tests.records import write_record
from tests.search_spaces.test_families import PEAK, WITH_WARMUP, every_family

SPACE = SearchSpace(tuple(FAMILIES), PEAK)


def executed(snippet: str) -> dict[str, Any]:
    """The names that a snippet makes, in a namespace that has a model and nothing else."""
    namespace: dict[str, Any] = {"__name__": "bare", "model": torch.nn.Linear(1, 1)}
    exec(snippet, namespace)
    return namespace


def rates(made: dict[str, Any], steps: int) -> list[float]:
    if switch := getattr(made["optimizer"], "train", None):
        switch()
    values = []
    for _ in range(steps):
        made["optimizer"].step()
        values.append(applied_rate(made["optimizer"].param_groups[0]))
        made["schedule"].step()
    return values


@every_family
@pytest.mark.parametrize("extras", [NO_EXTRAS, WITH_WARMUP], ids=["plain", "warm-up"])
def test_the_snippet_gives_the_trials_curve(family: ScheduleFamily, extras: Extras) -> None:
    for parameters in samples(family, PEAK, 5, extras):
        snippet = code(family.name, parameters, 200)
        assert "search_spaces" not in snippet
        assert "study" not in snippet
        curve = draw(family, parameters, 200)[:, 0]
        np.testing.assert_allclose(rates(executed(snippet), 200), curve, rtol=0, atol=1e-9)


@every_family
def test_the_snippets_schedule_survives_its_state(family: ScheduleFamily) -> None:
    parameters = next(samples(family, PEAK, 1))
    snippet = code(family.name, parameters, 100)
    whole = rates(executed(snippet), 100)
    first, second = executed(snippet), executed(snippet)
    rates(first, 61)
    file = io.BytesIO()
    torch.save([first[name].state_dict() for name in ("optimizer", "schedule")], file)
    file.seek(0)
    for name, state in zip(
        ("optimizer", "schedule"), torch.load(file, weights_only=True), strict=True
    ):
        second[name].load_state_dict(state)
    assert rates(second, 39) == whole[61:]


RESTARTS = {"peak_lr": 0.1, "cycles": 3, "growth": 2, "end_ratio": 0.1, "cycle_decay": 1.0}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    write_record(tmp_path, space=SPACE, total_steps=50)
    tables = ResultTables(tmp_path, SPACE)
    outcomes: list[tuple[str, Parameters, float]] = [
        ("cosine", {"peak_lr": 0.1, "end_ratio": 0.01}, 0.98),
        (
            "cosine_warm_restarts",
            RESTARTS,
            0.97,
        ),
        ("rex", {"peak_lr": 0.2}, 0.99),
    ]
    for number, (family, parameters, accuracy) in enumerate(outcomes):
        record = EpochRecord(1, 50, 0.1, 1.0, 1.0, accuracy, 1.0)
        tables.on_trial_end(Proposal(number, family, parameters, 0), History("completed", [record]))
    tables.write()
    return tmp_path


def printed(capsys: Any, *arguments: object) -> str:
    assert export.main([str(argument) for argument in arguments]) == 0
    return str(capsys.readouterr().out)


def test_the_winner_is_exported(finished: Path, capsys: Any) -> None:
    snippet = printed(capsys, finished)
    assert snippet == code("rex", {"peak_lr": 0.2}, 50)
    assert "lr_lambda=RexShape(total_steps=50)" in snippet


def test_of_a_study_that_has_not_ended_the_winner_may_be_another(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said beside the code, which is still code; nothing of a trial that is named."""
    code_and_warning = []
    for fields, flags in (({}, []), ({"ended": "2026"}, []), ({}, ["--trial", "2"])):
        write_record(finished, space=SPACE, total_steps=50, **fields)
        assert export.main([str(finished), *flags]) == 0
        code_and_warning.append(capsys.readouterr())
    (begun, warning), (ended, nothing), (named, silence) = code_and_warning
    assert begun == ended == named
    assert warning == f"beware: {finished} has not ended, and may find another\n"
    assert nothing == silence == ""


def test_the_winner_is_the_finalist_with_the_best_mean(finished: Path, capsys: Any) -> None:
    """Not the best of the search, nor one that diverged; a replicate that failed counts for none.

    With its third replicate, the second trial would be the best.
    """
    places = {number: (number % 3, number // 3) for number in range(9)}
    table = FinalistTable(finished, ACCURACY, places)
    lost: dict[int, Status] = {5: "diverged", 6: "failed"}
    for number, value in enumerate((0.98, 0.9, 0.99, 0.97, 0.91, 0.99, 0.1, 0.99, 0.99)):
        record = EpochRecord(1, 50, 0.1, 1.0, 1.0, 0.5, 1.0)
        status = lost.get(number, "completed")
        history = History(status, [record], test_metric=value, test_loss=1.0)
        table.on_trial_end(Proposal(number, "any", {}, 0), history)
    table.flush()
    assert printed(capsys, finished).startswith("# cosine over 50 optimizer steps")


def test_another_trial_at_another_length(finished: Path, capsys: Any) -> None:
    snippet = printed(capsys, finished, "--trial", 1, "--total-steps", 700)
    assert "CosineAnnealingWarmRestarts(optimizer, T_0=100, T_mult=2" in snippet
    description = json.loads(printed(capsys, finished, "--trial", 1, "--format", "json"))
    assert description["parameters"] == RESTARTS
    assert description["total_steps"] == 50


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trial", "7"], "--trial must be one of the 3 finished, not 7"),
        (["--total-steps", "3"], "--total-steps must be at least 10, not 3"),
        (["--format", "yaml"], "--format"),
    ],
)
def test_bad_input_is_named(finished: Path, flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export.main([str(finished), *flags])
