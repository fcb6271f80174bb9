"""The finalists again, on fresh seeds, measured on the test split.

The only file that opens the test split. The best of many noisy trials looks better than it is, so
the best of each family is trained again; replicate j has the same initialisation and data order in
every family, so that families are compared in pairs.
"""

import contextlib
import shlex
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from search_spaces import CONTROLS
from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.reader import read_finalists
from study.results.study_json import write_study_json
from study.results.writer import FinalistTable
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.stages.display import Display, Workload
from study.storage.checkpoints import trials_with_folders
from study.storage.mirror import Mirror
from study.storage.storage_path import FINALISTS, Place
from study.system.errors import InputError
from study.system.hardware import now
from study.system.interrupt import Interrupt
from study.tasks.check_data import load_search_data, load_test_split
from study.tasks.metric import Ranking
from study.tasks.task import Data, SearchData, Task, TrialData
from study.training.check_task import check_test_split
from study.training.history import History

COMMAND = "python -m study.confirm"
DEFAULT_FINALISTS = StudyConfig.finalists
CONTROL = CONTROLS[0]
ASKED = "asked"
"""How many replicates to add, until the study is locked; study.json never has it."""
Finished = Iterable[tuple[Proposal, History]]


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


def choose(finished: Finished, ranking: Ranking, count: int) -> list[Proposal]:
    """The best trial of each of the best families, best first.

    Where the constant rate was searched it is one of them, whatever its place: the control.
    """
    best: dict[str, tuple[float, int, Proposal]] = {}
    for proposal, history in finished:
        if history.status == "completed":
            cost = ranking.cost(history.epochs[-1].val_metric)
            entry = (cost, proposal.number, proposal)
            best[proposal.family] = min(best.get(proposal.family, entry), entry)
    order = [proposal for _, _, proposal in sorted(best.values(), key=lambda entry: entry[:2])]
    if CONTROL in best:
        others = [proposal for proposal in order if proposal.family != CONTROL][: count - 1]
        return [one for one in order if one in others or one.family == CONTROL]
    return order[:count]


class Planned:
    """Runs that are all known before the first of them begins: a :class:`TrialSource`.

    Args:
        runs: in their order.
        checkpoints: where an earlier process has left its own.
    """

    def __init__(self, runs: Sequence[Proposal], checkpoints: Place) -> None:
        begun = trials_with_folders(checkpoints)
        self._begun = [run for run in runs if run.number in begun]
        self._fresh = iter([run for run in runs if run.number not in begun])
        self.finished_count = 0

    def unfinished(self) -> Iterator[Proposal]:
        """Those that an earlier process may have begun, or even ended."""
        yield from self._begun

    def propose(self) -> Proposal:
        """The next one."""
        return next(self._fresh)

    def finish(self, number: int, history: History) -> None:
        """Count it; all else is in its checkpoint."""
        self.finished_count += 1


def replicates_of(
    finalists: Sequence[Proposal], replicates: int, seed: int
) -> tuple[list[Proposal], dict[int, tuple[int, int]]]:
    """Every finalist under every seed, a replicate of all before the next.

    Args:
        finalists: their trials.
        replicates: of each.
        seed: the study's.

    Returns: the runs, and the trial and replicate of each by its number.
    """
    runs: list[Proposal] = []
    places: dict[int, tuple[int, int]] = {}
    for replicate in range(replicates):
        fresh = replicate_seed(seed, replicate)
        for finalist in finalists:
            places[len(runs)] = finalist.number, replicate
            runs.append(replace(finalist, number=len(runs), seed=fresh))
    return runs, places


def replicate_seed(study_seed: int, replicate: int) -> int:
    """Seed of a replicate in every family, and of no trial of the search."""
    entropy = (study_seed, replicate, zlib.crc32(b"replicate"))
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@dataclass
class Confirmation:
    """The finalists of a study: which they are, and how many of their runs are there.

    Args:
        config: the study's.
        ranking: its metric.
        description: its study.json, in which it is recorded when the test split was opened.
        finished: its trials.
    """

    config: StudyConfig
    ranking: Ranking
    description: dict[str, Any]
    finished: Finished

    def __post_init__(self) -> None:
        config, kept = self.config, self.description.get("finalists") or []
        by_number = {proposal.number: proposal for proposal, _ in self.finished}
        chosen = choose(self.finished, self.ranking, config.finalists) if config.finalists else []
        try:
            self.finalists = [by_number[one["trial"]] for one in kept] or chosen
        except (KeyError, TypeError) as error:
            raise InputError(f"study.json is damaged: finalists: {error}") from error
        self.replicates = self.description.get("replicates") or config.replicates
        self.left = len(self.finalists) * self.replicates - len(
            outcomes(config.folder, self.ranking)
        )

    def run(
        self,
        runner: TrialRunner,
        task: Task,
        data: SearchData,
        interrupt: Interrupt,
        console: Console,
        mirror: Mirror,
    ) -> None:
        """Train what is left of the replicates; :attr:`left` is 0 if none was interrupted.

        Raises:
            InputError: the test split cannot be used.
            StudyError: it cannot be fetched.
        """
        config, names = self.config, [finalist.family for finalist in self.finalists]
        console.print(
            f"finalists: {', '.join(names)}; {self.replicates} fresh seeds each, "
            "then measured on the test split"
        )
        self._record_opening()
        mirror.push()
        try:
            test = open_test_split(task, config.data_dir, data)
            check_test_split(task, test, config.batch_size, config.device_here)
        except InputError as error:  # which nobody could know before
            report = f"python -m analysis.report {shlex.quote(config.location)}"
            raise InputError(
                f"{error}; mend load_test_data alone, then {COMMAND} "
                f"{shlex.quote(config.location)}; the search is complete, its report: {report}"
            ) from error
        self._record_checked()
        mirror.push()
        folder = config.place / FINALISTS
        runs, places = replicates_of(self.finalists, self.replicates, config.seed)
        source, total = Planned(runs, folder), len(runs)
        table = FinalistTable(config.folder, self.ranking, places, mirror.push)
        display = Display(Workload(total, config.epochs, kind="run"), self.ranking, console)
        trial_set = TrialSet(
            source, total, folder, TrialData(data, test), load_all_data, (table, display), mirror
        )
        with display:
            try:
                runner.run(trial_set)
            finally:
                table.on_idle()
        self.left = total - source.finished_count

    def _record_opening(self) -> None:
        """Before it is done: an opening that was killed is one too."""
        self.description["finalists"] = [
            {"family": finalist.family, "trial": finalist.number} for finalist in self.finalists
        ]
        opening = {"opened": now(), "replicates": self.replicates, "checked": False}
        self.description["test_split"] = [*self.description.get("test_split", []), opening]
        self.description |= {"replicates": self.replicates, "ended": None}
        write_study_json(self.config.folder, self.description)

    def _record_checked(self) -> None:
        """Before anything is measured on it: from now on, what loads it must not change."""
        self.description["test_split"][-1]["checked"] = True
        write_study_json(self.config.folder, self.description)


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
