"""The Optuna study in a database, in place of a journal file.

Its password is in no URL, and so in no file, log, pickle or list of processes: PostgreSQL's own
library takes it from the environment (PGPASSWORD) or from ~/.pgpass.
"""

import contextlib
import os
import platform
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from study.settings.database_url import FLAG
from study.storage.file_version import VERSION
from study.system.errors import InputError

__all__ = ["Database", "StorageInternalError", "reason"]

Direction = Literal["maximize", "minimize"]

PATIENCE = "10"
"""Seconds to wait for a server that does not answer; by default, minutes."""


@dataclass(frozen=True)
class Database:
    """The place of a folder's Optuna study in a database.

    Methods raise InputError where the database cannot be reached or used.
    """

    url: str
    study: str
    """Its name there. A folder may be renamed; a study in a database is not."""
    folder: Path
    url_of_study: str | None = None
    """Where the study lives that this is of, if the folder is only a copy."""

    def __str__(self) -> str:
        return f"study {self.study!r} in {self.url!r}"

    def check(self, resuming: bool, looking: bool) -> None:
        """Check that the database can be used, and the study is there, or is not.

        With ``looking``, nothing is written, not even Optuna's empty tables.
        """
        with self._in_one_line():
            there = not looking or _has_tables(self._connectable())
        if resuming:
            self.load(None)
        elif there:
            with self._in_one_line():
                self._begun_before(self._storage())

    def load(self, sampler: BaseSampler | None) -> Study:
        """The study that is there."""
        with self._in_one_line():
            study = self._found(self._storage(), sampler)
        if study:
            return study
        raise InputError(
            f"{FLAG} {self.url!r} has no study {self.study!r}, which {str(self.folder)!r} is of; "
            "put a copy of it back, or start another study with another --name"
        )

    def create(self, direction: Direction, sampler: BaseSampler) -> Study:
        """A study that begins now."""
        with self._in_one_line():
            storage = self._storage()
            if self._begun_before(storage):  # by a start that was killed before its first trial
                optuna.delete_study(study_name=self.study, storage=storage)
            try:
                study = optuna.create_study(
                    storage=storage, study_name=self.study, direction=direction, sampler=sampler
                )
            except DuplicatedStudyError as error:
                raise self._taken() from error
            study.set_user_attr("folder", self._owner)
            study.set_user_attr("version", VERSION)
            return study

    @property
    def _owner(self) -> str:
        here = f"{platform.node()}:{os.path.abspath(self.folder)}"  # noqa: PTH100  # links stay
        return self.url_of_study or here

    def _begun_before(self, storage: RDBStorage) -> bool:
        """True if this folder's own study is there and without a trial; InputError for another."""
        study = self._found(storage, None)
        if not study:
            return False
        waiting = (TrialState.WAITING,)
        trials = study.get_trials(deepcopy=False)
        # Without an owner it was killed in the moment between, and is nobody's.
        if study.user_attrs.get("folder", self._owner) != self._owner or any(
            trial.state not in waiting for trial in trials
        ):
            raise self._taken()
        return True

    def _found(self, storage: RDBStorage, sampler: BaseSampler | None) -> Study | None:
        try:
            return optuna.load_study(study_name=self.study, storage=storage, sampler=sampler)
        except KeyError:
            return None

    def _taken(self) -> InputError:
        return InputError(
            f"{FLAG} {self.url!r} already holds a study {self.study!r}; resume it by --resume "
            "and its folder, or choose another --name"
        )

    def _storage(self) -> RDBStorage:
        # Asked before it is used whether it is still there, since a trial may take hours.
        storage = RDBStorage(self._connectable(), engine_kwargs={"pool_pre_ping": True})
        weakref.finalize(storage, storage.engine.dispose)
        return storage

    def _connectable(self) -> str:
        from sqlalchemy.engine import make_url

        url = make_url(self.url)
        if url.drivername == "postgresql":  # before SQLAlchemy 2.1, that means another driver
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername == "postgresql+psycopg":
            url = url.set(query={"connect_timeout": PATIENCE, **url.query})
        return url.render_as_string(hide_password=False)

    @contextlib.contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            raise self._without_driver(error) from error
        except Exception as error:  # whatever driver, SQLAlchemy, Alembic or Optuna make of it
            raise InputError(
                f"{FLAG} {self.url!r} cannot be used: {reason(error)}; check the URL, the server, "
                "and the password in the environment (PGPASSWORD or ~/.pgpass)"
            ) from error

    def _without_driver(self, error: ImportError) -> InputError:
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = cause.name or str(cause)
        how = "; install it by: pip install -e '.[cluster]'" if "psycopg" in package else ""
        return InputError(
            f"{FLAG} {self.url!r} needs the package {package}, which is not installed{how}"
        )


def reason(error: BaseException) -> str:
    """The database's own message, without SQLAlchemy's statement and links around it."""
    while error.__cause__ and not hasattr(error, "orig"):
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    return " ".join(str(error).split()) or type(error).__name__


def _has_tables(url: str) -> bool:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    try:
        return sqlalchemy.inspect(engine).has_table("studies")
    finally:
        engine.dispose()
