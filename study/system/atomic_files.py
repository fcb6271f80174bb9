"""Files that are either whole or not there, and locks on them."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, SoftFileLock

UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)
"""Errors of a file system that does not know locks, or how to sync."""
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
