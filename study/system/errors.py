"""The ways a study ends that are nobody's bug; each is printed as one line, no traceback."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within your quota",
    errno.EACCES: "mend its rights",
    errno.EPERM: "mend its rights",
    errno.EROFS: "choose a place that may be written",
    errno.ENOTDIR: "choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close some of the files that are open on this machine",
    errno.EAGAIN: "raise the limit on processes (ulimit -u)",
    errno.ENOMEM: "free some memory",
}


class InputError(Exception):
    """A value that the user gave cannot be used: the value, the rule, what to do. Exit status 2."""


class ChangedTaskError(InputError):
    """A task does not train on what its study began with: the part that differs."""


class StudyError(Exception):
    """The study cannot go on: why, and what to type next. Exit status 1."""


class CutShortError(StudyError):
    """The trials ended before their time; with the command to type next, it is a StudyError."""


def summary(error: BaseException) -> str:
    """An error's kind and the last line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Code of the user's runs in here; whatever it raises is one line that begins with ``what``.

    Raises:
        InputError: that line, if it is no error in one line already.
    """
    try:
        yield
    except (InputError, StudyError):
        raise
    except Exception as error:
        raise InputError(f"{what} raised {summary(error)}") from error


def failed(error: OSError, otherwise: object = "") -> str:
    """Text that says which file failed, how, and what mends it.

    ``otherwise``: what is named where the error names no file.
    """
    file = error.filename if error.filename is not None else otherwise
    named = f"{str(file)!r}: " if file != "" else ""
    return f"{named}{error.strerror or summary(error)}; {remedy(error.errno)}"


def remedy(number: int | None) -> str:
    """Remedy for an error of the operating system."""
    return _REMEDIES.get(number or 0, "mend that")
