"""Section k: the report of a study of very many trials, from the command to the page."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, Scale
from benchmarks.processes import run
from search_spaces import FAMILIES, SearchSpace
from search_spaces.preflight import draw, samples
from study.results.study_json import write_study_json
from study.results.study_record import as_json
from study.results.writer import ResultTables
from study.search.proposal import Proposal
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History

STEPS = 300
SPACE = SearchSpace(tuple(name for name in FAMILIES if name != "schedule_free"), (0.003, 0.3))


def report(scale: Scale) -> list[Row]:
    """Of trials of every family, their tables made up: as many panels as there can be."""
    with tempfile.TemporaryDirectory() as folder:
        made_up_study(Path(folder), scale.reported)
        values = tuple(run("analysis.report", folder).seconds for _ in range(scale.repeats))
        page = Path(folder) / "report" / "index.html"
        size = f"a page of {page.stat().st_size / 1e6:.1f} MB"
    what = f"report of {scale.reported:,} trials of {len(SPACE.families)} families"
    return [Row("k", what, "s", values, at_most=15, detail=size)]


def made_up_study(folder: Path, trials: int) -> None:
    """Write the tables of a study that never ran, its curves those of the families."""
    names = SPACE.families
    drawn = {
        name: samples(FAMILIES[name], SPACE.peak_lr, trials // len(names) + 1) for name in names
    }
    random = np.random.default_rng(0)
    runs = []
    for number in range(trials):
        name = names[number % len(names)]
        parameters = next(drawn[name])
        rates = draw(FAMILIES[name], parameters, STEPS)
        curve = [(step, float(lr), float(momentum)) for step, (lr, momentum) in enumerate(rates)]
        accuracy = 0.99 - 0.02 * random.random()
        epochs = [EpochRecord(k, 100 * k, 0.1, 1.0, 1.0, accuracy - 0.1 / k, 1.0) for k in (1, 2)]
        history = History("completed", epochs, curve, 2.0, "node")
        runs.append((Proposal(number, name, parameters, 0, "random"), history))
    write_study_json(folder, _description())
    ResultTables(folder, SPACE, before=runs).write()


def _description() -> dict[str, Any]:
    """Of study.json, what a report reads."""
    space = {
        "families": list(SPACE.families),
        "peak_lr": list(SPACE.peak_lr),
        "extras": {},
        "parameters": {name: as_json(FAMILIES[name].space) for name in SPACE.families},
    }
    described = {"config": {"epochs": 2}, "task": {"name": "made up"}, "search_space": space}
    described |= {"metric": ACCURACY.to_json(), "versions": {}, "hardware": {}, "command": ""}
    return described | {"began": "", "ended": None}
