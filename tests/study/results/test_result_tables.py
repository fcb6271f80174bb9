"""The tables: their schema, written whole, read back."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search_spaces import FAMILIES, SearchSpace
from study.results import writer
from study.results.reader import Tables, read_tables
from study.results.study_record import STUDY_JSON, StudyRecord
from study.results.writer import ResultTables
from study.search.proposal import Proposal
from study.storage.file_version import VERSION
from study.system.errors import InputError
from study.tasks.metric import RMSE
from study.training.history import EpochRecord, History
from tests.records import write_record

SPACE = SearchSpace(tuple(FAMILIES), (0.01, 0.1))
COSINE = Proposal(0, "cosine", {"peak_lr": 0.1, "end_ratio": 0.01}, seed=5)
RESTARTS = Proposal(
    1, "cosine_warm_restarts", {"peak_lr": 0.2, "cycles": 3, "growth": 1, "end_ratio": 0.1}, seed=6
)
EPOCHS = [
    EpochRecord(1, 10, 0.1, 1.5, 1.4, 0.7, 2.0),
    EpochRecord(2, 20, 0.05, 0.5, 0.6, 0.6, 3.0),
]
COMPLETED = History("completed", EPOCHS, [(0, 0.1, 0.9), (19, 0.05, 0.9)], 5.5, "node", "")


@pytest.fixture
def tables(tmp_path: Path) -> ResultTables:
    write_record(tmp_path)
    return ResultTables(tmp_path, SPACE)


def test_columns_are_the_contract(tables: ResultTables) -> None:
    tables.on_trial_end(RESTARTS, COMPLETED)
    trials, epochs, schedules = read_tables(tables.folder)
    parameters = {name for family in FAMILIES.values() for name in family.space}
    names = trials.column_names
    assert names[:3] == ["trial", "family", "status"]
    assert {name for name in names if name.startswith("params.")} == {
        f"params.{name}" for name in parameters
    }
    assert names[-11:] == [
        "peak_lr",
        "seed",
        "val_accuracy",
        "val_loss",
        "best_val_accuracy",
        "epochs",
        "steps",
        "train_seconds",
        "wall_seconds",
        "node",
        "error",
    ]
    assert epochs.column_names == (
        ["trial", "epoch", "step", "lr", "train_loss", "val_loss", "val_accuracy", "seconds"]
    )
    assert schedules.column_names == ["trial", "step", "lr", "momentum"]


def test_rows_say_what_came_out(tables: ResultTables) -> None:
    tables.on_trial_end(RESTARTS, COMPLETED)
    tables.on_trial_end(COSINE, History("completed", EPOCHS))
    tables.write()
    trials, epochs, schedules = read_tables(tables.folder)
    first, second = trials.to_pylist()
    assert (first["trial"], second["trial"]) == (0, 1), "in the order of the numbers"
    expected = {
        "family": "cosine_warm_restarts",
        "status": "completed",
        "params.cycles": 3,
        "params.end_ratio": 0.1,
        "params.gamma": None,
        "peak_lr": 0.2,
        "seed": 6,
        "val_accuracy": 0.6,
        "val_loss": 0.6,
        "best_val_accuracy": 0.7,
        "epochs": 2,
        "steps": 20,
        "train_seconds": 5.0,
        "wall_seconds": 5.5,
        "node": "node",
        "error": "",
    }
    assert {key: second[key] for key in expected} == expected
    assert len(epochs) == 4
    assert schedules.to_pylist() == [
        {"trial": 1, "step": 0, "lr": 0.1, "momentum": 0.9},
        {"trial": 1, "step": 19, "lr": 0.05, "momentum": 0.9},
    ]


def test_trials_of_an_earlier_process_are_written_with_the_next(tmp_path: Path) -> None:
    write_record(tmp_path)
    tables = ResultTables(tmp_path, SPACE, before=[(COSINE, COMPLETED)])
    tables.on_trial_end(RESTARTS, COMPLETED)
    assert read_tables(tmp_path).trials["trial"].to_pylist() == [0, 1]


def test_what_comes_too_soon_is_written_later(tables: ResultTables) -> None:
    tables.on_trial_end(COSINE, COMPLETED)
    tables._next_write = math.inf
    tables.on_trial_end(RESTARTS, COMPLETED)
    assert len(read_tables(tables.folder).trials) == 1
    tables._next_write = 0
    tables.on_idle()
    assert len(read_tables(tables.folder).trials) == 2


def test_a_diverged_trial_has_the_worst_value(tables: ResultTables) -> None:
    tables.on_trial_end(COSINE, History("diverged", EPOCHS))
    (row,) = read_tables(tables.folder).trials.to_pylist()
    assert (row["status"], row["val_accuracy"], row["epochs"]) == ("diverged", 0.0, 2)


def test_another_metric_stands_beside_its_name(tmp_path: Path) -> None:
    write_record(tmp_path, ranking=RMSE)
    tables = ResultTables(tmp_path, SPACE, RMSE)
    tables.on_trial_end(COSINE, COMPLETED)
    tables.on_trial_end(RESTARTS, History("diverged", EPOCHS))
    tables.write()
    trials, epochs, _ = read_tables(tmp_path)
    first, second = trials.to_pylist()
    assert (first["val_metric"], first["best_val_metric"]) == (0.6, 0.6), "lower is better"
    assert second["val_metric"] is None, "nobody knows the worst value"
    assert set(trials["metric"].to_pylist()) == set(epochs["metric"].to_pylist()) == {"RMSE"}
    assert epochs["val_metric"].to_pylist() == [0.7, 0.6] * 2
    assert not [name for name in trials.column_names + epochs.column_names if "accuracy" in name]


@pytest.mark.parametrize("metric", [None, "RMSE", {"name": "RMSE"}, {"name": "x", "direction": 1}])
def test_a_description_without_a_metric_is_refused(metric: object, tmp_path: Path) -> None:
    write_record(tmp_path, ranking=RMSE)
    assert StudyRecord.load(tmp_path).metric.direction == "minimize"
    path = tmp_path / STUDY_JSON
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metric": metric}))
    with pytest.raises(InputError, match=r"study\.json' is damaged: metric"):
        StudyRecord.load(tmp_path)


def test_a_failed_trial_has_no_value(tables: ResultTables) -> None:
    tables.on_trial_end(COSINE, History("failed", error="RuntimeError: no"))
    (row,) = read_tables(tables.folder).trials.to_pylist()
    assert row["val_accuracy"] is None
    assert (row["status"], row["error"]) == ("failed", "RuntimeError: no")


def test_no_half_written_table_is_ever_seen(tables: ResultTables, tmp_path: Path) -> None:
    tables.on_trial_end(COSINE, COMPLETED)
    before = {path.name for path in tmp_path.iterdir()}
    content = (tmp_path / "schedules.parquet").read_bytes()

    def half(*_: object) -> None:
        (path,) = tmp_path.glob(".schedules.parquet.*")
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(pq, "write_table", half)
        tables.write()
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "schedules.parquet").read_bytes() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no study"),
        ("{", "cannot be read"),
        (json.dumps({"version": 99}), "version 99"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / STUDY_JSON).write_text(content)
    with pytest.raises(InputError, match=message):
        StudyRecord.load(tmp_path)


def test_tables_of_another_version_are_refused(tables: ResultTables) -> None:
    tables.on_trial_end(COSINE, COMPLETED)
    path = tables.folder / "epochs.parquet"
    table = pq.read_table(path)
    assert table.schema.metadata == {b"version": str(VERSION).encode()}
    for version, what in ((VERSION - 1, "older"), (VERSION + 1, "newer")):
        pq.write_table(table.replace_schema_metadata({"version": str(version)}), path)
        with pytest.raises(
            InputError, match=rf"epochs\.parquet' has version {version}, {what} than"
        ):
            read_tables(tables.folder)


def test_tables_cut_short_are_refused(tables: ResultTables) -> None:
    tables.on_trial_end(COSINE, COMPLETED)
    path = tables.folder / "epochs.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"epochs\.parquet' cannot be read"):
        read_tables(tables.folder)


def test_before_the_first_trial_the_tables_have_columns_and_no_rows(tables: ResultTables) -> None:
    empty = read_tables(tables.folder)
    tables.on_trial_end(COSINE, COMPLETED)
    for before, after in zip(empty, read_tables(tables.folder), strict=True):
        assert before.num_rows == 0
        without = [name for name in after.column_names if not name.startswith("params.")]
        assert before.column_names == without


def test_a_table_of_something_else_is_refused(tables: ResultTables) -> None:
    tables.on_trial_end(COSINE, COMPLETED)
    path = tables.folder / "trials.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["val_loss"]), path)
    with pytest.raises(
        InputError, match=r"trials\.parquet' has no column 'val_loss'; .* writes it"
    ):
        read_tables(tables.folder)


def test_whatever_trial_a_reader_sees_its_epochs_and_its_curve_are_there(
    tables: ResultTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report may be made while the study runs: read after each single file is written."""
    tables.on_trial_end(COSINE, COMPLETED)
    seen: list[Tables] = []

    def write_and_read(*arguments: Any) -> None:
        write(*arguments)
        seen.append(read_tables(tables.folder))

    write = writer._write_table
    monkeypatch.setattr(writer, "_write_table", write_and_read)
    tables.on_trial_end(replace(COSINE, number=1), COMPLETED)
    tables.write()
    assert len(seen) >= 3
    for trials, epochs, schedules in seen:
        known = set(trials["trial"].to_pylist())
        assert known <= set(epochs["trial"].to_pylist())
        assert known <= set(schedules["trial"].to_pylist())
