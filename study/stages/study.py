"""A study from its beginning to its report."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from search_spaces import FAMILIES, SearchSpace
from study.results.loggers import TrialLogger
from study.results.study_json import is_searched, read_ranking, write_study_json
from study.results.study_record import describe, stored_space
from study.results.writer import ResultTables
from study.search.database import Database
from study.search.journal_file import refuse_trials_without_description
from study.search.optuna_trials import OptunaTrials, records_of
from study.search.proposal import Proposal
from study.search.trial_plan import Plan
from study.settings.study_config import StudyConfig
from study.stages.display import Display, Workload
from study.stages.preparation import (
    check_families,
    check_logger,
    check_room,
    to_replay,
    trial_run,
    with_gpu_share,
)
from study.stages.recovery import finished_before, what_was_found
from study.stages.reporting import finish_report, resume_command, start_report
from study.stages.session import catch_up, locked_folder
from study.storage.mirror import Mirror, reported_as
from study.storage.storage_path import CHECKPOINTS
from study.system.errors import StudyError
from study.system.hardware import now
from study.system.interrupt import Interrupt
from study.tasks.check_data import load_for_search, load_search_data
from study.tasks.task import SearchData, Task, TrialData
from study.tasks.task_source import TaskSource
from study.training.check_resume import check_resume
from study.training.check_task import check_task, refuse_other
from study.training.history import History

if TYPE_CHECKING:
    from study.execution.trial_runner import TrialRunner


def carry_out(
    config: StudyConfig, before: dict[str, Any] | None, optuna_study: str | None = None
) -> int:
    """Run a study, or go on with the one whose study.json is given; returns the exit status.

    ``optuna_study``: the name of a new one in a database, where others may have the folder's.

    Raises:
        InputError: the task, its data or the study's folder cannot be used.
        StudyError: the study cannot go on.
    """
    if not config.storage:
        return _carry_out(config, config, before, optuna_study)
    with TemporaryDirectory(prefix="lr-schedule-study-") as out:
        here = replace(config, out=Path(out))
        with reported_as(here.folder, here.location):
            return _carry_out(config, here, before, optuna_study)


def _carry_out(
    typed: StudyConfig,
    config: StudyConfig,
    before: dict[str, Any] | None,
    optuna_study: str | None,
) -> int:
    """The same; what is written into ``config.folder`` goes to the study's URL, if it has one."""
    check_logger(config, before)
    resumed = before if before and config.resume else None
    records = records_of(config, (resumed or {}).get("optuna_study", optuna_study))
    if isinstance(records, Database):
        records.check(bool(resumed), looking=config.dry_run)
    source = TaskSource.read(config.task, config.task_args)
    if before:
        source.check_unchanged(before)
    task = source.make()
    data = load_search_data(task, config.data_dir)
    horizon = check_room(config, task, data)
    torch.set_num_threads(config.cpus_per_trial)  # as in the trials, whose sums are checked here
    trace = check_task(task, data, config.batch_size, config.device_here)
    if before and "trace" in before:  # which earlier versions did not keep
        refuse_other(task, before["trace"], trace)
    source = replace(source, trace=trace)
    config = with_gpu_share(config, task, data)
    if resumed:
        description = resumed
        # What loads the test split may have been mended.
        description["task"] = {**description["task"], **source.to_json()}
    else:
        # As typed: where the study goes on, another share may be right.
        description = describe(typed, source, task, data, before)
        description["optuna_study"] = optuna_study or config.name
    # Which older studies do not say.
    description.setdefault("total_steps", horizon)
    description.setdefault("trace", trace)
    space = stored_space(description)
    # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
    from study.execution.trial_runner import TrialRunner

    interrupt = Interrupt(config.budget_seconds())
    with TrialRunner(config, source, interrupt, resume_command(config)) as runner:
        if not (config.dry_run or description["ended"]):
            runner.start()  # while optimizers are made, for which torch imports a good deal
        check_resume(task, data, trial_run(config, task), config.device_here)
        check_families(space, horizon)
        if config.address != "local" and not (config.dry_run or description["ended"]):
            config = runner.join()
        recorded = to_replay(config, before, space)
        if config.dry_run and not config.resume:
            refuse_trials_without_description(config.folder)
            print(_plan(config, space, description))
            return 0
        mirror = Mirror(config.folder, config.place)
        with locked_folder(config):
            mirror.pull(to_write=not config.dry_run)
            proposals = recorded[: config.num_trials]
            parts = (task, data, space, description, proposals, mirror)
            return _run(config, runner, interrupt, *parts)


def _loggers(config: StudyConfig, description: Mapping[str, Any]) -> list[TrialLogger]:
    """The loggers of the rest of the search."""
    if config.logger == "none" or is_searched(description):
        return []
    return [TrialLogger(config, description["began"], description["metric"]["name"])]


