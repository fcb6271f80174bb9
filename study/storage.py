"""Where a study lives: in a folder, or in a storage that every node reaches, by a URL.

A study in a storage is written into a folder of this machine first, and pushed; only checkpoints
go there straight from the workers. What lies in the storage is the truth.
"""

import contextlib
import os
import platform
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import fsspec
import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem

from study.system.errors import InputError, StudyError, said

CHECKPOINTS, FINALISTS = "checkpoints", "finalists"
"""The folders of a study in which workers keep its trials and its finalists' replicates."""
FIRST = "trials.parquet"
OWNER = ".owner"
"""Says which process writes the study: a storage knows no locks."""
NOT_READ = ("report", "logs")
"""What else no reader of a study needs."""
OPTIONS = ("region", "scheme", "endpoint_override", "project_id", "enable_tls")
"""Of a URL; others may be keys."""
THREADS = 8
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RemotePath:
    """What of :class:`pathlib.Path` a study needs, for files in a storage.

    A file there is whole or is not there. Errors are :class:`OSError`, as on a disk.
    """

    url: str
    filesystem: FileSystem
    path: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return replace(self, url=below(self.url, name), path=f"{self.path}/{name}")

    def at(self, path: str) -> "RemotePath":
        """What the storage itself calls so."""
        return replace(self, url=f"{urlsplit(self.url).scheme}://{path}", path=path)

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.path).name

    def exists(self) -> bool:
        """Whether there is a file, or any below it."""
        return bool(self.filesystem.get_file_info(self.path).type != FileType.NotFound)

    def size(self) -> int:
        """Of a file, in bytes; 0 where there is none."""
        return self.filesystem.get_file_info(self.path).size or 0

    def read_bytes(self) -> bytes:
        """All of a file."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def read_text(self) -> str:
        """All of a file, as UTF-8."""
        return self.read_bytes().decode()

    def write_bytes(self, content: bytes) -> None:
        """Write a file, and the folders above it where the storage knows folders."""
        try:
            stream = self.filesystem.open_output_stream(self.path)
        except FileNotFoundError:
            self.filesystem.create_dir(str(PurePosixPath(self.path).parent), recursive=True)
            stream = self.filesystem.open_output_stream(self.path)
        with stream:
            stream.write(content)

    def iterdir(self) -> Iterator["RemotePath"]:
        """What lies directly below; nothing, where there is nothing."""
        for info in self._infos():
            yield self / info.base_name

    def files(self, without: Sequence[str] = ()) -> Iterator["RemotePath"]:
        """All files of a study or a sweep but those that the workers keep, and in such folders."""
        for info in self._infos():
            here = self / info.base_name
            if info.type == FileType.File:
                yield here
            elif info.base_name not in (CHECKPOINTS, FINALISTS, *without):
                yield from here.files(without)

    def unlink(self) -> None:
        """Delete a file."""
        self.filesystem.delete_file(self.path)

    def rmtree(self) -> None:
        """Delete a folder and what is in it; what is gone already is no error."""
        with contextlib.suppress(OSError):
            self.filesystem.delete_dir(self.path)

    def _infos(self) -> list[pa.fs.FileInfo]:
        found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(found, key=lambda info: str(info.base_name))


Place = Path | RemotePath
"""A file or folder, wherever it is."""


def is_url(location: str | Path) -> bool:
    """Whether a location is a URL; else it is a path."""
    return "://" in str(location)


def below(location: str, name: str) -> str:
    """The location of what is called so in a folder; the options of a URL stay at its end."""
    mark = options = ""
    if is_url(location):
        name = quote(name)
        location, mark, options = location.partition("?")
    return location + ("" if location.endswith("/") else "/") + name + mark + options


def above(url: str) -> tuple[str, str]:
    """The URL of the folder that a location is in, and its name there."""
    path, mark, options = url.partition("?")
    parent, _, name = path.rstrip("/").rpartition("/")
    return parent + mark + options, unquote(name)


def place(location: str | Path) -> Place:
    """What a path or a URL stands for: one that pyarrow knows, or fsspec.

    Raises:
        InputError: no such storage, or it cannot be reached.
    """
    if not is_url(location):
        return Path(location)
    url = str(location)
    try:
        parts = urlsplit(url)
        others = [name for name, _ in parse_qsl(parts.query) if name not in OPTIONS]
    except ValueError as error:
        raise _unusable(url, error) from error
    if parts.password or others:
        raise InputError(
            f"the storage {parts.scheme}://... must be named without a password or key, and with "
            f"no options but {', '.join(OPTIONS)}: it is written into files; put secrets where the "
            "storage's own tools look for them"
        )
    try:
        return RemotePath(url, *_filesystem(url))
    except Exception as error:  # whatever a storage's own package raises
        raise _unusable(url, error) from error


def native(where: Place) -> str:
    """The path of a place as Ray and the storage itself name it."""
    return where.path if isinstance(where, RemotePath) else str(where)


def absolute(where: Place) -> Place:
    """The same, for a worker, which runs in another folder."""
    return where.absolute() if isinstance(where, Path) else where


def prove(where: Place) -> None:
    """Write a file, read it, and delete it.

    Raises:
        InputError: that is not possible there.
    """
    probe = where / f".probe-{secrets.token_hex(8)}"
    try:
        probe.write_bytes(probe.name.encode())
        if probe.read_bytes() != probe.name.encode():
            raise OSError("what was written there is not what can be read")
        probe.unlink()
    except Exception as error:  # whatever a storage's own package raises
        raise _unusable(str(where), error) from error


@contextlib.contextmanager
def copied(location: str | Path) -> Iterator[Path]:
    """The folder of a study or of a sweep, copied here if it is in a storage.

    Its checkpoints, its report and its logs stay there.

    Raises:
        InputError: it cannot be read.
    """
    source = place(location)
    if isinstance(source, Path):
        yield source
        return
    with TemporaryDirectory(prefix="lr-schedule-study-") as parent:
        folder = Path(parent) / source.name
        pull(source, folder, NOT_READ)
        with naming(folder, source.url):
            yield folder


@contextlib.contextmanager
def naming(folder: Path, where: str) -> Iterator[None]:
    """Have errors say where a study is, not where its copy is."""
    try:
        yield
    except (InputError, StudyError) as error:
        raise type(error)(str(error).replace(str(folder), where)) from error


def pull(source: RemotePath, folder: Path, without: Sequence[str] = ()) -> list[Path]:
    """Copy all files but the workers', and those in such folders, into a folder, which is made.

    The trials first, as all readers do, since they are written last. Returns the copies.

    Raises:
        InputError: they cannot be read.
    """

    def fetch(file: RemotePath) -> Path:
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
        raise _unusable(source.url, error) from error


def push(folder: Path, target: RemotePath) -> None:
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

    def __init__(self, folder: Path, where: Place) -> None:
        self._folder, self._where = folder, where
        self._pushed: dict[Path, tuple[int, int]] = {}
        self._owner = f"{secrets.token_hex(8)} {os.getpid()} {platform.node()}".encode()

    def pull(self, to_write: bool) -> None:
        """Copy the study here, if it is in a storage.

        Args:
            to_write: become the one process that writes it; another one finds that out, and stops.

        Raises:
            InputError: the storage cannot be used.
        """
        if not isinstance(self._where, RemotePath):
            return
        try:
            if to_write:
                (self._where / OWNER).write_bytes(self._owner)
        except OSError as error:
            raise _unusable(str(self._where), error) from error
        pulled = set(pull(self._where, self._folder, ("report",)))
        self._pushed = {path: mark for path, mark in self._marks() if path in pulled}

    def check(self) -> None:
        """That no other process has claimed the study since.

        Raises:
            OSError: the storage cannot be read.
            StudyError: one has.
        """
        if not isinstance(self._where, RemotePath):
            return
        owner = (self._where / OWNER).read_bytes()
        if owner != self._owner:
            _, process, node = owner.decode(errors="replace").split(" ", 2)
            raise StudyError(
                f"{self._where} has been taken over by process {process} on {node}, which goes on "
                "with it; this one has stopped"
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
        if not isinstance(self._where, RemotePath):
            return
        changed = {path: mark for path, mark in self._marks() if self._pushed.get(path) != mark}
        # In the order of names, so that the trials are last: readers begin with them.
        for path, mark in sorted(changed.items()):
            with contextlib.suppress(FileNotFoundError):  # a logger's own, gone already
                content = path.read_bytes()
                _under(self._where, self._folder, path).write_bytes(content)
                self._pushed[path] = mark

    def _marks(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path in self._folder.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # a logger's own, gone already
                    stat = path.stat()
                    yield path, (stat.st_mtime_ns, stat.st_size)


def _filesystem(url: str) -> tuple[FileSystem, str]:
    scheme = urlsplit(url).scheme
    if scheme == "s3":  # a small file in one request instead of three
        url += f"{'&' if '?' in url else '?'}allow_delayed_open=true"
    try:
        filesystem, path = FileSystem.from_uri(url)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem" not in str(error):
            raise
        # Without its cache: what workers write would not be seen.
        other, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
        filesystem = PyFileSystem(FSSpecHandler(other))
    return filesystem, str(path).rstrip("/")


def _under(target: RemotePath, folder: Path, file: Path) -> RemotePath:
    return target / file.relative_to(folder).as_posix()


def _each(action: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(action, items))


def _unusable(where: str, error: Exception) -> InputError:
    reason = re.sub(r" \(Request ID: .*?\)", "", said(error))
    return InputError(
        f"the storage {where!r} cannot be used: {reason}; it must be a folder, or a URL like "
        "s3://bucket/prefix of a bucket that is there, for which this machine has credentials"
    )
