"""One study at several budgets: ``python -m study.sweep --epochs 1,2,4,8``."""

import shlex
import sys
from collections.abc import Sequence

from study.results.study_record import STUDY_JSON, StudyRecord
from study.settings.study_config import StudyConfig
from study.stages.reporting import finish_report, start_report
from study.stages.resuming import begun_config, refuse_differences
from study.storage.storage_path import StoragePath, check_usable
from study.system.command_line import exit_status, parse
from study.system.errors import InputError

COMMAND = "python -m study.sweep"
FLAG = "--epochs"
DEFAULT = "1,2,4,8"


def main(arguments: Sequence[str]) -> int:
    """Run a study for each number of epochs, into ``<out>/<name>/epochs-<number>``.

    All other flags are those of study.run. With the name of a sweep that is there already, it
    resumes what is left of it.

    Raises:
        InputError: something that was typed cannot be.
        StudyError: a study cannot go on.
    """
    budgets, flags = _budgets(arguments)
    if "--help" in flags:
        print(f"{FLAG} takes several numbers here, like {DEFAULT}; all else is as in study.run.\n")
    config = parse(StudyConfig, COMMAND, flags)
    for flag in ("resume", "replay"):
        if getattr(config.invocation, flag):
            raise InputError(f"--{flag} is of one study; a sweep resumes by its --name")
    config = config.but(out=config.location.out.resolve())
    if config.location.storage:
        check_usable(StoragePath.of(config.location.storage))
    if (config.location.open() / STUDY_JSON).exists():
        raise InputError(f"{config.location.where!r} holds one study; choose another --name")
    for epochs in budgets:
        print(f"budget: {epochs} epochs")
        status = _run_at(epochs, config)
        if status or not (config.invocation.dry_run or _has_ended(epochs, config)):
            names = [] if "--name" in flags else ["--name", config.location.name]
            print(f"resume all of it by: {COMMAND} {shlex.join([*arguments, *names])}")
            return status
    where = config.location.where
    return 0 if config.invocation.dry_run else finish_report(start_report(where), where)


def _run_at(epochs: int, config: StudyConfig) -> int:
    """Run the study of one budget, or what is left of it; returns its exit status."""
    # Here, not above: torch takes seconds to import, and bad input should not wait for it.
    from study.stages.study import carry_out

    # In a database, where all sweeps may be.
    optuna_study = f"{config.location.name}/epochs-{epochs}"
    config = _budget(config, epochs)
    if not (config.location.open() / STUDY_JSON).exists():
        return carry_out(config, None, optuna_study)
    record = StudyRecord.load(config.location.where)
    config = config.but(resume=config.location.where)
    refuse_differences(config, begun_config(record, config.location.where))
    return 0 if record.phase == "ended" else carry_out(config, record)


def _has_ended(epochs: int, config: StudyConfig) -> bool:
    """Not if a time budget has stopped it: the budgets to come would begin with a new one."""
    return StudyRecord.load(_budget(config, epochs).location.where).phase == "ended"


def _budget(config: StudyConfig, epochs: int) -> StudyConfig:
    """The study of one budget, within the sweep."""
    location = config.location
    within = {"storage": location.where} if location.storage else {"out": location.folder}
    return config.but(epochs=epochs, name=f"epochs-{epochs}", **within)


def _budgets(arguments: Sequence[str]) -> tuple[list[int], list[str]]:
    """The numbers of epochs, ascending, and all other arguments."""
    rest, text = [part for one in arguments for part in _split(one)], DEFAULT
    if rest.count(FLAG) > 1:
        raise InputError(f"{FLAG} must be given once, like {DEFAULT}")
    if FLAG in rest:
        index = rest.index(FLAG)
        text = "".join(rest[index + 1 : index + 2])
        rest = rest[:index] + rest[index + 2 :]
    try:
        budgets = sorted({int(part) for part in text.split(",")})
    except ValueError:
        budgets = [0]
    if budgets[0] < 1:
        raise InputError(
            f"{FLAG} must be whole numbers of at least 1, like {DEFAULT}, not {text!r}"
        )
    return budgets, rest


def _split(argument: str) -> list[str]:
    """``--epochs=1,2`` as two."""
    return argument.split("=", 1) if argument.startswith(f"{FLAG}=") else [argument]


if __name__ == "__main__":
    sys.exit(exit_status(main))
