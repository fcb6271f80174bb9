"""What an earlier process left of a study, and what can be gone on with."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from study.checkpoint import find_checkpoint, trials_with_folders
from study.config import StudyConfig
from study.errors import InputError
from study.ledger import JOURNAL, Ledger, Proposal
from study.training import History

CHECKPOINTS = "checkpoints"
"""The folder of a study in which the trials' checkpoints are."""


def finished_before(config: StudyConfig, ledger: Ledger) -> Iterator[tuple[Proposal, History]]:
    """How each finished trial ended, from the ledger, and its curve, from its checkpoint.

    Raises:
        InputError: the ledger lacks trials that have checkpoints.
    """
    lost = [
        number
        for number in trials_with_folders(config.folder / CHECKPOINTS)
        if number >= ledger.proposed_count
    ]
    if lost:
        raise InputError(
            f"{str(config.folder / JOURNAL)!r} has been cut short: it lacks trial {min(lost)}, "
            "which has a checkpoint; put a copy of it back, or start another study with another "
            "--name"
        )
    for proposal, history in ledger.finished():
        found, _ = find_checkpoint(config.folder / CHECKPOINTS, proposal.number)
        yield proposal, replace(history, curve=found.history.curve if found else [])


def what_was_found(
    config: StudyConfig, ledger: Ledger, finished: Sequence[tuple[Proposal, History]]
) -> list[str]:
    """Three lines: what has finished, what goes on and from where, and what is damaged."""
    statuses = Counter(history.status for _, history in finished)
    kinds = ", ".join(f"{count} {status}" for status, count in statuses.items())
    to_go_on, damaged = [], []
    for number, proposal in ledger.open_proposals().items():
        digest = proposal.run_config(config).digest() if proposal else None
        found, errors = find_checkpoint(config.folder / CHECKPOINTS, number, digest)
        epoch = len(found.history.epochs) if found else 0
        place = f"after epoch {epoch} of {config.epochs}" if epoch else "from its beginning"
        to_go_on.append(f"trial {number} {place}")
        damaged += [str(error) for error in errors]
    of_which = f" ({kinds})" if kinds else ""
    return [
        f"finished: {len(finished)} of {config.num_trials} trials{of_which}",
        f"to go on: {', '.join(to_go_on) or 'nothing'}",
        f"damaged and skipped: {'; '.join(damaged) or 'nothing'}",
    ]
