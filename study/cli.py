"""What every command of the project shares: flags from a typed signature, errors in one line."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from study.errors import InputError, StudyError

T = TypeVar("T")


def parse(
    target: Callable[..., T],
    command: str,
    arguments: Sequence[str],
    default: Any = tyro.MISSING_NONPROP,
) -> T:
    """What ``tyro.cli`` makes of the arguments, with its box of several lines folded into one.

    Raises:
        InputError: a flag that does not exist, or a value of the wrong kind.
        SystemExit: after ``--help``.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                target,
                prog=command,
                args=arguments,
                default=default,
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise InputError(f"{_folded(printed.getvalue())} (see {command} --help)") from stop


def exit_status(main: Callable[[Sequence[str]], int]) -> int:
    """Run a command; the errors that are nobody's bug become one line, and status 1 or 2."""
    try:
        return main(sys.argv[1:])
    except InputError as error:
        return _complain(error, 2)
    except StudyError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _complain(error: Exception, status: int) -> int:
    # A URL may be repeated that came where none was looked for: behind a flag with a typo, say.
    line = re.sub(r"(://[^\s/:@]*:)\S+@", r"\1***@", " ".join(str(error).split()))
    print(f"error: {line}", file=sys.stderr)
    return status


def _folded(box: str) -> str:
    """The first section of tyro's box in one line, and the option that it holds for meant."""
    lines = [line.strip("│ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:-1]]
    sections = " ".join(lines).split("──")
    message = sections[0].strip()
    for reason, rule in (
        (r"invalid literal for int\(\) with base 10:", "must be a whole number, not"),
        (r"could not convert string to float:", "must be a number, not"),
        (r"no type matching (\S+) could be instantiated from \[(.*?)\].*", r"must be \1, not \2"),
    ):
        message = re.sub(reason, rule, message)
    meant = re.search(r"Perhaps you meant: +(--[\w-]+)", " ".join(lines))
    return f"{message}; did you mean {meant[1]}?" if meant else message
