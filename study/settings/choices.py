"""The choices that flags offer."""

from typing import Literal

Allocation = Literal["joint", "balanced"]
Sampler = Literal["tpe", "random", "grid-of-defaults"]
DrawnBy = Literal["fixed", "random", "tpe", "grid"]
TrialScheduler = Literal["fifo", "asha-within-family"]
Logger = Literal["none", "tensorboard", "mlflow", "wandb"]
