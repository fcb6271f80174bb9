"""The checkpoints of a study: which is furthest on, and which are superseded."""

import contextlib
import re
from dataclasses import dataclass
from typing import NamedTuple

from study.storage.checkpoint_files import HISTORY, CheckpointError, read_checkpoint, read_history
from study.storage.storage_path import StoragePath
from study.training.history import History


class Checkpoint(NamedTuple):
    """One that is proved whole."""

    folder: StoragePath
    history: History


@dataclass(frozen=True)
class CheckpointStore:
    """The folder in which workers keep the checkpoints of all trials, or of all replicates."""

    root: StoragePath

    def find(
        self, trial: int, digest: str, to_resume: bool = False
    ) -> tuple[Checkpoint | None, list[CheckpointError]]:
        """The checkpoint of a trial that is furthest on, whichever attempt at the study wrote it.

        Args:
            trial: its number.
            digest: of the run's config; what another run left is none of this one's.
            to_resume: whether its state has to be one that can be loaded.

        Returns: the checkpoint, and what is wrong with others.
        """
        found, damaged = [], []
        for folder in self._of(trial):
            try:
                history = read_history(folder, digest)
                if to_resume and not history.ended:
                    read_checkpoint(folder)
                found.append(Checkpoint(folder, history))
            except CheckpointError as error:
                damaged.append(error)
        return _furthest(found), damaged

    def history(self, trial: int, digest: str) -> History | None:
        """The history of a trial that is furthest on; the state beside it may be damaged."""
        found = []
        for folder in self._of(trial):
            with contextlib.suppress(CheckpointError):
                found.append(Checkpoint(folder, read_history(folder, digest, only=HISTORY)))
        furthest = _furthest(found)
        return furthest.history if furthest else None

    def discard_superseded(
        self, trial: int, digest: str, reported: StoragePath | None = None
    ) -> None:
        """Delete a trial's checkpoints but the newest whole one.

        ``reported``: the latest that Ray knows of a running trial; only those before it go.
        """
        newest, _ = self.find(trial, digest)
        for folder in self._of(trial):
            before = reported is None or folder.path < reported.path
            if newest and folder != newest.folder and before:
                folder.rmtree()

    def attempts(self) -> list[StoragePath]:
        """The folders of a study's attempts, each a run of Ray Tune, in their order."""
        return _named(self.root, r"attempt-\d+")

    def trials(self) -> set[int]:
        """The numbers of all trials that ever began."""
        return {
            int(folder.name.removeprefix("trial-"))
            for attempt in self.attempts()
            for folder in _named(attempt, r"trial-\d+")
        }

    def _of(self, trial: int) -> list[StoragePath]:
        return [
            folder
            for attempt in self.attempts()
            for folder in _named(attempt / trial_folder(trial), r"checkpoint_\d+")
        ]


def trial_folder(trial: int) -> str:
    """The name of a trial's folder in every attempt."""
    return f"trial-{trial:05d}"


def _named(folder: StoragePath, pattern: str) -> list[StoragePath]:
    """Entries of a folder that are called so, in order; none where there is no folder."""
    try:
        return [one for one in folder.iterdir() if re.fullmatch(pattern, one.name)]
    except NotADirectoryError:
        return []


def _furthest(found: list[Checkpoint]) -> Checkpoint | None:
    # Equally far means equal: a run is a function of its config.
    return max(found, key=lambda one: (one.history.ended, len(one.history.epochs)), default=None)
