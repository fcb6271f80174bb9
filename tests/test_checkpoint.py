"""A checkpoint is whole, or it is no checkpoint."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from study import checkpoint
from study.checkpoint import (
    CheckpointError,
    newest_checkpoint,
    read_checkpoint,
    read_history,
    write_checkpoint,
)
from study.task import SearchData
from study.training import History, TrainingRun
from tests.tasks import small_task
from tests.test_training import CONFIG


@pytest.fixture
def run(small_mnist: SearchData) -> TrainingRun:
    run = TrainingRun(small_task(), small_mnist, CONFIG)
    run.run_epoch()
    return run


def write(folder: Path, run: TrainingRun, state: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    write_checkpoint(folder, state or run.state(), run.history)
    return folder


def test_what_is_read_is_what_was_written(run: TrainingRun, tmp_path: Path) -> None:
    state, history = read_checkpoint(write(tmp_path / "c", run))
    assert history == run.history
    for part in ("model", "optimizer", "order", "torch"):
        torch.testing.assert_close(state[part], run.state()[part], rtol=0, atol=0)


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.HISTORY, checkpoint.MANIFEST])
@pytest.mark.parametrize("content", [b"", b"rubbish", None], ids=["empty", "rubbish", "truncated"])
def test_damage_is_found(
    run: TrainingRun, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = write(tmp_path / "c", run) / name
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(CheckpointError):
        read_history(tmp_path / "c")


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.HISTORY, checkpoint.MANIFEST])
def test_a_missing_file_is_found(run: TrainingRun, tmp_path: Path, name: str) -> None:
    (write(tmp_path / "c", run) / name).unlink()
    with pytest.raises(CheckpointError):
        read_history(tmp_path / "c")


class Malicious:
    """What an attacker would put into a pickle."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


def test_a_malicious_pickle_is_not_opened(run: TrainingRun, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    folder = write(tmp_path / "c", run, {"model": Malicious(victim)})
    with pytest.raises(CheckpointError, match=checkpoint.STATE):
        read_checkpoint(folder)
    (folder / checkpoint.STATE).write_bytes(pickle.dumps(Malicious(victim)))
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    manifest["sha256"][checkpoint.STATE] = checkpoint._sha256(folder / checkpoint.STATE)
    (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=checkpoint.STATE):
        read_checkpoint(folder)
    assert not victim.exists()


def test_the_newest_is_the_one_furthest_on(run: TrainingRun, tmp_path: Path) -> None:
    later = write(tmp_path / "attempt-001/trial-00007/checkpoint_000005", run)
    run.run_epoch()
    newest = write(tmp_path / "attempt-002/trial-00007/checkpoint_000000", run)
    run.run_epoch()
    damaged = write(tmp_path / "attempt-002/trial-00007/checkpoint_000001", run)
    (damaged / checkpoint.STATE).write_bytes(b"")
    write(tmp_path / "attempt-002/trial-00008/checkpoint_000002", run)
    found = newest_checkpoint(tmp_path, 7)
    assert found is not None
    assert (found[0], len(found[1].epochs)) == (newest, 2)
    (newest / checkpoint.MANIFEST).unlink()
    found = newest_checkpoint(tmp_path, 7)
    assert found is not None
    assert found[0] == later
    assert newest_checkpoint(tmp_path, 9) is None


def test_a_failed_run_leaves_a_history_only(run: TrainingRun, tmp_path: Path) -> None:
    history = History(status="failed", error="RuntimeError: no", epochs=run.history.epochs)
    write_checkpoint(tmp_path, None, history)
    assert read_history(tmp_path) == history
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path)
