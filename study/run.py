"""The command line: ``python -m study.run``."""

import sys
from collections.abc import Sequence

from study.stages import resuming
from study.stages.study import carry_out
from study.system.command_line import exit_status


def main(arguments: Sequence[str]) -> int:
    """Run or resume a study; returns the exit status.

    Raises:
        InputError: something that was typed cannot be.
        StudyError: the study cannot go on.
    """
    return carry_out(*resuming.parse(arguments))


if __name__ == "__main__":
    sys.exit(exit_status(main))
