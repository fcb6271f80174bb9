"""A checkpoint is whole, or it is no checkpoint."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.storage import checkpoint_files
from study.storage.checkpoint_files import (
    CheckpointError,
    read_checkpoint,
    read_history,
    write_checkpoint,
)
from study.storage.file_version import VERSION
from study.storage.storage_path import StoragePath
from study.task import SearchData
from study.training.history import History
from study.training.training_run import TrainingRun
from tests.records import store
from tests.study.training.test_training_run import CONFIG
from tests.tasks import small_task


@pytest.fixture
def run(small_mnist: SearchData) -> TrainingRun:
    run = TrainingRun(small_task(), small_mnist, CONFIG)
    run.run_epoch()
    return run


def write(folder: Path, run: TrainingRun, state: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    write_checkpoint(folder, state or run.state(), run.history, run.config.digest())
    return folder


def test_what_is_read_is_what_was_written(run: TrainingRun, tmp_path: Path) -> None:
    state, history = read_checkpoint(StoragePath.of(write(tmp_path / "c", run)))
    assert history == run.history
    for part in ("model", "optimizer", "order", "torch"):
        torch.testing.assert_close(state[part], run.state()[part], rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", [checkpoint_files.STATE, checkpoint_files.HISTORY, checkpoint_files.MANIFEST]
)
@pytest.mark.parametrize("content", [b"", b"rubbish", None], ids=["empty", "rubbish", "truncated"])
def test_damage_is_found(
    run: TrainingRun, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = write(tmp_path / "c", run) / name
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(CheckpointError):
        read_history(StoragePath.of(tmp_path / "c"))


@pytest.mark.parametrize(
    "name", [checkpoint_files.STATE, checkpoint_files.HISTORY, checkpoint_files.MANIFEST]
)
def test_a_missing_file_is_found(run: TrainingRun, tmp_path: Path, name: str) -> None:
    (write(tmp_path / "c", run) / name).unlink()
    with pytest.raises(CheckpointError):
        read_history(StoragePath.of(tmp_path / "c"))


class Malicious:
    """What an attacker would put into a pickle."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


