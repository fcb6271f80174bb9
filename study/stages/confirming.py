"""The finalists again, on fresh seeds, measured on the test split.

The only file that opens the test split. The best of many noisy trials looks better than it is, so
the best of each family is trained again; replicate j has the same initialisation and data order in
every family, so that families are compared in pairs.
"""

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.reader import read_finalists
from study.results.study_record import Finalist
from study.results.writer import FinalistTable
from study.search.interfaces import FinishedTrial
from study.stages.beginning import Prepared
from study.stages.display import Display, Workload
from study.stages.replicates import Planned, choose, replicates_of
from study.stages.reporting import CONFIRM
from study.stages.session import StudySession
from study.storage.checkpoint_store import CheckpointStore
from study.storage.storage_path import FINALISTS
from study.system.errors import InputError
from study.tasks.check_data import load_search_data, load_test_split
from study.tasks.ranking import Ranking
from study.tasks.task import Data, SearchData, Task, TrialData
from study.training.check_task import check_test_split


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
    return f"with {confirmation.left} replicates left" if confirmation.left else ""


class Confirmation:
    """The finalists of a study: which they are, and how many of their runs are there.

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
        self.replicates = record.replicates or config.confirm.replicates
        done = len(outcomes(config.location.folder, record.metric))
        self.left = len(self.finalists) * self.replicates - done

    def run(self, prepared: Prepared, runner: TrialRunner) -> None:
        """Train what is left of the replicates; :attr:`left` is 0 if none was interrupted.

        Raises:
            InputError: the test split cannot be used.
            StudyError: it cannot be fetched.
        """
        session, config, data = self._session, self._session.config, prepared.data
        names = ", ".join(finalist.family for finalist in self.finalists)
        session.console.print(
            f"finalists: {names}; {self.replicates} fresh seeds each, then measured on the test "
            "split"
        )
        session.record.open_test_split(
            [Finalist(finalist.family, finalist.number) for finalist in self.finalists],
            self.replicates,
        )
        session.save()
        try:
            test = open_test_split(prepared.task, config.machine.data_dir, data)
            device = config.machine.device_here
            check_test_split(prepared.task, test, config.training.batch_size, device)
        except InputError as error:  # which nobody could know before
            where = shlex.quote(config.location.where)
            raise InputError(
                f"{error}; mend load_test_data alone, then {CONFIRM} {where}; the search is "
                f"complete, its report: python -m analysis.report {where}"
            ) from error
        # Before anything is measured on it: from now on, what loads it must not change.
        session.record.test_split[-1].checked = True
        session.save()
        runs, numbers = replicates_of(self.finalists, self.replicates, config.search.seed)
        checkpoints = CheckpointStore(session.where / FINALISTS)
        source, total = Planned(runs, checkpoints), len(runs)
        folder, metric = config.location.folder, session.record.metric
        table = FinalistTable(folder, metric, numbers, session.mirror.push)
        workload = Workload(total, config.training.epochs, kind="run")
        display = Display(workload, metric, session.console)
        trials = TrialSet(
            source=source,
            total=total,
            checkpoints=checkpoints,
            data=TrialData(data, test),
            load=load_all_data,
            observers=(table, display),
            mirror=session.mirror,
        )
        with display:
            try:
                runner.run(trials)
            finally:
                table.flush()
        self.left = total - source.finished_count


def outcomes(folder: Path, ranking: Ranking) -> list[tuple[str, str]]:
    """Status and error of the replicates in a study's table.

    None where it is damaged: the checkpoints write it again.
    """
    with contextlib.suppress(InputError):
        if table := read_finalists(folder, ranking):
            columns = (table[name].to_pylist() for name in ("status", "error"))
            return list(zip(*columns, strict=True))
    return []
