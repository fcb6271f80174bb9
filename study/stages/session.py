"""One run of a study's command, alone with the study's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from filelock import Timeout
from rich.console import Console

from study.results.study_json import read_ranking, read_study_json, write_study_json
from study.search.database import StorageInternalError, reason
from study.settings.study_config import StudyConfig
from study.stages.reporting import again
from study.storage.mirror import Mirror
from study.system.atomic_files import HELD, locked
from study.system.errors import InputError, StudyError, failed
from study.system.interrupt import Interrupt
from study.tasks.metric import Ranking

LOCK = ".lock"
PROGRESS = ("searched", "finalists", "replicates", "test_split", "ended")
"""What study.json says of how far a study is."""


@dataclass
class StudySession:
    """Options, record, interrupt, console and mirror: all that the stages of a study share."""

    config: StudyConfig
    """As it runs here: the share of a GPU, or the room of a cluster, is settled."""
    record: dict[str, Any]
    """The content of study.json."""
    interrupt: Interrupt
    console: Console = field(
        default_factory=lambda: Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    )

    def __post_init__(self) -> None:
        self.mirror = Mirror(self.config.folder, self.config.place)

    @property
    def ranking(self) -> Ranking:
        """The ranking of the study's trials."""
        return read_ranking(self.record)

    def save(self) -> None:
        """Write study.json, and push what has been written."""
        write_study_json(self.config.folder, self.record)
        self.mirror.push()


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
