"""A run on disk: its state, its history, and a manifest that proves them whole.

Ray writes a checkpoint aside and then copies it file by file into its place, so that a kill can
leave a part of one, and a retried upload merges into what is there: the manifest is what makes a
folder a checkpoint.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from study.storage.file_version import VERSION
from study.storage.storage_path import StoragePath
from study.training.history import History

STATE, HISTORY, MANIFEST = "state.pt", "history.json", "manifest.json"


class CheckpointError(Exception):
    """A folder that is no checkpoint, or a damaged one, or one of another run."""


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


def read_history(
    folder: StoragePath, digest: str | None = None, only: str | None = None
) -> History:
    """The history in a checkpoint that is proved whole, and to be of the run with this config.

    ``only`` one of its files may be all that has to be whole. In a storage, of the state no more is
    looked at than its size: it would have to be fetched, and is there whole or not at all.

    Raises:
        CheckpointError: it is not.
        OSError: a storage does not answer.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["version"] != VERSION:
            raise CheckpointError(
                f"{folder} has version {manifest['version']}; this project reads {VERSION}"
            )
        if digest and manifest["config"] != digest:
            raise CheckpointError(f"{folder} belongs to a run with another config")
        history = (folder / HISTORY).read_bytes()
        for name, expected in manifest["files"].items():
            content = history if name == HISTORY else None
            if only in (None, name) and not _is_whole(folder / name, content, expected):
                raise CheckpointError(f"{folder / name} is damaged")
        return History.from_json(json.loads(history))
    except OSError as error:
        if folder.is_remote and not isinstance(error, FileNotFoundError):
            raise
        raise CheckpointError(f"{folder} is no checkpoint: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is no checkpoint: {error}") from error


def read_checkpoint(folder: StoragePath) -> tuple[dict[str, Any], History]:
    """State and history of a run that can resume.

    Nothing but tensors and plain values is unpickled.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to a run that failed.
    """
    history = read_history(folder)
    try:
        source = io.BytesIO((folder / STATE).read_bytes())
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts happen to raise
        raise CheckpointError(f"{folder / STATE}: {error}") from error
    return state, history


def _is_whole(path: StoragePath, content: bytes | None, expected: Mapping[str, Any]) -> bool:
    if path.is_remote and path.name == STATE:
        return bool(path.size() == expected["size"])
    return expected == _fingerprint(content or path.read_bytes())


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
