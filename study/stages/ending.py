"""The end of a study's command: what is said of it, and the report."""

from study.execution.trial_runner import TrialRunner
from study.stages.confirming import finalist_rows
from study.stages.reporting import finish_report, resume_command, start_report
from study.stages.searching import Search
from study.stages.session import StudySession
from study.system.errors import StudyError


def end(session: StudySession, runner: TrialRunner, searched: Search, left: str) -> int:
    """The exit status of the command, after the report has been written.

    Args:
        session: of the study.
        runner: which is stopped.
        searched: its search.
        left: words for what is left to be done, or none.

    Raises:
        StudyError: something is left and nobody has stopped the study; or all trials, or all
            replicates, have failed, which stay recorded.
    """
    status = _conclude(session, left)
    session.mirror.push()
    if not left:
        _refuse_failures(session, searched)
    if status or not searched.done:
        return status
    report = start_report(session.config.location.where)
    runner.stop()  # while it is drawn
    return finish_report(report, session.config.location.where)


def _conclude(session: StudySession, left: str) -> int:
    """The exit status, after what is left is said, or the record says that nothing is."""
    config, again = session.config, f"resume with: {resume_command(session.config.location)}"
    if left and session.interrupt.count:
        print(f"interrupted; {again}")
        return 130
    if left and not session.interrupt.stopping:
        raise StudyError(f"the study ended {left}; {again}")
    if left:
        print(f"the time budget of {config.invocation.time_budget} ended {left}; {again}")
    else:
        session.record.end()
        session.record.save(config.location.folder)
    return 0


def _refuse_failures(session: StudySession, searched: Search) -> None:
    trials = [(history.status, history.error) for _, history in searched.finished]
    rows = finalist_rows(session.config.location.folder, session.record.metric)
    replicates = [(row["status"], row["error"]) for row in rows]
    for kind, found, again in (
        ("trials", trials, "begin another study, by another --name"),
        ("replicates", replicates, "add fresh seeds by study.confirm"),
    ):
        if found and all(status == "failed" for status, _ in found):
            raise StudyError(
                f"all {len(found)} {kind} failed, the last with: {found[-1][1]}; mend that, "
                f"and {again}"
            )
