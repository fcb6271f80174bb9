"""The folder on this machine of a study that lives in a storage.

A study in a storage is written into a folder of this machine first, and pushed; only checkpoints
go there straight from the workers. What lies in the storage is the truth.
"""

import contextlib
import os
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from study.storage.storage_path import StoragePath, unusable
from study.system.errors import InputError, StudyError

FIRST = "trials.parquet"
OWNER = ".owner"
"""Says which process writes the study: a storage knows no locks."""
NOT_READ = ("report", "logs")
"""Folders beside the checkpoints that no reader of a study needs."""
THREADS = 8
T = TypeVar("T")
R = TypeVar("R")


@contextlib.contextmanager
def local_copy(location: str | Path) -> Iterator[Path]:
    """The folder of a study or of a sweep, copied here if it is in a storage.

    Its checkpoints, its report and its logs stay there.

    Raises:
        InputError: it cannot be read.
    """
    source = StoragePath.of(location)
    if not source.is_remote:
        yield Path(location)
        return
    with TemporaryDirectory(prefix="lr-schedule-study-") as parent:
        folder = Path(parent) / source.name
        pull(source, folder, NOT_READ)
        with reported_as(folder, source.where):
            yield folder


@contextlib.contextmanager
def reported_as(folder: Path, where: str) -> Iterator[None]:
    """Have errors say where a study is, not where its copy is."""
    try:
        yield
    except (InputError, StudyError) as error:
        raise type(error)(str(error).replace(str(folder), where)) from error


def pull(source: StoragePath, folder: Path, without: Sequence[str] = ()) -> list[Path]:
    """Copy all files but the workers', and those in such folders, into a folder, which is made.

    The trials first, as all readers do, since they are written last. Returns the copies.

    Raises:
        InputError: they cannot be read.
    """

    def fetch(file: StoragePath) -> Path:
        target = folder / file.path.removeprefix(f"{source.path}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        return target

    folder.mkdir(parents=True, exist_ok=True)
    try:
        files = list(source.files(without))
        return [
            copy
            for first in (True, False)
            for copy in _each(fetch, [one for one in files if (one.name == FIRST) == first])
        ]
    except OSError as error:
        raise unusable(source.where, error) from error


def push(folder: Path, target: StoragePath) -> None:
    """Copy a folder and what is in it into a storage.

    Raises:
        OSError: it cannot be written.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    _each(lambda file: _under(target, folder, file).write_bytes(file.read_bytes()), files)


class Mirror:
    """A study's folder on this machine, and its like in a storage, if that is where it lives.

    Args:
        folder: where this process writes, but for what workers write.
        where: where the study lives; the folder itself, or a storage.
    """

    def __init__(self, folder: Path, where: StoragePath) -> None:
        self._folder, self.where = folder, where
        self._pushed: dict[Path, tuple[int, int]] = {}
        self._owner = f"{secrets.token_hex(8)} {os.getpid()} {platform.node()}".encode()

    def pull(self, to_write: bool) -> None:
        """Copy the study here, if it is in a storage.

        Args:
            to_write: become the one process that writes it; another one finds that out, and stops.

        Raises:
            InputError: the storage cannot be used.
        """
        if not self.where.is_remote:
            return
        try:
            if to_write:
                (self.where / OWNER).write_bytes(self._owner)
        except OSError as error:
            raise unusable(self.where.where, error) from error
        pulled = set(pull(self.where, self._folder, ("report",)))
        self._pushed = {path: mark for path, mark in self._marks() if path in pulled}

    def check(self) -> None:
        """Check that no other process has claimed the study since.

        Raises:
            OSError: the storage cannot be read.
            StudyError: one has.
        """
        if not self.where.is_remote:
            return
        owner = (self.where / OWNER).read_bytes()
        if owner != self._owner:
            _, process, node = owner.decode(errors="replace").split(" ", 2)
            raise StudyError(
                f"{self.where} has been taken over by process {process} on {node}, which has "
                "resumed it; this one has stopped"
            )

    def push(self) -> None:
        """:meth:`check`, and :meth:`upload`."""
        self.check()
        self.upload()

    def upload(self) -> None:
        """Copy what has changed since the last time into the storage, which was checked just now.

        Raises:
            OSError: it cannot be written.
        """
        if not self.where.is_remote:
            return
        changed = {path: mark for path, mark in self._marks() if self._pushed.get(path) != mark}
        # In the order of names, so that the trials are last: readers begin with them.
        for path, mark in sorted(changed.items()):
            with contextlib.suppress(FileNotFoundError):  # a logger's own, gone already
                content = path.read_bytes()
                _under(self.where, self._folder, path).write_bytes(content)
                self._pushed[path] = mark

    def _marks(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path in self._folder.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # a logger's own, gone already
                    stat = path.stat()
                    yield path, (stat.st_mtime_ns, stat.st_size)


def _under(target: StoragePath, folder: Path, file: Path) -> StoragePath:
    return target / file.relative_to(folder).as_posix()


def _each(action: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(action, items))
