"""OptunaStore of studies that were never run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from search_spaces import FAMILIES, SearchSpace
from study.results.stored_ranges import store_ranges
from study.results.stored_space import store_space
from study.results.study_record import StoredSpace, StoredTask, StudyRecord
from study.storage.checkpoint_store import CheckpointStore
from study.storage.storage_path import StoragePath
from study.tasks.metric import ACCURACY
from study.tasks.ranking import Ranking

SPACE = SearchSpace(tuple(FAMILIES), (0.01, 0.1))


def a_record(space: SearchSpace = SPACE, ranking: Ranking = ACCURACY, **fields: Any) -> StudyRecord:
    """A record of a study that has just begun, but for these fields."""
    made: dict[str, Any] = {
        "config": {
            "epochs": 2,
            "batch_size": 128,
            "num_trials": 40,
            "optimizer": "sgd",
            "momentum": "0.9",
            "weight_decay": "default",
        },
        "optuna_study": "s",
        "seed": 0,
        "task": StoredTask("mnist", "mnist", [], "", ""),
        "metric": Ranking(**ranking.to_json()),
        "search_space": store_space(space),
        "range_test": None,
        "total_steps": 200,
        "trace": {},
        "versions": {"python": "3"},
        "hardware": {"gpus": []},
        "command": "python -m study.run",
        "began": "2026",
    }
    if "phase" not in fields:
        fields["phase"] = "ended" if fields.get("ended") else "searching"
    return StudyRecord(**{**made, **fields})


def write_record(folder: Path, **fields: Any) -> None:
    """Write the study.json of :func:`a_record`."""
    a_record(**fields).save(folder)


def a_space(families: Iterable[str], low: float = 0.01, high: float = 0.1) -> StoredSpace:
    """A space of these families, whoever they are, in which nothing but the rate is searched."""
    peak_lr = store_ranges({"peak_lr": FloatDistribution(low, high, log=True)})
    return StoredSpace(list(families), (low, high), {}, dict.fromkeys(families, peak_lr))


def store(folder: Path) -> CheckpointStore:
    """The checkpoints in a folder of this machine."""
    return CheckpointStore(StoragePath.of(folder))
