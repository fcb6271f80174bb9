"""Alone with a study's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from filelock import Timeout

from study.results.study_json import read_study_json
from study.search.database import StorageInternalError, reason
from study.settings.study_config import StudyConfig
from study.stages.reporting import again
from study.system.atomic_files import HELD, locked
from study.system.errors import InputError, StudyError, failed

LOCK = ".lock"
PROGRESS = ("searched", "finalists", "replicates", "test_split", "ended")
"""What study.json says of how far a study is."""


@contextmanager
def locked_folder(config: StudyConfig) -> Iterator[None]:
    """Alone with the study's folder, which is made if need be; errors of the disk in one line."""
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {str(config.out)!r} cannot be written: {failed(error)}") from error
    try:
        with locked(config.folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        is_file = error.lock_file.endswith(HELD)
        raise StudyError(
            f"{config.location!r} is in use by another process; wait until it has ended"
            + (f", or delete {error.lock_file!r} if there is none on any machine" * is_file)
        ) from error
    except StorageInternalError as error:
        raise StudyError(
            f"--optuna-storage {config.optuna_storage!r}: {reason(error)}; when it is there again, "
            f"{again(config)}"
        ) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StudyError(f"{failed(error, config.location)}, then {again(config)}") from error


def catch_up(config: StudyConfig, description: dict[str, Any]) -> None:
    """Take in what another process has written since study.json was read."""
    latest = read_study_json(config.folder) if config.resume else {}
    description |= {name: latest[name] for name in PROGRESS if name in latest}
