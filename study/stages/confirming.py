"""The finalists again, on fresh seeds, measured on the test split.

The only file that opens the test split. The best of many noisy trials looks better than it is, so
the best of each family is trained again; replicate j has the same initialisation and data order in
every family, so that families are compared in pairs.
"""

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.reader import read_finalists
from study.results.sequential import looks_of
from study.results.study_record import Finalist, names_of
from study.results.writer import FinalistTable
from study.search.interfaces import FinishedTrial, TrialObserver
from study.search.proposal import Proposal
from study.stages.beginning import Prepared
from study.stages.display import Display, Workload
from study.stages.replicates import SeedRuns, choose
from study.stages.reporting import CONFIRM, declared_line, standing_line
from study.stages.session import StudySession
from study.storage.checkpoint_store import CheckpointStore
from study.storage.storage_path import FINALISTS
from study.system.errors import InputError
from study.tasks.check_data import load_search_data, load_test_split
from study.tasks.data import Data, SearchData, TrialData
from study.tasks.ranking import Ranking
from study.tasks.task import Task
from study.training.check_task import check_test_split
from study.training.history import History


def open_test_split(task: Task, data_dir: Path, data: SearchData | None = None) -> Data:
    """The task's test split, checked, and held against ``data`` where they are given.

    Raises:
        InputError: it cannot be loaded, is empty, overlaps with the data, or holds no numbers.
        StudyError: it cannot be fetched.
    """
    return load_test_split(task, lambda: task.load_test_data(data_dir), data)


def load_all_data(task: Task, data_dir: Path) -> TrialData:
    """Data that a worker of the finalists loads which is not handed tensors."""
    return TrialData(load_search_data(task, data_dir), open_test_split(task, data_dir))


def confirm(
    session: StudySession,
    prepared: Prepared,
    finished: Sequence[FinishedTrial],
    runner: TrialRunner,
) -> str:
    """Words for what is left of the replicates, or none.

    Args:
        session: of a study whose search has ended.
        prepared: its task and data.
        finished: its trials.
        runner: which trains the finalists.

    Raises:
        InputError: the test split cannot be used.
        StudyError: it cannot be fetched, or the study cannot go on.
    """
    session.record.end_search()
    confirmation = Confirmation(session, finished)
    if confirmation.left and not session.interrupt.stopping:
        confirmation.run(prepared, runner)
    return f"with runs of its finalists left, {confirmation.left} or more" * bool(confirmation.left)


class Confirmation:
    """The finalists of a study: which they are, and what is left of the plan for their seeds.

    Args:
        session: in whose record it is noted when the test split was opened.
        finished: the study's trials.
    """

    def __init__(self, session: StudySession, finished: Sequence[FinishedTrial]) -> None:
        self._session, config, record = session, session.config, session.record
        by_number = {proposal.number: proposal for proposal, _ in finished}
        count = config.confirm.finalists
        chosen = choose(finished, record.metric, count) if count else []
        try:
            self.finalists = [by_number[one.trial] for one in record.finalists] or chosen
        except KeyError as error:
            raise InputError(f"study.json is damaged: finalists: no trial {error}") from error
        if self.finalists and not record.plans:
            most = config.confirm.replicates
            record.declare(most, looks_of(most))
        so_far = self._seed_runs()
        so_far.recall(finalist_rows(config.location.folder, record.metric))
        self.left = so_far.left

    def run(self, prepared: Prepared, runner: TrialRunner) -> None:
        """Train what is left until the plan says that it is enough; :attr:`left` is 0 then.

        Raises:
            InputError: the test split cannot be used.
            StudyError: it cannot be fetched.
        """
        session, config, record = self._session, self._session.config, self._session.record
        finalists = [
            Finalist(one.family, one.number, one.drawn_by == "fixed") for one in self.finalists
        ]
        session.console.print(declared_line(finalists, record.plans))
        record.open_test_split(finalists)
        session.save()
        test = self._usable_test_split(prepared)
        # Before anything is measured on it: from now on, what loads it must not change.
        record.test_split[-1].checked = True
        session.save()
        checkpoints = CheckpointStore(session.where / FINALISTS)
        source = self._seed_runs()
        source.begun(checkpoints.trials())
        folder, metric = config.location.folder, record.metric
        table = FinalistTable(folder, metric, source.identities, session.mirror.push)
        workload = Workload(source.total, config.training.epochs, kind="run")
        display = Display(workload, metric, session.console)
        trials = TrialSet(
            source=source,
            total=source.total,
            checkpoints=checkpoints,
            data=TrialData(prepared.data, test),
            load=load_all_data,
            observers=(table, display, Looks(session, display)),
            mirror=session.mirror,
        )
        with display:
            try:
                runner.run(trials)
            finally:
                table.flush()
        self.left = source.left

    def _seed_runs(self) -> SeedRuns:
        record = self._session.record
        plans = record.plans if self.finalists else []
        return SeedRuns(self.finalists, plans, record.seed, record.metric)

    def _usable_test_split(self, prepared: Prepared) -> Data:
        config, task = self._session.config, prepared.task
        try:
            test = open_test_split(task, config.machine.data_dir, prepared.data)
            device = config.machine.device_here
            check_test_split(task, test, config.training.batch_size, device)
        except InputError as error:  # which nobody could know before
            where = shlex.quote(config.location.where)
            raise InputError(
                f"{error}; mend load_test_data alone, then {CONFIRM} {where}; the search is "
                f"complete, its report: python -m analysis.report {where}"
            ) from error
        return test


class Looks(TrialObserver):
    """Writes each look into the record as it comes, and says how the finalists stand.

    Args:
        session: whose record has the plan.
        display: which says it.
    """

    def __init__(self, session: StudySession, display: Display) -> None:
        self._session, self._display = session, display
        self._saved = len(session.record.plans[-1].looks)

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """Record and say a look that has become possible."""
        record = self._session.record
        plan = record.plans[-1]
        if len(plan.looks) > self._saved:
            self._saved = len(plan.looks)
            self._session.save()
            self._display.stand(standing_line(plan, names_of(record.finalists)))


def finalist_rows(folder: Path, ranking: Ranking) -> list[dict[str, Any]]:
    """The rows of the finalists' table.

    None where it is damaged: the checkpoints write it again.
    """
    with contextlib.suppress(InputError):
        if table := read_finalists(folder, ranking):
            rows: list[dict[str, Any]] = table.to_pylist()
            return rows
    return []
