"""A run on disk: its state, its history, and a manifest that proves them whole.

Ray writes a checkpoint aside and then copies it file by file into its place, so that a kill can
leave a part of one, and a retried upload merges into what is there: the manifest is what makes a
folder a checkpoint.
"""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from study.training import History

STATE, HISTORY, MANIFEST = "state.pt", "history.json", "manifest.json"
VERSION = 2


class CheckpointError(Exception):
    """A folder that is no checkpoint, or a damaged one, or one of another run."""


class Checkpoint(NamedTuple):
    """One that is proved whole."""

    folder: Path
    history: History


def write_checkpoint(
    folder: Path, state: Mapping[str, Any] | None, history: History, digest: str
) -> None:
    """Write a checkpoint into an existing folder; a failed run has a history but no state.

    ``digest`` is that of the run's config.
    """
    (folder / HISTORY).write_text(json.dumps(history.to_json()))
    names = [HISTORY]
    if state is not None:
        torch.save(dict(state), folder / STATE)
        names.append(STATE)
    files = {name: _fingerprint(folder / name) for name in names}
    manifest = {"version": VERSION, "config": digest, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def read_history(folder: Path, digest: str | None = None, only: str | None = None) -> History:
    """The history in a checkpoint that is proved whole, and to be of the run with this config.

    ``only`` one of its files may be all that has to be whole.

    Raises:
        CheckpointError: it is not.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = manifest["files"] if manifest["version"] == VERSION else _files_of_1(manifest)
        if digest and manifest.get("config", digest) != digest:
            raise CheckpointError(f"{folder} belongs to a run with another config")
        for name, expected in files.items():
            if only in (None, name) and not expected.items() <= _fingerprint(folder / name).items():
                raise CheckpointError(f"{folder / name} is damaged")
        return History.from_json(json.loads((folder / HISTORY).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is no checkpoint: {error}") from error


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], History]:
    """State and history of a run that can go on. Nothing but tensors and plain values is unpickled.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to a run that failed.
    """
    history = read_history(folder)
    try:
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts happen to raise
        raise CheckpointError(f"{folder / STATE}: {error}") from error
    return state, history


def find_checkpoint(
    checkpoints: Path, trial: int, digest: str, to_go_on: bool = False
) -> tuple[Checkpoint | None, list[CheckpointError]]:
    """The checkpoint of a trial that is furthest on, whichever attempt at the study wrote it.

    Args:
        checkpoints: the study's folder of them.
        trial: its number.
        digest: of the run's config; what another run left is none of this one's.
        to_go_on: whether its state has to be one that can be loaded.

    Returns: the checkpoint, and what is wrong with others.
    """
    found, damaged = [], []
    for folder in _folders(checkpoints, trial):
        try:
            history = read_history(folder, digest)
            if to_go_on and not history.ended:
                read_checkpoint(folder)
            found.append(Checkpoint(folder, history))
        except CheckpointError as error:
            damaged.append(error)
    return _furthest(found), damaged


def find_history(checkpoints: Path, trial: int, digest: str) -> History | None:
    """As :func:`find_checkpoint`, whether the states beside the histories are whole or not."""
    found = []
    for folder in _folders(checkpoints, trial):
        with contextlib.suppress(CheckpointError):
            found.append(Checkpoint(folder, read_history(folder, digest, only=HISTORY)))
    furthest = _furthest(found)
    return furthest.history if furthest else None


def discard_superseded(checkpoints: Path, trial: int, digest: str) -> None:
    """Delete a trial's checkpoints but the newest whole one."""
    newest, _ = find_checkpoint(checkpoints, trial, digest)
    for folder in _folders(checkpoints, trial):
        if newest and folder != newest.folder:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(checkpoints: Path, trial: int) -> list[Path]:
    return sorted(checkpoints.glob(f"attempt-*/{trial_folder(trial)}/checkpoint_*"))


def _furthest(found: list[Checkpoint]) -> Checkpoint | None:
    # Equally far means equal: a run is a function of its config.
    return max(found, key=lambda one: (one.history.ended, len(one.history.epochs)), default=None)


def trial_folder(trial: int) -> str:
    """The name of a trial's folder in every attempt."""
    return f"trial-{trial:05d}"


def trials_with_folders(checkpoints: Path) -> set[int]:
    """The numbers of all trials that ever began."""
    names = (path.name for path in checkpoints.glob("attempt-*/trial-*"))
    return {int(found[1]) for name in names if (found := re.fullmatch(r"trial-(\d+)", name))}


def _files_of_1(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the first version recorded of its files."""
    if manifest["version"] != 1:
        raise CheckpointError(f"version {manifest['version']}; this project reads {VERSION}")
    return {name: {"sha256": digest} for name, digest in manifest["sha256"].items()}


def _fingerprint(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
