"""The finalists again, on fresh seeds, measured on the test split.

The only file that opens the test split. The best of many noisy trials looks better than it is, so
the best of each family is trained again; replicate j has the same initialisation and data order in
every family, so that families are compared in pairs.
"""

import contextlib
import shlex
from pathlib import Path
from typing import Any

from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.reader import read_finalists
from study.results.writer import FinalistTable
from study.settings.study_config import StudyConfig
from study.stages.display import Display, Workload
from study.stages.preparation import Prepared
from study.stages.replicates import Finished, Planned, choose, replicates_of
from study.stages.session import StudySession
from study.storage.storage_path import FINALISTS
from study.system.errors import InputError
from study.system.hardware import now
from study.tasks.check_data import load_search_data, load_test_split
from study.tasks.metric import Ranking
from study.tasks.task import Data, SearchData, Task, TrialData
from study.training.check_task import check_test_split

COMMAND = "python -m study.confirm"
DEFAULT_FINALISTS = StudyConfig.finalists
ASKED = "asked"
"""How many replicates to add, until the study is locked; study.json never has it."""


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


class Confirmation:
    """The finalists of a study: which they are, and how many of their runs are there.

    Args:
        session: in whose record it is noted when the test split was opened.
        finished: the study's trials.
    """

    def __init__(self, session: StudySession, finished: Finished) -> None:
        self._session, config, record = session, session.config, session.record
        by_number = {proposal.number: proposal for proposal, _ in finished}
        chosen = choose(finished, session.ranking, config.finalists) if config.finalists else []
        try:
            kept = record.get("finalists") or []
            self.finalists = [by_number[one["trial"]] for one in kept] or chosen
        except (KeyError, TypeError) as error:
            raise InputError(f"study.json is damaged: finalists: {error}") from error
        self.replicates = record.get("replicates") or config.replicates
        done = len(outcomes(config.folder, session.ranking))
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
        self._record_opening()
        try:
            test = open_test_split(prepared.task, config.data_dir, data)
            check_test_split(prepared.task, test, config.batch_size, config.device_here)
        except InputError as error:  # which nobody could know before
            report = f"python -m analysis.report {shlex.quote(config.location)}"
            raise InputError(
                f"{error}; mend load_test_data alone, then {COMMAND} "
                f"{shlex.quote(config.location)}; the search is complete, its report: {report}"
            ) from error
        self._record_checked()
        runs, numbers = replicates_of(self.finalists, self.replicates, config.seed)
        source, total = Planned(runs, config.place / FINALISTS), len(runs)
        table = FinalistTable(config.folder, session.ranking, numbers, session.mirror.push)
        workload = Workload(total, config.epochs, kind="run")
        display = Display(workload, session.ranking, session.console)
        trials = TrialSet(
            source=source,
            total=total,
            checkpoints=config.place / FINALISTS,
            data=TrialData(data, test),
            load=load_all_data,
            observers=(table, display),
            mirror=session.mirror,
        )
        with display:
            try:
                runner.run(trials)
            finally:
                table.on_idle()
        self.left = total - source.finished_count

    def _record_opening(self) -> None:
        """Before it is done: an opening that was killed is one too."""
        record = self._session.record
        record["finalists"] = [
            {"family": finalist.family, "trial": finalist.number} for finalist in self.finalists
        ]
        opening = {"opened": now(), "replicates": self.replicates, "checked": False}
        record["test_split"] = [*record.get("test_split", []), opening]
        record |= {"replicates": self.replicates, "ended": None}
        self._session.save()

    def _record_checked(self) -> None:
        """Before anything is measured on it: from now on, what loads it must not change."""
        self._session.record["test_split"][-1]["checked"] = True
        self._session.save()


def outcomes(folder: Path, ranking: Ranking) -> list[tuple[str, str]]:
    """Status and error of the replicates in a study's table.

    None where it is damaged: the checkpoints write it again.
    """
    with contextlib.suppress(InputError):
        if table := read_finalists(folder, ranking):
            columns = (table[name].to_pylist() for name in ("status", "error"))
            return list(zip(*columns, strict=True))
    return []


def add_replicates(description: dict[str, Any]) -> None:
    """Take in what was asked of :func:`main`: more replicates, unless there are some to go on with.

    Args:
        description: the study's latest study.json, of which the caller holds the lock. The next
            time that it is written, the replicates have been asked for and the study is open again,
            at once: killed before that, nothing was asked, and after it, they go on.
    """
    asked, before = description.pop(ASKED, 0), description.get("replicates") or 0
    if asked and before and not description["ended"]:
        print(
            f"going on with what was interrupted: {before} replicates; to add some, ask again then"
        )
    elif asked:
        description |= {"replicates": before + asked, "ended": None}
