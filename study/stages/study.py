"""A study from its beginning to its report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from study.results.study_json import write_study_json
from study.search.journal_file import refuse_trials_without_description
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.stages.preparation import Prepared, prepare, rehearse, to_replay
from study.stages.reporting import finish_report, plan_line, resume_command, start_report
from study.stages.session import StudySession, catch_up, locked_folder
from study.storage.mirror import reported_as
from study.system.errors import StudyError
from study.system.hardware import now
from study.system.interrupt import Interrupt
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
    config, prepared = prepare(typed, config, before, optuna_study)
    # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
    from study.execution.trial_runner import TrialRunner

    runs = not (config.dry_run or prepared.record["ended"])
    interrupt = Interrupt(config.budget_seconds())
    with TrialRunner(config, prepared.source, interrupt, resume_command(config)) as runner:
        if runs:
            runner.start()  # while optimizers are made, for which torch imports a good deal
        rehearse(config, prepared)
        if runs and config.address != "local":
            config = runner.join()
        proposals = to_replay(config, before, prepared.space)[: config.num_trials]
        if config.dry_run and not config.resume:
            refuse_trials_without_description(config.folder)
            print(plan_line(config, prepared.space, prepared.record))
            return 0
        session = StudySession(config, prepared.record, interrupt)
        with locked_folder(config):
            session.mirror.pull(to_write=not config.dry_run)
            return _run(session, prepared, runner, proposals)


def _run(
    session: StudySession,
    prepared: Prepared,
    runner: "TrialRunner",
    proposals: Sequence[Mapping[str, Any]],
) -> int:
    from study.stages.confirming import Confirmation, add_replicates, outcomes  # which imports Ray
    from study.stages.searching import Search

    config, record = session.config, session.record
    catch_up(config, record)
    add_replicates(record)
    search = Search(session, prepared.space)
    if config.dry_run:
        return 0
    search.begin(proposals)
    with session.interrupt.listening():
        search.run(runner, prepared.data)
        left = search.left
        if not left:
            record["searched"] = record.get("searched") or now()
            confirmation = Confirmation(session, search.tables.finished)
            if confirmation.left and not session.interrupt.stopping:
                confirmation.run(prepared, runner)
            left = f"with {confirmation.left} replicates left" if confirmation.left else ""
    status = _ended(session, left)
    session.mirror.push()
    _refuse_failures(left, search.tables.finished, outcomes(config.folder, session.ranking))
    if status or not search.done:
        return status
    report = start_report(config.location)
    runner.stop()  # while it is drawn
    return finish_report(report, config.location)


def _ended(session: StudySession, left: str) -> int:
    """Say how it ended; returns the exit status.

    Raises:
        StudyError: it has not, and nobody has stopped it.
    """
    config, record = session.config, session.record
    again = f"go on with: {resume_command(config)}"
    if left and session.interrupt.count:
        print(f"interrupted; {again}")
        return 130
    if left and not session.interrupt.stopping:
        raise StudyError(f"the study ended {left}; {again}")
    if left:
        print(f"the time budget of {config.time_budget} ended {left}; {again}")
    else:
        write_study_json(config.folder, {**record, "ended": record["ended"] or now()})
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
