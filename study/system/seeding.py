"""Everything random, seeded."""

import random
import zlib

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global random states that a task may draw from, and have cuDNN repeat itself."""
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def fresh_seeds(study_seed: int, use: str, count: int) -> list[int]:
    """Seeds for one use of a study, which no trial has."""
    entropy = (study_seed, zlib.crc32(use.encode()))
    return [int(seed) for seed in np.random.SeedSequence(entropy).generate_state(count)]
