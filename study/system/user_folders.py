"""Folders that are the user's on this machine."""

import contextlib
import os
import tempfile
from pathlib import Path

import platformdirs

from study.system.errors import InputError

# Where nobody may look, the questions of Path raise, and those of os.path answer: nothing is there.

NAME = "lr-schedule-study"


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
