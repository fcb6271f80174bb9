"""Paths of a study, in a folder or in a storage that every node reaches, by a URL."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import fsspec
import pyarrow as pa
from pyarrow.fs import (
    FileSelector,
    FileSystem,
    FileType,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
)

from study.storage.urls import OPTIONS, below, is_url
from study.system.errors import InputError, summary

CHECKPOINTS, FINALISTS, FORGIVENESS = "checkpoints", "finalists", "forgiveness"
"""The folders of a study in which workers keep its trials, its finalists' replicates, and the runs
at other peak rates."""


@dataclass(frozen=True)
class StoragePath:
    """The part of :class:`pathlib.Path` that a study needs, for files on a disk or in a storage.

    Errors are :class:`OSError`. In a storage a file is whole or is not there.
    """

    where: str
    """The path, as it was typed, or the URL."""
    filesystem: FileSystem
    path: str
    """Path as the file system and Ray name it."""

    @classmethod
    def of(cls, location: str | Path) -> Self:
        """The folder or file of a path or a URL, of a kind that pyarrow knows, or fsspec.

        Raises:
            InputError: no such storage, or it cannot be reached.
        """
        if is_url(location):
            return cls(str(location), *_opened(str(location)))
        # Not made plain: a folder before ".." may be a link.
        return cls(str(location), LocalFileSystem(), str(Path(location).absolute()))

    @property
    def is_remote(self) -> bool:
        """True in a storage, which is slow, and which several processes may write to."""
        return is_url(self.where)

    def __str__(self) -> str:
        return self.where

    def __truediv__(self, name: str) -> Self:
        return replace(self, where=below(self.where, name), path=f"{self.path}/{name}")

    def at(self, path: str) -> Self:
        """The file or folder that the storage itself calls so."""
        scheme = f"{urlsplit(self.where).scheme}://" if self.is_remote else ""
        return replace(self, where=f"{scheme}{path}", path=path)

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.path).name

    def exists(self) -> bool:
        """True if there is a file, or any below it."""
        with self._errors():
            return bool(self.filesystem.get_file_info(self.path).type != FileType.NotFound)

    def size(self) -> int:
        """Size of a file, in bytes; 0 where there is none."""
        return self.filesystem.get_file_info(self.path).size or 0

    def read_bytes(self) -> bytes:
        """All of a file."""
        with self._errors(), self.filesystem.open_input_file(self.path) as file:
            return bytes(file.read())  # at once: a stream is read, and fetched, in pieces

    def read_text(self) -> str:
        """All of a file, as UTF-8."""
        return self.read_bytes().decode()

    def write_bytes(self, content: bytes) -> None:
        """Write a file, and the folders above it where the storage knows folders."""
        with self._errors():
            try:
                stream = self.filesystem.open_output_stream(self.path)
            except FileNotFoundError:
                self.filesystem.create_dir(str(PurePosixPath(self.path).parent), recursive=True)
                stream = self.filesystem.open_output_stream(self.path)
            with stream:
                stream.write(content)

    def iterdir(self) -> Iterator[Self]:
        """Entries directly below; none, where there is nothing."""
        for info in self._infos():
            yield self / info.base_name

    def files(self, without: Sequence[str] = ()) -> Iterator[Self]:
        """All files of a study or a sweep but those that the workers keep, and in such folders."""
        for info in self._infos():
            here = self / info.base_name
            if info.type == FileType.File:
                yield here
            elif info.base_name not in (CHECKPOINTS, FINALISTS, FORGIVENESS, *without):
                yield from here.files(without)

    def unlink(self) -> None:
        """Delete a file."""
        with self._errors():
            self.filesystem.delete_file(self.path)

    def rmtree(self) -> None:
        """Delete a folder and what is in it; what is gone already is no error."""
        with contextlib.suppress(OSError):
            self.filesystem.delete_dir(self.path)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of a disk in the words that Python has for them; pyarrow's name the path twice."""
        try:
            yield
        except OSError as error:
            # Of a folder that is read as a file, pyarrow gives no number.
            number = error.errno or (errno.EISDIR if Path(self.path).is_dir() else None)
            if self.is_remote or number is None:
                raise
            raise OSError(number, os.strerror(number), self.where) from error

    def _infos(self) -> list[pa.fs.FileInfo]:
        with self._errors():
            found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(found, key=lambda info: str(info.base_name))


def _opened(url: str) -> tuple[FileSystem, str]:
    """A client of the storage, and the path in it."""
    try:
        parts = urlsplit(url)
        others = [name for name, _ in parse_qsl(parts.query) if name not in OPTIONS]
    except ValueError as error:
        raise unusable(url, error) from error
    if parts.password or others:
        raise InputError(
            f"the storage {parts.scheme}://... must be named without a password or key, and with "
            f"no options but {', '.join(OPTIONS)}: it is written into files; put secrets where the "
            "storage's own tools look for them"
        )
    try:
        return _filesystem(url)
    except Exception as error:  # whatever a storage's own package raises
        raise unusable(url, error) from error


def check_usable(where: StoragePath) -> None:
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
        raise unusable(where.where, error) from error


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


def unusable(where: str, error: Exception) -> InputError:
    """Error for a storage that cannot be used."""
    reason = re.sub(r" \(Request ID: .*?\)", "", summary(error))
    return InputError(
        f"the storage {where!r} cannot be used: {reason}; it must be a folder, or a URL like "
        "s3://bucket/prefix of a bucket that is there, for which this machine has credentials"
    )
