"""What TensorBoard, MLflow and W&B are told of a study is what stands in its tables.

Each with the tool itself, offline, and a study that was interrupted and went on.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from study import run
from study.results.loggers import TrialLogger
from study.results.logging_tools import LoggedTrial, TensorBoard
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.stages.display import Display
from study.system.errors import InputError
from study.training.history import EpochRecord, History
from tests.study.studies import without_reports

NAMES = ["trial-00000-constant", "trial-00001-linear_to_zero", "trial-00002-constant"]
PARAMETERS = ("family", "peak_lr", "seed", "epochs", "batch_size")
METRICS = ["lr", "train_loss", "val_loss", "val_accuracy"]
NOLOAD = "ignore:The ``noload`` loader strategy"
"""Of SQLAlchemy, about what MLflow asks of it."""


@pytest.fixture
def logged(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> analysis.Results:
    """A study with a logger, resumed after the second of trial 1's three epochs."""
    without_reports(monkeypatch)
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    epochs = []

    def on_epoch(display: Display, *told: Any, original: Any = Display.on_epoch) -> None:
        original(display, *told)
        epochs.append(told)
        if len(epochs) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Display, "on_epoch", on_epoch)
    flags = ["--task", "digits", "--families", "constant,linear_to_zero", "--num-trials", "3"]
    flags += ["--epochs", "3", "--finalists", "0", "--max-concurrent", "1", "--name", "s"]
    assert run.main([*flags, "--out", str(tmp_path), "--logger", request.param]) == 130
    assert len(epochs) == 5
    assert run.main(["--resume", str(tmp_path / "s")]) == 0
    return analysis.load(tmp_path / "s")


