"""Files that are either whole or not there, and the folders that are the user's on a machine."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock, SoftFileLock

from study.errors import InputError

# Where nobody may look, the questions of Path raise, and those of os.path answer: nothing is there.

NAME = "lr-schedule-study"
UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)
"""What a file system says that does not know locks, or how to sync."""
HELD = ".held"
"""The end of the name of a file that stands for a lock."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed over it when the block ends without an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with contextlib.suppress(OSError):  # mkstemp's files are for their owner alone, and may be
            temporary.chmod(0o644)
        with temporary.open("r+b") as file, where_known():
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def where_known() -> Iterator[None]:
    """Take it that a file system does not know what the block asks of it."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise


@contextlib.contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Alone with what a file stands for; the kernel frees the lock when its holder dies.

    Where the file system knows no locks, a file beside it is one while it is there. It names its
    holder, and is not heeded when that is a process of this machine that has died.

    Args:
        path: made if need be.
        timeout: seconds to wait; by default, as long as it takes.

    Raises:
        filelock.Timeout: another process is there.
    """
    lock = FileLock(path, timeout=timeout)
    with where_known():
        lock.acquire()
    if lock.is_locked:
        try:
            yield
        finally:
            lock.release()
    else:
        with SoftFileLock(path.with_name(f"{path.name}{HELD}"), timeout=timeout):
            yield


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no crash, ever sees half of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def cache_folder() -> Path:
    """The user's, for what can be fetched again; where nothing may be kept at home, a private one.

    Raises:
        InputError: that one is another user's.
        OSError: that one cannot be made.
    """
    with contextlib.suppress(RuntimeError):  # nobody knows where the user is at home
        folder = platformdirs.user_cache_path(NAME)
        if folder.is_absolute() and (os.path.isdir(folder) or may_be_made(folder)):  # noqa: PTH112
            return folder
    return private_folder()


def private_folder(parent: Path | None = None) -> Path:
    """The user's own on this machine, made if need be.

    Args:
        parent: where it is. Default: the folder for temporary files.

    Raises:
        InputError: it is another user's.
        OSError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    if not hasattr(os, "getuid"):  # on Windows, where the temporary folder is the user's own
        folder = parent / NAME
        folder.mkdir(exist_ok=True)
        return folder
    folder = parent / f"{NAME}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise InputError(f"{str(folder)!r} is another user's; delete it, or set TMPDIR")
    return folder


def may_be_made(folder: Path) -> bool:
    """True if the user may make a folder, or write into the one that is there."""
    there = next(one for one in (folder, *folder.parents) if os.path.exists(one))  # noqa: PTH110
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def settle_home() -> None:
    """Give packages that insist on a home a private one, where the user has none.

    Raises:
        InputError: that is another user's.
        OSError: that cannot be made.
    """
    if not os.path.isdir(os.path.expanduser("~")):  # noqa: PTH111, PTH112
        os.environ["HOME"] = str(private_folder())
