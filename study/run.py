"""The command line: ``python -m study.run``."""

import sys
from collections.abc import Sequence

from study.stages import resuming
from study.system.command_line import exit_status


def main(arguments: Sequence[str]) -> int:
    """Run or resume a study; returns the exit status.

    Raises:
        InputError: something that was typed cannot be.
        StudyError: the study cannot go on.
    """
    parsed = resuming.parse(arguments)
    # Here, not above: torch takes seconds to import, and bad input should not wait for it.
    from study.stages.study import carry_out

    return carry_out(*parsed)


if __name__ == "__main__":
    sys.exit(exit_status(main))
