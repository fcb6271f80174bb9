"""A study from its beginning to its report."""

from study.results.study_record import StudyRecord
from study.settings.study_config import StudyConfig
from study.stages.preparation import prepare, rehearse
from study.stages.reporting import resume_command
from study.stages.session import StudySession


def carry_out(
    config: StudyConfig,
    before: StudyRecord | None = None,
    optuna_study: str | None = None,
    more_replicates: int = 0,
) -> int:
    """Run or resume a study; returns the exit status.

    Args:
        config: as it was typed.
        before: the record of the study that is resumed or replayed.
        optuna_study: the name of a new one in a database, where others may have the folder's.
        more_replicates: fresh seeds to add for each finalist.

    Raises:
        InputError: the task, its data or the study's folder cannot be used.
        StudyError: the study cannot go on.
    """
    with StudySession.open(config, before, more_replicates) as session:
        prepared = prepare(session, optuna_study)  # task, data, space: what needs no Ray
        # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
        from study.execution.trial_runner import TrialRunner
        from study.stages.confirming import confirm
        from study.stages.ending import end
        from study.stages.searching import look, search

        again = resume_command(session.config.location)
        with TrialRunner(session.config, prepared.source, session.interrupt, again) as runner:
            rehearse(session, prepared, runner)  # while Ray starts
            if session.config.invocation.dry_run:
                return look(session)
            with session.alone():  # with the folder, its lock and its storage
                with session.interrupt.listening():
                    searched = search(session, prepared, runner)
                    # Opens the test split; nothing else does.
                    left = searched.left or confirm(session, prepared, searched.finished, runner)
                return end(session, runner, searched, left)
