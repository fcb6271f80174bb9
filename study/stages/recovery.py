"""The trials that an earlier process left of a study, and those that can be resumed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from study.results.reader import read_curves
from study.search.interfaces import FinishedTrial
from study.search.optuna_trials import OptunaTrials
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_store import CheckpointStore
from study.system.errors import InputError


def finished_before(
    config: StudyConfig, optuna_trials: OptunaTrials, checkpoints: CheckpointStore
) -> Iterator[FinishedTrial]:
    """Each finished trial and its history, from the Optuna study, with its curve from the table.

    Or from its checkpoint, where a kill came before the table was written.

    Raises:
        InputError: the Optuna study lacks trials that have checkpoints, or is damaged.
    """
    count = optuna_trials.proposed_count
    lost = [number for number in checkpoints.trials() if number >= count]
    if lost:
        raise InputError(
            f"{optuna_trials.where} has been cut short: it lacks trial {min(lost)}, "
            "which has a checkpoint; put a copy of it back, or start another study with another "
            "--name"
        )
    table = read_curves(config.location.folder)
    for proposal, history in optuna_trials.finished():
        digest = proposal.run_config(config).digest()
        curve = table.get(proposal.number, [])
        if not curve and (found := checkpoints.history(proposal.number, digest)):
            curve = found.curve
        yield proposal, replace(history, curve=curve)


def what_was_found(
    config: StudyConfig,
    optuna_trials: OptunaTrials,
    finished: Sequence[FinishedTrial],
    checkpoints: CheckpointStore,
) -> list[str]:
    """Three lines: what has finished, what resumes and from where, and what is damaged."""
    statuses = Counter(history.status for _, history in finished)
    kinds = ", ".join(f"{count} {status}" for status, count in statuses.items())
    to_resume = []
    damaged = [
        f"the curve of trial {proposal.number}"
        for proposal, history in finished
        if history.epochs and not history.curve
    ]
    for number, proposal in optuna_trials.open_proposals().items():
        epoch = 0
        if proposal:
            digest = proposal.run_config(config).digest()
            found, errors = checkpoints.find(number, digest, True)
            epoch = len(found.history.epochs) if found else 0
            damaged += [str(error) for error in errors]
        epochs = config.training.epochs
        place = f"after epoch {epoch} of {epochs}" if epoch else "from its beginning"
        to_resume.append(f"trial {number} {place}")
    of_which = f" ({kinds})" if kinds else ""
    return [
        f"finished: {len(finished)} of {config.search.num_trials} trials{of_which}",
        f"to resume: {', '.join(to_resume) or 'nothing'}",
        f"damaged and skipped: {'; '.join(damaged) or 'nothing'}",
    ]
