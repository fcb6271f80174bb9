"""Everything random, seeded."""

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global random states that a task may draw from, and have cuDNN repeat itself."""
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
