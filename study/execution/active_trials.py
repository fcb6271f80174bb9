"""The trials that are running."""

import math
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from study.execution.capacity import LOCAL
from study.execution.node_checks import Nodes
from study.execution.not_pickled import NotPickled
from study.execution.ray_session import Connection, RayLost
from study.execution.trial_set import TrialSet
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_files import MANIFEST
from study.storage.storage_path import StoragePath
from study.system.errors import CutShortError
from study.system.interrupt import Interrupt
from study.training.history import EpochRecord, History

EQUAL_FAILURES = 3
"""So many equal ones, one after the other and before anything else, and the rest would fail too."""
WORKER_SECONDS = 60
"""To wait for the first worker before it is said that none comes."""


class ActiveTrials(NotPickled):
    """State of the parts that Ray calls."""

    def __init__(self, config: StudyConfig, trial_set: TrialSet, interrupt: Interrupt) -> None:
        self.config = config
        self.checkpoints = trial_set.checkpoints
        self.mirror = trial_set.mirror
        # A storage is slow: nobody waits for what is deleted there.
        self.cleaner = ThreadPoolExecutor(8)
        self.source, self._observers = trial_set.source, trial_set.observers
        self._total = trial_set.total
        self.early_stopping = trial_set.early_stopping
        self.interrupt = interrupt
        self.nodes: Nodes | None = None
        self.connection: Connection | None = None
        self._next_look = 0.0
        self._worker_due = math.inf
        self._failures: list[str] | None = []
        self.resumed: list[tuple[Proposal, StoragePath | None]] = []
        self.proposals: dict[int, Proposal] = {}
        self.running: set[int] = set()
        self.in_flight: set[int] = set()
        self.error: Exception | None = None

    @property
    def stopping(self) -> bool:
        """True if no trial is to begin any more."""
        return self.interrupt.stopping or self.error is not None

    def resume_unfinished(self) -> None:
        """Queue the trials that an earlier process left, but those whose checkpoint is the last."""
        for proposal in self.source.unfinished():
            digest = self.digest(proposal)
            found, _ = self.checkpoints.find(proposal.number, digest, to_resume=True)
            if found and self.early_stopping:
                self.early_stopping.recall(proposal, found.history)
            for observer in self._observers:
                observer.on_trial_resume(proposal, len(found.history.epochs) if found else 0)
            if found and found.history.ended:
                self._record(proposal, found.history)
            else:
                self.resumed.append((proposal, found.folder if found else None))

    def next_trial(self) -> tuple[Proposal, StoragePath | None]:
        """A proposal and the checkpoint to resume from; resumed ones go first.

        Raises:
            NothingYetError: as the source has it.
        """
        self.mirror.check()
        proposal, found = self.resumed.pop(0) if self.resumed else (self.source.propose(), None)
        self.mirror.upload()
        if not self.proposals:
            self._worker_due = time.monotonic() + WORKER_SECONDS
        self.proposals[proposal.number] = proposal
        self.in_flight.add(proposal.number)
        if found and not (found / MANIFEST).exists():
            # Whoever had the study before may have gone on with it until now.
            digest = self.digest(proposal)
            newest, _ = self.checkpoints.find(proposal.number, digest, to_resume=True)
            found = newest.folder if newest else None
        return proposal, found

    def check_ray(self) -> None:
        """End Ray Tune at once where the Ray of our own has died: no epoch can be finished.

        Raises:
            RayLost: it has.
        """
        if self.connection and (lost := self.connection.lost()):
            raise RayLost(
                f"Ray has ended in the middle of the study: its {lost} is gone, maybe for lack of "
                f"memory; its logs are in {self.connection.logs}"
            )

    def started(self, number: int) -> None:
        """A worker has begun with a trial."""
        self._worker_due = math.inf
        self.running.add(number)
        for observer in self._observers:
            observer.on_trial_start(self.proposals[number])

    def advanced(self, number: int, record: EpochRecord, samples: int) -> None:
        """A worker has done one more epoch of a trial."""
        for observer in self._observers:
            observer.on_epoch(self.proposals[number], record, samples)

    def look_around(self) -> None:
        """Check nodes that have come, now and then; say, once, that no worker comes."""
        if self.connection and time.monotonic() >= self._worker_due:
            self._worker_due = math.inf
            on_cluster = self.config.machine.address != LOCAL
            line = (
                f"no worker has started after {WORKER_SECONDS} s: the machine is busy, or Ray "
                f"cannot start one; its logs are in {self.connection.logs}"
                + "; ray status says what it waits for"
                * on_cluster
            )
            for observer in self._observers:
                observer.on_message(line)
        if self.nodes and time.monotonic() >= self._next_look:
            self.nodes.check(wait=False)
            self._next_look = time.monotonic() + 1
        for observer in self._observers:
            observer.on_idle()

    def finish(self, number: int, history: History) -> None:
        """Record the end of a trial."""
        self.in_flight.discard(number)
        self._record(self.proposals[number], history)
        self._check_failures(history)

    @contextmanager
    def first_error_ends_the_study(self) -> Iterator[None]:
        """Keep the first error in what Ray calls, which would swallow it or cut epochs off.

        The study ends with it, once the running epochs are finished.
        """
        try:
            yield
        except Exception as error:
            self.error = self.error or error

    def digest(self, proposal: Proposal) -> str:
        """Digest of the proposal's run, to tell its checkpoints from another's."""
        return proposal.run_config(self.config).digest()

    def keep_newest(self, number: int, reported: StoragePath) -> None:
        """Delete a running trial's earlier checkpoints."""
        self._discard(number, self.digest(self.proposals[number]), reported)

    def history_of(self, number: int) -> History:
        """The history of a trial so far, from its newest checkpoint."""
        found, _ = self.checkpoints.find(number, self.digest(self.proposals[number]))
        return found.history if found else History()

    def _record(self, proposal: Proposal, history: History) -> None:
        self.mirror.check()
        self.source.finish(proposal.number, history)
        self._discard(proposal.number, self.digest(proposal))
        for observer in self._observers:
            observer.on_trial_end(proposal, history)

    def _check_failures(self, history: History) -> None:
        """End the study where the first runs of this process have all failed, and all alike.

        Raises:
            CutShortError: so it is, and there are more.
        """
        if self._failures is None or history.status != "failed":
            self._failures = None  # there was one that did not fail
            return
        # What may differ from one to the next: numbers, addresses, processes.
        reason = re.sub(r"\w*\d\w*", "#", history.error)
        self._failures = [one for one in self._failures if one == reason] + [reason]
        if len(self._failures) >= EQUAL_FAILURES and self.source.finished_count < self._total:
            raise CutShortError(
                f"the first {EQUAL_FAILURES} failed alike, with: {history.error}; mend that (a "
                "change of the task's own file needs another study, by another --name)"
            )

    def _discard(self, number: int, digest: str, reported: StoragePath | None = None) -> None:
        discard = self.checkpoints.discard_superseded
        if self.checkpoints.root.is_remote:
            self.cleaner.submit(discard, number, digest, reported)
        else:
            discard(number, digest, reported)
