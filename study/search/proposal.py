"""A trial as it is proposed."""

from dataclasses import dataclass

import numpy as np

from search_spaces import Parameters
from study.settings.choices import DrawnBy
from study.settings.study_config import StudyConfig
from study.training.history import RunConfig


@dataclass(frozen=True)
class Proposal:
    """One trial as the sampler wants it tried."""

    number: int
    """Optuna's trial number."""
    family: str
    parameters: Parameters
    seed: int
    """Seed of this trial's training run, derived from the study's seed."""
    drawn_by: DrawnBy = "tpe"

    def run_config(self, config: StudyConfig) -> RunConfig:
        """The training run that this stands for in a study."""
        return config.run_config(self.family, self.parameters, self.seed)


def seeds_of(study_seed: int, number: int) -> tuple[int, int, int]:
    """Independent seeds for a trial's training run and for the sampler's two random streams."""
    first, second, third = np.random.SeedSequence((study_seed, number)).generate_state(3)
    return int(first), int(second), int(third)
