"""Section k: the report of a study of very many trials, from the command to the page."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, Scale
from benchmarks.processes import run
from search_spaces import FAMILIES, SearchSpace
from search_spaces.preflight import draw, samples
from study.results.stored_space import store_space
from study.results.study_record import StoredTask, StudyRecord
from study.results.writer import ResultTables
from study.search.proposal import Proposal
from study.tasks.metric import ACCURACY
from study.tasks.ranking import Ranking
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
    return [Row("k", what, "s", values, at_most=10, detail=size)]


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
    _record().save(folder)
    ResultTables(folder, SPACE, before=runs).write()


def _record() -> StudyRecord:
    return StudyRecord(
        config={"epochs": 2},
        optuna_study="made up",
        seed=0,
        task=StoredTask("made up", "", [], "", ""),
        metric=Ranking(**ACCURACY.to_json()),
        search_space=store_space(SPACE),
        range_test=None,
        total_steps=STEPS,
        trace={},
        versions={},
        hardware={},
        command="",
    )