def expected(results: analysis.Results) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Name, parameters and epochs of each trial."""
    trials = results.trials.assign(batch_size=128)
    assert list(trials["status"]) == ["completed"] * 3
    for row, name in zip(trials.to_dict("records"), NAMES, strict=True):
        epochs = results.epochs[results.epochs["trial"] == row["trial"]].set_index("epoch")
        assert list(epochs.index) == [1, 2, 3]
        yield name, {key: row[key] for key in PARAMETERS}, epochs[METRICS]


@pytest.mark.slow
@pytest.mark.parametrize("logged", ["tensorboard"], indirect=True)
def test_tensorboard_shows_what_the_tables_say(logged: analysis.Results, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    logs = tmp_path / "s" / "logs" / "tensorboard"
    assert sorted(path.name for path in logs.iterdir()) == NAMES
    for name, parameters, epochs in expected(logged):
        events = EventAccumulator(str(logs / name)).Reload()
        assert set(events.Tags()["scalars"]) == {"epoch", *METRICS}
        for metric in METRICS:
            scalars = [(event.step, event.value) for event in events.Scalars(metric)]
            assert scalars == [
                (epoch, pytest.approx(value)) for epoch, value in epochs[metric].items()
            ]
        start = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        told = HParamsPluginData.FromString(start).session_start_info.hparams
        shown = {key: value.string_value or value.number_value for key, value in told.items()}
        assert shown.items() >= parameters.items()


@pytest.mark.slow
@pytest.mark.filterwarnings(f"{NOLOAD}:sqlalchemy.exc.SADeprecationWarning")
@pytest.mark.parametrize("logged", ["mlflow"], indirect=True)
def test_mlflow_has_a_run_for_each_trial(logged: analysis.Results, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 's' / 'logs' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("s")
    assert experiment
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(map(str, runs)) == NAMES
    for name, parameters, epochs in expected(logged):
        one = runs[name]
        assert one.info.status == "FINISHED"
        assert one.data.params.items() >= {key: str(v) for key, v in parameters.items()}.items()
        assert one.data.metrics.keys() == {"epoch", *METRICS}
        for metric in METRICS:
            history = client.get_metric_history(one.info.run_id, metric)
            assert {each.step: each.value for each in history} == dict(epochs[metric])


@pytest.mark.slow
@pytest.mark.parametrize("logged", ["wandb"], indirect=True)
def test_wandb_has_a_run_for_each_trial(logged: analysis.Results, tmp_path: Path) -> None:
    from wandb.proto import wandb_internal_pb2

    parse = wandb_internal_pb2.Record.FromString  # type: ignore[attr-defined]  # made at import
    config: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[int, dict[str, float]]] = {}
    files = list((tmp_path / "s" / "logs" / "wandb").rglob("*.wandb"))
    assert len(files) == 4, "trial 1 was logged by two processes"
    assert len({file.name for file in files}) == 3, "as one run"
    for file in files:
        name = ""
        for record in map(parse, wandb_records(file)):
            if record.HasField("run"):
                name = record.run.display_name
                assert record.run.project == "s"
                assert name.endswith(record.run.run_group), "runs are grouped by their family"
                told = {one.key: json.loads(one.value_json) for one in record.run.config.update}
                config.setdefault(name, {}).update(told)
            elif record.HasField("history"):
                items = record.history.item
                row = {"/".join(one.nested_key) or one.key: one.value_json for one in items}
                step = json.loads(row["_step"])
                rows.setdefault(name, {})[step] = {key: json.loads(row[key]) for key in METRICS}
    assert sorted(rows) == NAMES
    for name, parameters, epochs in expected(logged):
        assert config[name].items() >= parameters.items()
        assert rows[name] == epochs.to_dict("index")


def wandb_records(file: Path) -> Iterator[bytes]:
    """W&B's file of a run: LevelDB's log, in blocks of 32 KiB, after 7 bytes of its own."""
    content = file.read_bytes()
    assert content.startswith(b":W&B")
    at, parts = 7, b""
    while at + 7 <= len(content):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def refused(*flags: str) -> str:
    with pytest.raises(InputError) as caught:
        run.main(["--task", "digits", "--epochs", "3", *flags])
    return str(caught.value)


@pytest.mark.parametrize("found", [None, ModuleSpec("wandb", None)])  # nothing, and a mere folder
def test_a_missing_package_is_bad_input(
    found: ModuleSpec | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.stages.preparation.find_spec", lambda _: found)
    message = refused("--logger", "wandb", "--out", str(tmp_path))
    assert message == (
        "--logger wandb needs the package wandb, which is not installed; "
        "install it by: pip install -e '.[wandb]'"
    )
    assert not list(tmp_path.iterdir())


def test_wandb_without_a_key_is_bad_input(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    nowhere = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    flags = ["--task", "digits", "--logger", "wandb", "--out", str(tmp_path), "--name", "s"]
    command = [sys.executable, "-m", "study.run", *flags]
    done = subprocess.run(command, env=kept | nowhere, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--logger wandb cannot be used: ValueError: no API key is configured" in done.stderr
    assert "with WANDB_MODE=offline it needs no key, and wandb sync sends later" in done.stderr
    assert not (tmp_path / "s" / "study.json").exists()


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    return StudyConfig.of(out=tmp_path, name="s", logger="tensorboard")


TRIAL = Proposal(0, "cosine", {"peak_lr": 0.1}, 0)
RECORDS = [EpochRecord(epoch, 9 * epoch, 0.1, 1.0, 1.0, 0.5, 1.0) for epoch in (1, 2)]


def test_a_logger_that_fails_does_not_end_the_study(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def fail(*arguments: object) -> None:
        calls.append(arguments)
        raise OSError("no space left")

    monkeypatch.setattr(TensorBoard, "log", fail)
    with TrialLogger(config, "today", "accuracy") as logger:
        logger.on_trial_start(TRIAL)
        for record in RECORDS:
            logger.on_epoch(TRIAL, record, 50)
        logger.on_trial_end(TRIAL, History("completed", RECORDS))
    assert len(calls) == 1
    assert capsys.readouterr().err == (
        "--logger tensorboard has failed and logs no more: OSError: no space left; "
        "the study continues\n"
    )


def test_neither_does_one_without_a_folder_for_a_trial(
    config: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrialLogger(config, "today", "accuracy") as logger:
        folder = tmp_path / "s" / "logs" / "tensorboard"
        folder.rmdir()
        folder.write_text("a file in its place")
        logger.on_trial_start(TRIAL)
        logger.on_epoch(TRIAL, RECORDS[0], 50)
        logger.on_trial_end(TRIAL, History("completed", RECORDS))
    assert "has failed and logs no more: NotADirectoryError" in capsys.readouterr().err


def test_a_trial_whose_worker_died_before_it_began_has_nothing_to_log(
    config: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrialLogger(config, "today", "accuracy") as logger:
        logger.on_trial_end(TRIAL, History("failed"))
    assert capsys.readouterr().err == ""
    assert not list((tmp_path / "s" / "logs" / "tensorboard").iterdir())


def test_nobody_waits_for_a_tool_but_at_the_end_and_not_for_ever(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, order = threading.Event(), threading.Event(), []

    def begin(tool: TensorBoard, trial: LoggedTrial) -> None:
        begun.set()
        go_on.wait()
        order.append("begin")

    monkeypatch.setattr(TensorBoard, "begin", begin)
    monkeypatch.setattr(TensorBoard, "log", lambda *_: order.append("log"))
    monkeypatch.setattr(TensorBoard, "end", lambda tool, trial, status: order.append(status))
    with TrialLogger(config, "today", "accuracy") as logger:
        logger.on_trial_start(TRIAL)
        begun.wait()
        logger.on_epoch(TRIAL, RECORDS[0], 50)
        assert order == []
        go_on.set()
    assert order == ["begin", "log", "running"], "in their order; what is open was interrupted"
    go_on.clear()
    monkeypatch.setattr("study.results.loggers.UPLOAD_SECONDS", 0)
    with TrialLogger(config, "today", "accuracy") as logger:
        logger.on_trial_start(TRIAL)
    assert len(order) == 3
    go_on.set()


def test_who_asks_for_no_logger_imports_none() -> None:
    source = (
        "import sys, study.run, study.confirm, study.execution.trial_runner\n"
        "print({'mlflow', 'wandb', 'tensorboard', 'tensorboardX'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
