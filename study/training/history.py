"""The configuration of a run, and its record: a row an epoch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from search_spaces import Parameters

Status = Literal["running", "completed", "diverged", "failed", "stopped"]


@dataclass(frozen=True)
class RunConfig:
    """All that a run depends on, besides the task and the hardware."""

    family: str
    parameters: Parameters
    seed: int
    """Seed of initialisation and data order."""
    epochs: int
    batch_size: int

    def digest(self) -> str:
        """SHA-256, to tell the checkpoints of one run from another's."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch."""

    epoch: int
    """Counted from 1."""
    step: int
    """Optimizer steps done since the run began."""
    lr: float
    """As applied at the last of them."""
    train_loss: float
    """Mean over the epoch's batches, taken while training."""
    val_loss: float
    val_metric: float
    """The task's metric on the whole validation split."""
    seconds: float
    others: dict[str, float] = field(default_factory=dict)
    """Further values of the task's ``evaluate``, by their names."""


@dataclass
class History:
    """Everything known of a run so far; it travels with the run's checkpoint."""

    status: Status = "running"
    epochs: list[EpochRecord] = field(default_factory=list)
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, rate, momentum) as the optimizer really used them, at most 512 of the steps."""
    wall_seconds: float = 0.0
    """From the start of the run to its latest checkpoint, without the gaps between sessions."""
    node: str = ""
    error: str = ""
    pruned: int | None = None
    """The epoch after which early stopping saw no hope for it, whether it was stopped or not."""
    test_loss: float | None = None
    test_metric: float | None = None
    """Metric on the test split, of a completed run that was given it."""
    test_others: dict[str, float] = field(default_factory=dict)
    device: str = ""
    """``cpu``, or the name of a GPU."""
    ensembles: list[float] = field(default_factory=list)
    """Test metric of the last m snapshots together, for m = 1, 2, ..., as of ``test_metric``."""

    @property
    def ended(self) -> bool:
        """True if nothing is left to run."""
        return self.status != "running"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "History":
        """The inverse of :meth:`to_json`.

        Raises:
            TypeError, KeyError: something is missing or has another name.
        """
        epochs = [EpochRecord(**record) for record in content["epochs"]]
        curve = [(step, lr, momentum) for step, lr, momentum in content["curve"]]
        return cls(**{**content, "epochs": epochs, "curve": curve})
