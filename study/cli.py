"""What every command of the project shares: flags from a typed signature, errors in one line."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from study.errors import InputError, StudyError

T = TypeVar("T")


def parse(
    target: Callable[..., T], command: str, arguments: Sequence[str], default: T | None = None
) -> T:
    """What ``tyro.cli`` makes of the arguments, with its box of several lines folded into one.

    Raises:
        InputError: a flag that does not exist, or a value of the wrong kind.
        SystemExit: after ``--help``.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(target, prog=command, args=arguments, default=default)
    except SystemExit as stop:
        if stop.code == 0:
            raise
        box = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
        lines = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
        message = " ".join(line for line in lines if line and not line.startswith("─"))
        raise InputError(f"{message} (see {command} --help)") from stop


def exit_status(main: Callable[[Sequence[str]], int]) -> int:
    """Run a command on this process's arguments: 1 or 2, and one line, for the errors we foresee."""
    try:
        return main(sys.argv[1:])
    except InputError as error:
        return _complain(error, 2)
    except StudyError as error:
        return _complain(error, 1)


def _complain(error: Exception, status: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return status
