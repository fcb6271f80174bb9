"""Finalists again on fresh seeds: ``python -m study.confirm results/NAME``."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import tyro

from study.results.reader import read_tables
from study.results.study_json import is_searched, read_study_json
from study.results.study_record import stored_config
from study.settings.study_config import StudyConfig
from study.stages.confirming import ASKED, COMMAND, DEFAULT_FINALISTS
from study.stages.study import carry_out
from study.storage.mirror import local_copy
from study.storage.storage_path import place
from study.system.command_line import Location, exit_status, parse
from study.system.errors import InputError


@dataclass(frozen=True)
class ConfirmConfig:
    """Train the finalists of a finished study on more fresh seeds, and write the report again."""

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME, or its URL."""
    replicates: int = StudyConfig.replicates
    """Fresh seeds for each finalist, beside those that there are."""
    address: str | None = None
    """Ray cluster to train on: local or auto. Default: as the study did."""


def main(arguments: Sequence[str]) -> int:
    """Add replicates to a finished study, or go on with those that were interrupted.

    Raises:
        InputError: no such study, or its search has not ended.
    """
    asked = parse(ConfirmConfig, COMMAND, arguments)
    if asked.replicates < 1:
        raise InputError(f"--replicates must be at least 1, not {asked.replicates}")
    description = read_study_json(place(asked.folder))
    config = stored_config(asked.folder, description)
    if not is_searched(description):
        raise InputError(
            f"the search of {asked.folder!r} has not ended, and nothing may be searched any "
            f"more once the test split is open; go on with it by: python -m study.run --resume "
            f"{shlex.quote(asked.folder)}"
        )
    with local_copy(asked.folder) as folder:
        if "completed" not in read_tables(folder).trials["status"].to_pylist():
            raise InputError(f"{asked.folder!r} has no completed trial to train again")
    config = replace(
        config,
        finalists=config.finalists or DEFAULT_FINALISTS,
        resume=asked.folder,
        address=asked.address or config.address,
    )
    description[ASKED] = asked.replicates
    return carry_out(config, description)


if __name__ == "__main__":
    sys.exit(exit_status(main))
