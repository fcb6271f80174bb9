"""Trying it: training, the search, checkpoints and the result tables. `python -m study.run`.

A command that is interrupted while its packages are imported, which takes seconds, says so in a
line; Python would show where in them it was.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

COMMANDS = ("study", "analysis", "reproductions", "benchmarks")


def leave(signum: int, frame: FrameType | None) -> None:
    """End a process that has done nothing yet."""
    os.write(2, b"interrupted\n")
    os._exit(130)


# So python -m calls a module that it still imports.
_BY_MODULE = (
    sys.argv[:1] == ["-m"]
    and sys.orig_argv[-len(sys.argv)].removeprefix("-m").split(".")[0] in COMMANDS
)
if (_BY_MODULE or Path((sys.argv or [""])[0]).stem == "lr-study") and signal.getsignal(
    signal.SIGINT
) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave)
