"""The search of a study: its trials, those that there are and those to come."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from search_spaces import SearchSpace
from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.loggers import TrialLogger
from study.results.study_json import is_searched
from study.results.writer import ResultTables
from study.search.optuna_trials import OptunaTrials, records_of
from study.search.trial_plan import Plan
from study.stages.display import Display, Workload
from study.stages.recovery import finished_before, what_was_found
from study.stages.reporting import plan_line
from study.stages.session import StudySession
from study.storage.storage_path import CHECKPOINTS
from study.tasks.check_data import load_for_search
from study.tasks.task import SearchData, TrialData


class Search:
    """The trials of a study, opened; says what was found of them and what is about to be done.

    Args:
        session: whose folder is locked.
        space: the search space.

    Raises:
        InputError: what an earlier process has left cannot be used.
    """

    def __init__(self, session: StudySession, space: SearchSpace) -> None:
        self._session, config, record = session, session.config, session.record
        plan = Plan(space, config.allocation, config.sampler)
        records = records_of(config, record.get("optuna_study"))
        resuming = bool(config.resume)
        self._trials = OptunaTrials(records, plan, session.ranking, config.seed, resuming)
        before = list(finished_before(config, self._trials))
        self.tables = ResultTables(
            config.folder, space, session.ranking, before, session.mirror.push
        )
        if resuming:
            for line in what_was_found(config, self._trials, before):
                session.console.print(line)
        session.console.print(plan_line(config, space, record, done=len(before)))

    def begin(self, proposals: Sequence[Mapping[str, Any]]) -> None:
        """Have these proposed first, make the loggers, and write study.json.

        Raises:
            InputError: a logger cannot be used.
        """
        self._trials.replay(proposals)
        self._loggers = self._made_loggers()
        self._session.save()

    def run(self, runner: TrialRunner, data: SearchData) -> None:
        """Run what is left of the trials, until they are done or interrupted."""
        session, config, tables = self._session, self._session.config, self.tables
        workload = Workload(config.num_trials, config.epochs, len(tables.finished), tables.best())
        display = Display(workload, session.ranking, session.console)
        with display, ExitStack() as stack:
            trials = TrialSet(
                source=self._trials,
                total=config.num_trials,
                checkpoints=config.place / CHECKPOINTS,
                data=TrialData(data),
                load=load_for_search,
                observers=[tables, display, *map(stack.enter_context, self._loggers)],
                mirror=session.mirror,
                condemning=None if config.trial_scheduler == "fifo" else self._trials,
            )
            try:
                runner.run(trials)
            finally:
                tables.write()
        if self.done:
            session.console.print(f"best: {display.best()}")

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return self._trials.finished_count

    @property
    def left(self) -> str:
        """Words for what is left of the search, or none."""
        total = self._session.config.num_trials
        return f"after {self.done} of {total} trials" if self.done < total else ""

    def _made_loggers(self) -> list[TrialLogger]:
        config, record = self._session.config, self._session.record
        if config.logger == "none" or is_searched(record):
            return []
        return [TrialLogger(config, record["began"], record["metric"]["name"])]