def _run(
    config: StudyConfig,
    runner: "TrialRunner",
    interrupt: Interrupt,
    task: Task,
    data: SearchData,
    space: SearchSpace,
    description: dict[str, Any],
    proposals: Sequence[Mapping[str, Any]],
    mirror: Mirror,
) -> int:
    from study.execution.trial_set import TrialSet
    from study.stages.confirming import Confirmation, add_replicates, outcomes  # which imports Ray

    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    ranking = read_ranking(description)
    catch_up(config, description)
    add_replicates(description)
    plan = Plan(space, config.allocation, config.sampler)
    records = records_of(config, description.get("optuna_study"))
    optuna_trials = OptunaTrials(records, plan, ranking, config.seed, bool(config.resume))
    before = list(finished_before(config, optuna_trials))
    if config.resume:
        for line in what_was_found(config, optuna_trials, before):
            console.print(line)
    console.print(_plan(config, space, description, done=len(before)))
    if config.dry_run:
        return 0
    optuna_trials.replay(proposals)
    loggers = _loggers(config, description)
    write_study_json(config.folder, description)
    mirror.push()
    tables = ResultTables(config.folder, space, ranking, before, mirror.push)
    total, checkpoints = config.num_trials, config.place / CHECKPOINTS
    display = Display(Workload(total, config.epochs, len(before), tables.best()), ranking, console)
    with interrupt.listening():
        with display, ExitStack() as stack:
            observers = [tables, display, *map(stack.enter_context, loggers)]
            try:
                trials = TrialSet(
                    source=optuna_trials,
                    total=total,
                    checkpoints=checkpoints,
                    data=TrialData(data),
                    load=load_for_search,
                    observers=observers,
                    mirror=mirror,
                    condemning=None if config.trial_scheduler == "fifo" else optuna_trials,
                )
                runner.run(trials)
            finally:
                tables.write()
        done = optuna_trials.finished_count
        left = f"after {done} of {total} trials" if done < total else ""
        if done:
            console.print(f"best: {display.best()}")
        if not left:
            description["searched"] = description.get("searched") or now()
            confirmation = Confirmation(config, ranking, description, tables.finished)
            if confirmation.left and not interrupt.stopping:
                confirmation.run(runner, task, data, interrupt, console, mirror)
            left = f"with {confirmation.left} replicates left" if confirmation.left else ""
    status = _ended(config, interrupt, left, description)
    mirror.push()
    _refuse_failures(left, tables.finished, outcomes(config.folder, ranking))
    if status or not done:
        return status
    report = start_report(config.location)
    runner.stop()  # while it is drawn
    return finish_report(report, config.location)


def _plan(
    config: StudyConfig, space: SearchSpace, description: Mapping[str, Any], done: int = 0
) -> str:
    """A line that says what is about to be done."""
    rates = [rate for one in space.families for rate in FAMILIES[one].peak_range(space.peak_lr)]
    trials = f"{config.num_trials - done} more trials" if done else f"{config.num_trials} trials"
    finalists = min(config.finalists, len(space.families))
    seeds = description.get("replicates") or config.replicates
    return (
        f"{trials} of {config.epochs} epochs on {description['task']['name']}, "
        f"{len(space.families)} schedule families, peak rates {min(rates):g} to {max(rates):g}"
        + (f", then {finalists} finalists x {seeds} seeds" if finalists else "")
        + f" -> {config.location}"
    )


def _ended(
    config: StudyConfig, interrupt: Interrupt, left: str, description: Mapping[str, Any]
) -> int:
    """Say how it ended; returns the exit status.

    Raises:
        StudyError: it has not, and nobody has stopped it.
    """
    if left and interrupt.count:
        print(f"interrupted; go on with: {resume_command(config)}")
        return 130
    if left and not interrupt.stopping:
        raise StudyError(f"the study ended {left}; go on with: {resume_command(config)}")
    if left:
        print(
            f"the time budget of {config.time_budget} ended {left}; "
            f"go on with: {resume_command(config)}"
        )
    else:
        write_study_json(config.folder, {**description, "ended": description["ended"] or now()})
    return 0


def _refuse_failures(
    left: str,
    finished: Iterable[tuple[Proposal, History]],
    replicates: Sequence[tuple[str, str]],
) -> None:
    """Nothing, unless nothing is left to be done, and all trials, or all replicates, have failed.

    Raises:
        StudyError: so it is; they stay recorded.
    """
    trials = [(history.status, history.error) for _, history in finished]
    for kind, outcomes, again in (
        ("trials", trials, "begin another study, by another --name"),
        ("replicates", replicates, "add fresh seeds by study.confirm"),
    ):
        if not left and outcomes and all(status == "failed" for status, _ in outcomes):
            raise StudyError(
                f"all {len(outcomes)} {kind} failed, the last with: {outcomes[-1][1]}; mend that, "
                f"and {again}"
            )
