"""study.json: written whole, checked when it is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.results.schema import VERSION
from study.storage.storage_path import Place
from study.system.atomic_files import write_atomically
from study.system.errors import InputError
from study.tasks.metric import ACCURACY, Ranking

STUDY_JSON = "study.json"


def is_searched(study: Mapping[str, Any]) -> bool:
    """True if a study's search has ended, from its study.json.

    The first version, which had no finalists, says only that the study has.
    """
    return bool(study.get("searched") or study.get("ended"))


def read_ranking(study: Mapping[str, Any]) -> Ranking:
    """The ranking of a study's trials, from its study.json.

    Raises:
        InputError: it is damaged.
    """
    try:
        return Ranking(**study["metric"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{STUDY_JSON} is damaged: metric: {error}") from error


def write_study_json(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the study's own description: config, seed, versions, hardware, times."""
    text = json.dumps({"version": VERSION, **content}, indent=2)
    write_atomically(folder / STUDY_JSON, text.encode())


def read_study_json(folder: Place) -> dict[str, Any]:
    """The study's own description.

    Raises:
        InputError: the folder holds no study, or one of another version.
    """
    path = folder / STUDY_JSON
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds no JSON object but a {type(content).__name__}")
    except FileNotFoundError as error:
        raise InputError(f"{str(folder)!r} is no study: it has no {STUDY_JSON}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise too_new(path, version)
    return _of_1(content) if version == 1 else content


def _of_1(content: dict[str, Any]) -> dict[str, Any]:
    """The first version knew the names of tasks, and no metric but accuracy."""
    config = content.get("config")
    name = config.get("task", "mnist") if isinstance(config, dict) else "mnist"
    task: dict[str, Any] = {"name": name, "spec": name, "arguments": []}
    task |= {"sha256": None, "text": None}
    return {**content, "task": task, "metric": ACCURACY.to_json(), "range_test": None}


def too_new(path: Place, version: object) -> InputError:
    """Error for a file that a newer version of this project has written."""
    return InputError(
        f"{str(path)!r} has version {version!r}, newer than this project reads ({VERSION}); "
        "update the project"
    )