def test_a_malicious_pickle_is_not_opened(run: TrainingRun, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    folder = write(tmp_path / "c", run, {"model": Malicious(victim)})
    with pytest.raises(CheckpointError, match=checkpoint_files.STATE):
        read_checkpoint(StoragePath.of(folder))
    (folder / checkpoint_files.STATE).write_bytes(pickle.dumps(Malicious(victim)))
    manifest = json.loads((folder / checkpoint_files.MANIFEST).read_text())
    manifest["files"][checkpoint_files.STATE] = checkpoint_files._fingerprint(
        (folder / checkpoint_files.STATE).read_bytes()
    )
    (folder / checkpoint_files.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=checkpoint_files.STATE):
        read_checkpoint(StoragePath.of(folder))
    assert not victim.exists()


def test_the_newest_is_the_one_furthest_on(run: TrainingRun, tmp_path: Path) -> None:
    later = write(tmp_path / "attempt-001/trial-00007/checkpoint_000005", run)
    run.run_epoch()
    newest = write(tmp_path / "attempt-002/trial-00007/checkpoint_000000", run)
    run.run_epoch()
    damaged = write(tmp_path / "attempt-002/trial-00007/checkpoint_000001", run)
    (damaged / checkpoint_files.STATE).write_bytes(b"")
    write(tmp_path / "attempt-002/trial-00008/checkpoint_000002", run)
    found, wrong = store(tmp_path).find(7, CONFIG.digest())
    assert found is not None
    assert (found.folder.path, len(found.history.epochs)) == (str(newest), 2)
    assert [str(error) for error in wrong] == [f"{damaged / checkpoint_files.STATE} is damaged"]
    (newest / checkpoint_files.MANIFEST).unlink()
    found, wrong = store(tmp_path).find(7, CONFIG.digest())
    assert found is not None
    assert found.folder.path == str(later)
    assert len(wrong) == 2
    assert store(tmp_path).find(9, CONFIG.digest()) == (None, [])


def test_only_a_run_with_the_same_config_goes_on(run: TrainingRun, tmp_path: Path) -> None:
    folder = write(tmp_path / "attempt-001/trial-00007/checkpoint_000000", run)
    found, _ = store(tmp_path).find(7, CONFIG.digest())
    assert found is not None
    other = replace(CONFIG, parameters={"peak_lr": 0.051})
    assert other.digest() != CONFIG.digest()
    found, wrong = store(tmp_path).find(7, other.digest())
    assert found is None
    assert [str(error) for error in wrong] == [f"{folder} belongs to a run with another config"]


def test_what_another_run_left_supersedes_nothing(run: TrainingRun, tmp_path: Path) -> None:
    """However far it came: it is deleted, as no run will ever go on from it."""
    run.run_epoch()
    foreign = write(tmp_path / "attempt-001/trial-00007/checkpoint_000009", run)
    other = replace(CONFIG, parameters={"peak_lr": 0.051})
    own = tmp_path / "attempt-002/trial-00007/checkpoint_000000"
    own.mkdir(parents=True)
    write_checkpoint(own, run.state(), History(epochs=run.history.epochs[:1]), other.digest())
    store(tmp_path).discard_superseded(7, other.digest())
    assert own.exists()
    assert not foreign.exists()


def test_a_history_outlives_its_state(run: TrainingRun, tmp_path: Path) -> None:
    folder = write(tmp_path / "attempt-001/trial-00007/checkpoint_000000", run)
    (folder / checkpoint_files.STATE).write_bytes(b"")
    assert store(tmp_path).find(7, CONFIG.digest())[0] is None
    assert store(tmp_path).history(7, CONFIG.digest()) == run.history


def test_a_backup_is_no_trial(tmp_path: Path) -> None:
    for name in ("trial-00003", "trial-00001.bak", "trial-00002 (copy)", "trial-100000"):
        (tmp_path / "attempt-001" / name).mkdir(parents=True)
    assert store(tmp_path).trials() == {3, 100_000}


def test_what_cannot_be_loaded_is_not_gone_on_from(run: TrainingRun, tmp_path: Path) -> None:
    """Whole by its manifest, but with a pickle in it that is no state."""
    folder = write(tmp_path / "attempt-001/trial-00007/checkpoint_000000", run)
    (folder / checkpoint_files.STATE).write_bytes(pickle.dumps(Malicious(tmp_path / "victim")))
    manifest = json.loads((folder / checkpoint_files.MANIFEST).read_text())
    manifest["files"][checkpoint_files.STATE] = checkpoint_files._fingerprint(
        (folder / checkpoint_files.STATE).read_bytes()
    )
    (folder / checkpoint_files.MANIFEST).write_text(json.dumps(manifest))
    found, wrong = store(tmp_path).find(7, CONFIG.digest(), to_resume=True)
    assert found is None
    assert len(wrong) == 1
    assert not (tmp_path / "victim").exists()


def test_a_checkpoint_of_another_version_is_refused(run: TrainingRun, tmp_path: Path) -> None:
    folder = write(tmp_path / "c", run)
    (folder / checkpoint_files.MANIFEST).write_text(json.dumps({"version": 2}))
    with pytest.raises(CheckpointError, match=f"version 2; this project reads {VERSION}"):
        read_history(StoragePath.of(folder))


def test_a_failed_run_leaves_a_history_only(run: TrainingRun, tmp_path: Path) -> None:
    history = History(status="failed", error="RuntimeError: no", epochs=run.history.epochs)
    write_checkpoint(tmp_path, None, history, CONFIG.digest())
    assert read_history(StoragePath.of(tmp_path)) == history
    with pytest.raises(CheckpointError):
        read_checkpoint(StoragePath.of(tmp_path))
