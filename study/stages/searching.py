"""The search of a study: its trials, those that there are and those to come."""

from contextlib import ExitStack

from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.loggers import TrialLogger
from study.results.writer import ResultTables
from study.search.early_stopping import EarlyStopping
from study.search.interfaces import FinishedTrial
from study.search.journal_file import refuse_trials_without_description
from study.search.optuna_trials import OptunaTrials, optuna_store
from study.search.trial_plan import Plan
from study.stages.beginning import Prepared
from study.stages.display import Display, Workload
from study.stages.recovery import finished_before, what_was_found
from study.stages.reporting import plan_line
from study.stages.session import StudySession
from study.storage.checkpoint_store import CheckpointStore
from study.storage.storage_path import CHECKPOINTS
from study.tasks.check_data import load_for_search
from study.tasks.data import SearchData, TrialData


def search(session: StudySession, prepared: Prepared, runner: TrialRunner) -> "Search":
    """The search of a study, all of it, or as far as an interruption let it come.

    Raises:
        InputError: what an earlier process has left, or a logger, cannot be used.
        StudyError: the study cannot go on.
    """
    opened = Search(session)
    opened.begin()
    opened.run(runner, prepared.data)
    return opened


def look(session: StudySession) -> int:
    """The exit status of a dry run, which says what would be done.

    Raises:
        InputError: what an earlier process has left cannot be used.
    """
    if session.resumed:
        with session.alone():
            Search(session)
    else:
        refuse_trials_without_description(session.config.location.folder)
        print(plan_line(session.config, session.space, session.record))
    return 0


class Search:
    """The trials of a study, opened; says what was found of them and what is about to be done.

    Args:
        session: whose folder is locked.

    Raises:
        InputError: what an earlier process has left cannot be used.
    """

    def __init__(self, session: StudySession) -> None:
        self._session, config, record = session, session.config, session.record
        plan = Plan(session.space, config.search.allocation, config.search.sampler)
        store = optuna_store(config.location, record.optuna_study)
        resuming = bool(config.invocation.resume)
        self._trials = OptunaTrials(store, plan, record.metric, config.search.seed, resuming)
        self._checkpoints = CheckpointStore(session.where / CHECKPOINTS)
        before = list(finished_before(config, self._trials, self._checkpoints))
        self._tables = ResultTables(
            config.location.folder, session.space, record.metric, before, session.mirror.push
        )
        if resuming:
            for line in what_was_found(config, self._trials, before, self._checkpoints):
                session.console.print(line)
        session.console.print(plan_line(config, session.space, record, done=len(before)))

    def begin(self) -> None:
        """Queue the proposals of a replayed study, make the loggers, and write study.json.

        Raises:
            InputError: a logger cannot be used.
        """
        self._trials.replay(self._session.proposals)
        self._loggers = self._made_loggers()
        self._session.save()

    def run(self, runner: TrialRunner, data: SearchData) -> None:
        """Run what is left of the trials, until they are done or interrupted."""
        session, config, tables = self._session, self._session.config, self._tables
        total, epochs = config.search.num_trials, config.training.epochs
        workload = Workload(total, epochs, tables.finished)
        display = Display(workload, session.record.metric, session.console)
        with display, ExitStack() as stack:
            trials = TrialSet(
                source=self._trials,
                total=total,
                checkpoints=self._checkpoints,
                data=TrialData(data),
                load=load_for_search,
                observers=[tables, display, *map(stack.enter_context, self._loggers)],
                mirror=session.mirror,
                early_stopping=self._early_stopping(),
            )
            try:
                runner.run(trials)
            finally:
                tables.write()
        if self.done:
            session.console.print(f"best: {display.best()}")

    @property
    def finished(self) -> list[FinishedTrial]:
        """The trials that have ended, with what they came to."""
        return self._tables.finished

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return self._trials.finished_count

    @property
    def left(self) -> str:
        """Words for what is left of the search, or none."""
        total = self._session.config.search.num_trials
        return f"after {self.done} of {total} trials" if self.done < total else ""

    def _early_stopping(self) -> EarlyStopping | None:
        config = self._session.config
        if config.search.trial_scheduler == "fifo":
            return None
        return EarlyStopping(self._trials, config.training.epochs, config.search.seed)

    def _made_loggers(self) -> list[TrialLogger]:
        config, record = self._session.config, self._session.record
        if config.machine.logger == "none" or record.is_searched:
            return []
        return [TrialLogger(config, record.began, record.metric.name)]
