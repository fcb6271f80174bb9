"""Shared by every command: flags from a typed signature, errors in one line."""

import contextlib
import errno
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

import study
from study.system.errors import InputError, StudyError, failed, remedy

T = TypeVar("T")
called_as = ""
"""Name of the running command where it has another than its module's: ``lr-study run``."""
BROKEN_PIPE = 128 + 13
"""The exit status of what SIGPIPE has ended, by which Unix tools end when nobody reads on."""


def expanded(text: str) -> str:
    """A path with a leading ``~``, which no shell has expanded behind ``=``, as a home.

    Raises:
        InputError: nobody knows whose home that is.
    """
    path = os.path.expanduser(text)  # noqa: PTH111  # a URL would lose a slash as a Path
    if path.startswith("~"):
        raise InputError(
            f"{text!r} is in a home that is not known here; give the whole path, or ./{text} for "
            "what is called so"
        )
    return path


Location = Annotated[
    str,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="STR",
        instance_from_str=lambda words: expanded(words[0]),
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    ),
]
"""On a command line: a path, a URL, or what begins with one."""
Folder = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: Path(expanded(words[0])),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""On a command line: a path."""


def parse(
    target: Callable[..., T],
    command: str,
    arguments: Sequence[str],
    default: Any = tyro.MISSING_NONPROP,
) -> T:
    """The configuration that ``tyro.cli`` reads, with its box of several lines folded into one.

    Raises:
        InputError: a flag that does not exist, or a value of the wrong kind.
        SystemExit: after ``--help``.
    """
    command = called_as or command
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                target,
                prog=command,
                args=arguments,
                default=default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise InputError(f"{_folded(printed.getvalue())} (see {command} --help)") from stop


def exit_status(main: Callable[[Sequence[str]], int]) -> int:
    """Run a command; the errors that are nobody's bug become one line, and status 1 or 2."""
    _prepare()
    try:
        try:
            return main(sys.argv[1:])
        finally:
            if sys.stdout:
                sys.stdout.flush()  # here, where an error of it can be answered
    except InputError as error:
        return _complain(error, 2)
    except StudyError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        return _answer(error)
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        return _complain(StudyError(f"{error}; {remedy(errno.EAGAIN)}"), 1)


def _prepare() -> None:
    if signal.getsignal(signal.SIGINT) is study.leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")


def _answer(error: OSError) -> int:
    """The exit status after an error of a file that nobody was more precise about."""
    unread = [stream for stream in (sys.stdout, sys.stderr) if stream and _is_unread(stream)]
    for stream in unread:  # at the end, Python would write what it still holds
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if unread and isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    return _complain(StudyError(failed(error)), 1)


def _is_unread(stream: TextIO) -> bool:
    """True if a stream is a pipe at whose other end nobody is any more."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    poll.register(stream, 0)
    return bool(poll.poll(0))


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
