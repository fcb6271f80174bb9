"""The cost of a badly chosen peak rate: ``python -m study.forgiveness results/NAME``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from study.stages.reporting import FORGIVE
from study.stages.resuming import searched_study
from study.system.command_line import Location, exit_status, parse


@dataclass(frozen=True)
class ForgivenessConfig:
    """Measure what a badly chosen peak rate costs, and write the report again.

    The winner and the best constant rate are trained again at a quarter, half, one, two and four
    times their own peak rates, all else equal, under three fresh seeds each: 30 runs at most,
    measured on the validation split. What was interrupted resumes by the same command.
    """

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME, or its URL."""
    address: str | None = None
    """Ray cluster to train on: local or auto. Default: as the study did."""


def main(arguments: Sequence[str]) -> int:
    """Measure it of a study whose search has ended, or resume what was interrupted.

    Raises:
        InputError: no such study, or its search has not ended.
    """
    asked = parse(ForgivenessConfig, FORGIVE, arguments)
    record, config = searched_study(asked.folder, "so that there is no best trial to measure")
    address = asked.address or config.machine.address
    # Here, not above: torch takes seconds to import, and bad input should not wait for it.
    from study.stages.forgiving import measure

    return measure(config.but(resume=asked.folder, address=address), record)


if __name__ == "__main__":
    sys.exit(exit_status(main))
