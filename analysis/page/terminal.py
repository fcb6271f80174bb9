"""Shared by the commands that make pages: names, the lines that they print, and their end.

Nothing here draws, so that ``--help`` need not wait for what does.
"""

import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from analysis.page.words import BLOCKS
from analysis.scale import MINUS
from study.system.command_line import exit_status

COMMAND = "python -m analysis.report"
REPORT = "report"
"""Folder of a study's report, beside its tables."""
Style = Literal["screen", "paper"]
PLAINER = str.maketrans(f"{MINUS}{BLOCKS}", "-_.,:-=+#")
"""Letters for terminals that know ASCII alone."""


def typed(command: str, *arguments: object) -> str:
    """A command as it is typed."""
    return " ".join([command, *(shlex.quote(str(one)) for one in arguments)])


def tell(lines: Sequence[str], kind: str, page: str | Path) -> None:
    """Print what a page says, and where it is."""
    for line in (*lines, f"{kind}: {page}"):
        print(_printable(line))


def _printable(line: str) -> str:
    """The line with plainer letters where a terminal has no others."""
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return line.translate(PLAINER)
    return line


def run_and_exit(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run the command that draws, and exit."""
    os.environ["MPLBACKEND"] = "agg"  # no window is opened, whatever a notebook has set
    gc.disable()  # a figure is a web of objects: to look for garbage in it took a fifth of the time
    os._exit(exit_status(main))  # all is written: to take all apart took another second
