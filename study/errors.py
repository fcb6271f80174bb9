"""The ways a study ends that are nobody's bug; each is printed as one line, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """What the user gave cannot be used: the value, the rule, what to do. Exit status 2."""


class ChangedTaskError(InputError):
    """A task does not train on what its study began with: the part that differs."""


class StudyError(Exception):
    """The study cannot go on: why, and what to type next. Exit status 1."""


def said(error: BaseException) -> str:
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
        raise InputError(f"{what} raised {said(error)}") from error
