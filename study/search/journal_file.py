"""The Optuna study of a folder, in a journal file."""

import json
import os
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import TrialState

from study.search.database import Database
from study.storage.file_version import VERSION, check_version
from study.system.atomic_files import where_known
from study.system.errors import InputError, summary
from study.tasks.ranking import Ranking

JOURNAL = "optuna.journal"
OptunaStore = Path | Database
"""Where an Optuna study is: the study's folder, which holds its journal, or a database."""


def refuse_trials_without_description(folder: Path) -> None:
    """A study is never begun over the trials of another.

    Raises:
        InputError: the folder's journal has trials that have begun, or cannot be read.
    """
    journal = journal_of(folder)
    if not journal.exists() or not journal.stat().st_size:
        return
    trials = load_study(folder).get_trials(deepcopy=False)
    if any(trial.state != TrialState.WAITING for trial in trials):
        raise InputError(
            f"{str(folder)!r} holds the trials of a study, but not its study.json; put that back, "
            "or choose another --name"
        )


class SyncedJournal(JournalFileBackend):
    """A journal on any file system, be it one without links, or that cannot be told to sync."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal), JournalFileOpenLock(str(journal)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines, which are synced after that, where that is known."""
        with where_known():
            super().append_logs(logs)


def journal_of(folder: Path) -> Path:
    """The journal file of a study's folder, as an absolute path."""
    # Absolute: over a relative path, a lock that outlived its process is waited for for ever.
    return (folder / JOURNAL).absolute()


def load_study(store: OptunaStore, sampler: TPESampler | None = None) -> Study:
    """The study that is there."""
    if isinstance(store, Path):
        return _of_journal(journal_of(store), None, sampler)
    study = store.load(sampler)
    check_version(store, _version(study))
    return study


def prepare_journal(folder: Path, ranking: Ranking, resuming: bool, sampler: TPESampler) -> Study:
    """The study in the folder's journal, which is mended, or made, first."""
    journal = journal_of(folder)
    # The journal's own lock outlives a kill; with the folder locked, nobody can hold it.
    journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    _mend(journal, resuming)
    if not resuming:
        refuse_trials_without_description(folder)
        journal.unlink(missing_ok=True)  # of a start that was killed before it began
    return _of_journal(journal, None if resuming else ranking, sampler)


def _of_journal(journal: Path, ranking: Ranking | None, sampler: TPESampler | None) -> Study:
    """The one study in a journal, made if there is none yet and a ranking is given."""
    try:
        storage = JournalStorage(SyncedJournal(journal))
        # Under the name that the folder had when it began.
        names = optuna.get_all_study_names(storage)
        if names:
            study = optuna.load_study(study_name=names[0], storage=storage, sampler=sampler)
        elif ranking:
            study = optuna.create_study(
                storage=storage,
                study_name=journal.parent.name,
                direction=ranking.direction,
                sampler=sampler,
            )
            study.set_user_attr("version", VERSION)
        else:
            raise ValueError("it has been cut short, and holds no study")
    except OSError:
        raise
    except Exception as error:  # whatever Optuna makes of lines that are not its own
        raise _damaged(journal, summary(error)) from error
    check_version(journal, _version(study))
    return study


def _version(study: Study) -> object:
    return study.user_attrs.get("version", VERSION)  # a kill may have come before it was written


def _mend(journal: Path, resuming: bool) -> None:
    """Cut off the half line that a killed process may have left: Optuna would write on behind it.

    A journal that is nothing but half a line never was one, unless there has to be one.

    Raises:
        InputError: another line is damaged.
    """
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if content and not whole and resuming:
        raise _damaged(journal, "line 1 is no record")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError as error:
            raise _damaged(journal, f"line {number} is no record") from error
    if len(whole) < len(content):
        os.truncate(journal, len(whole))


def _damaged(journal: Path, what: str) -> InputError:
    return InputError(
        f"{str(journal)!r} is damaged: {what}; put a copy of it back, or start another study with "
        "another --name"
    )
