"""One run of a study's command: what its stages share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from filelock import Timeout
from rich.console import Console

from search_spaces import SearchSpace
from study.results.sequential import looks_of
from study.results.study_record import StudyRecord
from study.search.database import StorageInternalError, reason
from study.settings.run_options import LocationOptions
from study.settings.study_config import StudyConfig
from study.stages.reporting import again
from study.storage.mirror import Mirror, reported_as
from study.system.atomic_files import HELD, locked
from study.system.errors import InputError, StudyError, failed
from study.system.interrupt import Interrupt

LOCK = ".lock"


@dataclass
class StudySession:
    """Options, record, interrupt, console and mirror: all that the stages of a study share."""

    typed: StudyConfig
    """As a new study records it."""
    config: StudyConfig
    """As it runs here: the share of a GPU, or the room of a cluster, is settled."""
    before: StudyRecord | None
    """The record of the study that is resumed or replayed."""
    interrupt: Interrupt
    more_replicates: int = 0
    """Fresh seeds to add for each finalist."""
    record: StudyRecord = field(init=False)
    """The study's own; this and the next two come of its preparation."""
    space: SearchSpace = field(init=False)
    proposals: Sequence[Mapping[str, Any]] = field(init=False)
    """Those of the study that is replayed, to begin with."""
    console: Console = field(
        default_factory=lambda: Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    )

    def __post_init__(self) -> None:
        self.where = self.config.location.open()
        self.mirror = Mirror(self.config.location.folder, self.where)

    @classmethod
    @contextmanager
    def open(
        cls, config: StudyConfig, before: StudyRecord | None, more_replicates: int = 0
    ) -> Iterator[Self]:
        """A session whose folder, where the study lives in a storage, is a temporary one."""
        interrupt = Interrupt(config.invocation.budget_seconds())
        if not config.location.storage:
            yield cls(config, config, before, interrupt, more_replicates)
            return
        with TemporaryDirectory(prefix="lr-schedule-study-") as out:
            here = config.but(out=Path(out))
            with reported_as(here.location.folder, here.location.where):
                yield cls(config, here, before, interrupt, more_replicates)

    @property
    def resumed(self) -> StudyRecord | None:
        """The record of the study that is resumed, if one is."""
        return self.before if self.config.invocation.resume else None

    @contextmanager
    def alone(self, command: str = "") -> Iterator[None]:
        """Nobody else writes the study's folder, which is made if need be, or its storage.

        ``command``: resumes what an error cuts short. Default: a resume of the study.

        Raises:
            InputError: it cannot be written.
            StudyError: another process has it, or an error of the disk or database ended this one.
        """
        with locked_folder(self.config.location, command):
            self.mirror.pull(to_write=not self.config.invocation.dry_run)
            if self.resumed:
                self.record.catch_up(StudyRecord.load(self.config.location.folder))
            self._add_replicates()
            yield

    def save(self) -> None:
        """Write study.json, and push what has been written."""
        self.record.save(self.config.location.folder)
        self.mirror.push()

    def _add_replicates(self) -> None:
        """Declare a plan for what was asked for, unless there is one to resume.

        The next time that study.json is written, the plan is declared and the study is open again,
        at once: killed before that, nothing was asked, and after it, it resumes.
        """
        record, more = self.record, self.more_replicates
        if more and record.plans and record.phase != "ended":
            print("resuming what was interrupted; ask again for more seeds")
        elif more:
            record.declare(more, looks_of(more))


@contextmanager
def locked_folder(location: LocationOptions, command: str = "") -> Iterator[None]:
    """Alone with the study's folder, which is made if need be; errors of the disk in one line.

    ``command``: as of :meth:`StudySession.alone`.
    """
    try:
        location.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = failed(error)
        raise InputError(f"--out {str(location.out)!r} cannot be written: {why}") from error
    try:
        with locked(location.folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        is_file = error.lock_file.endswith(HELD)
        raise StudyError(
            f"{location.where!r} is in use by another process; wait until it has ended"
            + (f", or delete {error.lock_file!r} if there is none on any machine" * is_file)
        ) from error
    except StorageInternalError as error:
        raise StudyError(
            f"--optuna-storage {location.optuna_storage!r}: {reason(error)}; when it is there "
            f"again, {command or again(location)}"
        ) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StudyError(
            f"{failed(error, location.where)}, then {command or again(location)}"
        ) from error
