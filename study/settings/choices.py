"""The choices that flags offer."""

from typing import Literal

Allocation = Literal["joint", "balanced"]
Sampler = Literal["tpe", "random"]
DrawnBy = Literal["fixed", "random", "tpe"]
TrialScheduler = Literal["fifo", "asha-within-family"]
Logger = Literal["none", "tensorboard", "mlflow", "wandb"]
Optimizer = Literal["sgd", "adamw"]
CHOICES = {
    "allocation": Allocation,
    "sampler": Sampler,
    "trial_scheduler": TrialScheduler,
    "logger": Logger,
    "optimizer": Optimizer,
}
"""By the names of the options."""
