"""The checkpoints of a study: which is furthest on, and which are superseded."""

import contextlib
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from study.storage.checkpoint_files import HISTORY, CheckpointError, read_checkpoint, read_history
from study.storage.storage_path import Place, native
from study.training.history import History


class Checkpoint(NamedTuple):
    """One that is proved whole."""

    folder: Place
    history: History


def find_checkpoint(
    checkpoints: Place, trial: int, digest: str, to_go_on: bool = False
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


def find_history(checkpoints: Place, trial: int, digest: str) -> History | None:
    """The history of a trial that is furthest on, though the state beside it may be damaged."""
    found = []
    for folder in _folders(checkpoints, trial):
        with contextlib.suppress(CheckpointError):
            found.append(Checkpoint(folder, read_history(folder, digest, only=HISTORY)))
    furthest = _furthest(found)
    return furthest.history if furthest else None


def discard_superseded(
    checkpoints: Place, trial: int, digest: str, reported: Place | None = None
) -> None:
    """Delete a trial's checkpoints but the newest whole one.

    ``reported``: the latest that Ray knows of a running trial; only those before it are deleted.
    """
    newest, _ = find_checkpoint(checkpoints, trial, digest)
    for folder in _folders(checkpoints, trial):
        before = reported is None or native(folder) < native(reported)
        if newest and folder != newest.folder and before:
            delete(folder)


def delete(checkpoint: Place) -> None:
    """Delete a checkpoint; what is gone already is no error."""
    if isinstance(checkpoint, Path):
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        checkpoint.rmtree()


def _folders(checkpoints: Place, trial: int) -> list[Place]:
    return [
        folder
        for attempt in attempts(checkpoints)
        for folder in _named(attempt / trial_folder(trial), r"checkpoint_\d+")
    ]


def attempts(checkpoints: Place) -> list[Place]:
    """The folders of a study's attempts, each a run of Ray Tune, in their order."""
    return _named(checkpoints, r"attempt-\d+")


def _named(folder: Place, pattern: str) -> list[Place]:
    """Entries of a folder that are called so, in order; none where there is no folder."""
    try:
        found: list[Place] = [one for one in folder.iterdir() if re.fullmatch(pattern, one.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda one: one.name)


def _furthest(found: list[Checkpoint]) -> Checkpoint | None:
    # Equally far means equal: a run is a function of its config.
    return max(found, key=lambda one: (one.history.ended, len(one.history.epochs)), default=None)


def trial_folder(trial: int) -> str:
    """The name of a trial's folder in every attempt."""
    return f"trial-{trial:05d}"


def trials_with_folders(checkpoints: Place) -> set[int]:
    """The numbers of all trials that ever began."""
    return {
        int(folder.name.removeprefix("trial-"))
        for attempt in attempts(checkpoints)
        for folder in _named(attempt, r"trial-\d+")
    }
