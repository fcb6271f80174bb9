"""The gradient norms of a whole run, of which the refined schedule is made."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from study.system.errors import InputError, blamed
from study.system.seeding import fresh_seeds
from study.tasks.data import SearchData
from study.tasks.gradients import GradientNorms
from study.tasks.task import Task
from study.training.history import RunConfig
from study.training.training_run import TrainingRun

POINTS = 200
"""Norms of a run that are kept, each the median over its part of the steps."""


def gradient_norms(task: Task, data: SearchData, config: RunConfig, device: str) -> GradientNorms:
    """The norm of each step's gradient, as the optimizer gets it, in one run.

    Of Adam's kind the sum of absolute values, of any other the root of the sum of squares (Defazio
    et al., arXiv 2310.07831).

    Args:
        task: what is trained.
        data: training and validation split.
        config: the run; its seed is replaced by one that no trial has.
        device: where to train.

    Raises:
        InputError: the run diverged, or the task raised.
    """
    (seed,) = fresh_seeds(config.seed, "gradient norms", 1)
    with blamed(f"task {task.name!r}: the run that refined is made from"):
        # Not captured: what is replayed on a GPU calls no hook.
        run = TrainingRun(replace(task, capturable=False), data, replace(config, seed=seed), device)
        power = 1 if "betas" in run.optimizer.param_groups[0] else 2
        norms: list[Tensor] = []

        def keep(optimizer: Optimizer, *_: object) -> None:
            weights = (one for group in optimizer.param_groups for one in group["params"])
            norms.append(get_total_norm([p.grad for p in weights if p.grad is not None], power))

        run.optimizer.register_step_pre_hook(keep)
        while not run.history.ended:
            run.run_epoch()
        found = torch.stack(norms).cpu().double().numpy()
    peak_lr = float(config.parameters["peak_lr"])
    if run.history.status != "completed" or not math.isfinite(found.sum()):
        raise InputError(
            f"refined is made from a run with the straight line, which diverged at peak rate "
            f"{peak_lr:.3g}; lower --peak-lr, or leave refined out of --families"
        )
    parts = np.array_split(found, min(POINTS, len(found)))
    return GradientNorms([float(np.median(part)) for part in parts], power, peak_lr)
