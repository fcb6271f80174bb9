"""The recipe of a study's training steps, as study.json has it."""

from dataclasses import dataclass
from typing import Any

from study.tasks.recipe import PLAIN, MadeBy, Precision


@dataclass(frozen=True)
class StoredRecipe:
    """The recipe of every training step, as the task and the flags have it."""

    clip_norm: float | None = None
    accumulate: int = 1
    precision: Precision = "fp32"
    average: str = "none"
    optimizer: MadeBy = "study"

    @property
    def step(self) -> dict[str, Any]:
        """Values by the names of a task's fields."""
        return {name: getattr(self, name) for name in PLAIN}
