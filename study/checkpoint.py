"""A run on disk: its state, its history, and a manifest that proves them whole.

Ray writes a checkpoint aside and then copies it file by file into its place, so that a kill can
leave a part of one, and a retried upload merges into what is there: the manifest is what makes a
folder a checkpoint.
"""

import contextlib
import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from study.storage import Place, RemotePath, native
from study.training.history import History

STATE, HISTORY, MANIFEST = "state.pt", "history.json", "manifest.json"
VERSION = 2


class CheckpointError(Exception):
    """A folder that is no checkpoint, or a damaged one, or one of another run."""


class Checkpoint(NamedTuple):
    """One that is proved whole."""

    folder: Place
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
    files = {name: _fingerprint((folder / name).read_bytes()) for name in names}
    manifest = {"version": VERSION, "config": digest, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def read_history(folder: Place, digest: str | None = None, only: str | None = None) -> History:
    """The history in a checkpoint that is proved whole, and to be of the run with this config.

    ``only`` one of its files may be all that has to be whole. In a storage, of the state no more is
    looked at than its size: it would have to be fetched, and is there whole or not at all.

    Raises:
        CheckpointError: it is not.
        OSError: a storage does not answer.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = manifest["files"] if manifest["version"] == VERSION else _files_of_1(manifest)
        if digest and manifest.get("config", digest) != digest:
            raise CheckpointError(f"{folder} belongs to a run with another config")
        history = (folder / HISTORY).read_bytes()
        for name, expected in files.items():
            content = history if name == HISTORY else None
            if only in (None, name) and not _is_whole(folder / name, content, expected):
                raise CheckpointError(f"{folder / name} is damaged")
        return History.from_json(json.loads(history))
    except OSError as error:
        if isinstance(folder, RemotePath) and not isinstance(error, FileNotFoundError):
            raise
        raise CheckpointError(f"{folder} is no checkpoint: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is no checkpoint: {error}") from error


def read_checkpoint(folder: Place) -> tuple[dict[str, Any], History]:
    """State and history of a run that can go on. Nothing but tensors and plain values is unpickled.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to a run that failed.
    """
    history = read_history(folder)
    try:
        file = folder / STATE
        source = file if isinstance(file, Path) else io.BytesIO(file.read_bytes())
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts happen to raise
        raise CheckpointError(f"{folder / STATE}: {error}") from error
    return state, history


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
    """As :func:`find_checkpoint`, whether the states beside the histories are whole or not."""
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
    """What lies in a folder and is called so, in order; nothing where there is no folder."""
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


def _files_of_1(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the first version recorded of its files."""
    if manifest["version"] != 1:
        raise CheckpointError(f"version {manifest['version']}; this project reads {VERSION}")
    return {name: {"sha256": digest} for name, digest in manifest["sha256"].items()}


def _is_whole(path: Place, content: bytes | None, expected: Mapping[str, Any]) -> bool:
    if isinstance(path, RemotePath) and path.name == STATE and "size" in expected:
        return bool(path.size() == expected["size"])
    return expected.items() <= _fingerprint(content or path.read_bytes()).items()


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
