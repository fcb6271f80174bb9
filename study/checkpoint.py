"""A run on disk: its state, its history, and a manifest that proves them whole.

Ray copies a checkpoint file by file into its place, so that a kill can leave a part of one, and a
retried upload merges into what is there: the manifest is what makes a folder a checkpoint.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from study.training import History

STATE, HISTORY, MANIFEST = "state.pt", "history.json", "manifest.json"
VERSION = 2


class CheckpointError(Exception):
    """A folder that is no checkpoint, or a damaged one."""


def write_checkpoint(folder: Path, state: Mapping[str, Any] | None, history: History) -> None:
    """Write a checkpoint into an existing folder; a failed run has a history but no state."""
    (folder / HISTORY).write_text(json.dumps(history.to_json()))
    names = [HISTORY]
    if state is not None:
        torch.save(dict(state), folder / STATE)
        names.append(STATE)
    manifest = {"version": VERSION, "sha256": {name: _sha256(folder / name) for name in names}}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def read_history(folder: Path) -> History:
    """The history in a checkpoint that is proved whole.

    Raises:
        CheckpointError: it is not.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, digest in manifest["sha256"].items():
            if _sha256(folder / name) != digest:
                raise CheckpointError(f"{folder / name} is damaged")
        return History.from_json(json.loads((folder / HISTORY).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is no checkpoint: {error}") from error


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], History]:
    """State and history of a run that can go on.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to a run that failed.
    """
    history = read_history(folder)
    try:
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts happen to raise
        raise CheckpointError(f"{folder / STATE}: {error}") from error
    return state, history


def newest_checkpoint(checkpoints: Path, trial: int) -> tuple[Path, History] | None:
    """The checkpoint of a trial that is furthest on, whichever attempt at the study wrote it."""
    found = []
    for folder in checkpoints.glob(f"attempt-*/{trial_folder(trial)}/checkpoint_*"):
        with contextlib.suppress(CheckpointError):
            found.append((folder, read_history(folder)))
    # Equally far means equal: a run is a function of its config.
    return max(found, key=lambda pair: (pair[1].ended, len(pair[1].epochs)), default=None)


def discard_superseded(checkpoints: Path, trial: int) -> None:
    """Delete a trial's checkpoints but the newest whole one."""
    newest = newest_checkpoint(checkpoints, trial)
    for folder in checkpoints.glob(f"attempt-*/{trial_folder(trial)}/checkpoint_*"):
        if newest and folder != newest[0]:
            shutil.rmtree(folder, ignore_errors=True)


def trial_folder(trial: int) -> str:
    """The name of a trial's folder in every attempt."""
    return f"trial-{trial:05d}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
