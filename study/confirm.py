"""Finalists again on fresh seeds: ``python -m study.confirm results/NAME``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from study.results.reader import read_tables
from study.settings.study_options import ConfirmOptions
from study.settings.values import at_least
from study.stages.reporting import CONFIRM
from study.stages.resuming import searched_study
from study.storage.mirror import local_copy
from study.system.command_line import Location, exit_status, parse
from study.system.errors import InputError


@dataclass(frozen=True)
class ConfirmConfig:
    """Train the finalists of a finished study on more fresh seeds, and write the report again."""

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME, or its URL."""
    replicates: int = ConfirmOptions.replicates
    """Fresh seeds for each finalist, beside those that there are."""
    address: str | None = None
    """Ray cluster to train on: local or auto. Default: as the study did."""


def main(arguments: Sequence[str]) -> int:
    """Add replicates to a finished study, or resume those that were interrupted.

    Raises:
        InputError: no such study, or its search has not ended.
    """
    asked = parse(ConfirmConfig, CONFIRM, arguments)
    at_least("replicates", asked.replicates, 1)
    record, config = searched_study(
        asked.folder, "and nothing may be searched any more once the test split is open"
    )
    with local_copy(asked.folder) as folder:
        if "completed" not in read_tables(folder).trials["status"].to_pylist():
            raise InputError(f"{asked.folder!r} has no completed trial to train again")
    config = config.but(
        finalists=config.confirm.finalists or ConfirmOptions.finalists,
        resume=asked.folder,
        address=asked.address or config.machine.address,
    )
    # Here, not above: torch takes seconds to import, and bad input should not wait for it.
    from study.stages.study import carry_out

    return carry_out(config, record, more_replicates=asked.replicates)


if __name__ == "__main__":
    sys.exit(exit_status(main))
