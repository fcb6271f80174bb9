"""A study in a browser: ``python -m study.dashboard results/NAME``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import tyro

from study.results.study_record import STUDY_JSON, StudyRecord
from study.settings.values import at_least
from study.stages.resuming import begun_config
from study.storage.urls import is_url
from study.system.command_line import Location, exit_status, parse
from study.system.errors import InputError, StudyError, failed

COMMAND = "python -m study.dashboard"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class DashboardConfig:
    """Show a study, which may still run, in optuna-dashboard, to this machine alone.

    Looking changes nothing; what you edit or delete there, you do to the study itself.
    """

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME."""
    port: int = 8080
    """Port to serve it at."""


def main(arguments: Sequence[str]) -> int:
    """Serve it until Ctrl-C.

    Raises:
        InputError: no such study, or the package is missing.
        StudyError: the port is taken.
    """
    config = parse(DashboardConfig, COMMAND, arguments)
    at_least("port", config.port, 1)
    if is_url(config.folder):
        raise InputError(f"{config.folder!r} is a URL; the dashboard shows a study of a folder")
    _check_there(Path(config.folder))
    record = StudyRecord.load(config.folder)
    if find_spec("optuna_dashboard") is None:
        raise InputError(
            "the dashboard needs the package optuna-dashboard, which is not installed; install it "
            "by: pip install -e '.[dashboard]'"
        )
    # Here, not above: they take seconds to import, and bad input should not wait for them.
    from optuna_dashboard import run_server

    from study.search.journal_file import load_study
    from study.search.optuna_trials import optuna_store

    location = begun_config(record, config.folder).location
    study = load_study(optuna_store(location, record.optuna_study))
    try:
        run_server(study._storage, HOST, config.port)
    except OSError as error:
        raise StudyError(f"--port {config.port} cannot be served: {failed(error)}") from error
    return 0


def _check_there(folder: Path) -> None:
    """InputError with the names of the studies beside it, if there is none."""
    if (folder / STUDY_JSON).exists():
        return
    beside = sorted(path.parent.name for path in folder.parent.glob(f"*/{STUDY_JSON}"))
    choose = f"; choose one of: {', '.join(beside)}" if beside else ""
    raise InputError(f"{str(folder)!r} is no study: it has no {STUDY_JSON}{choose}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
