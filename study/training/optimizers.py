"""The optimizer of a run: the family's for the task's parameters, or the task's own."""

from torch import nn
from torch.optim import Optimizer

from search_spaces import Parameters
from search_spaces.family import MOMENTUM, WEIGHT_DECAY, ScheduleFamily
from search_spaces.optimizers import Several, in_proportion
from study.tasks.task import Task


def make_optimizer(
    task: Task, model: nn.Module, family: ScheduleFamily, parameters: Parameters, total_steps: int
) -> Optimizer:
    """The optimizer at the peak rate, as :meth:`ScheduleFamily.build` wants it.

    Raises:
        TypeError: the task's function returns none.
        ValueError: none of its groups has the peak rate.
    """
    if not task.make_optimizer:
        weights = task.parameter_groups(model) if task.parameter_groups else model.parameters()
        # Fused, SGD takes unwritten memory as momentum where fp16 leaves the first step out.
        fused = can_fuse(model) and task.precision != "fp16"
        return family.make_optimizer(weights, parameters, total_steps, fused)
    peak_lr = float(parameters["peak_lr"])
    decay = float(parameters.get("weight_decay", WEIGHT_DECAY))
    made = task.make_optimizer(model, peak_lr, float(parameters.get("momentum", MOMENTUM)), decay)
    several = [made] if isinstance(made, Optimizer) else [*made]
    if not several or not all(isinstance(one, Optimizer) for one in several):
        kinds = ", ".join(type(one).__name__ for one in several) or "nothing"
        raise TypeError(f"an optimizer or a list of them is needed, not {kinds}")
    if len(several) > 1 and any(hasattr(one, "eval") for one in several):
        raise TypeError("an optimizer that keeps two sets of weights must be the only one")
    return in_proportion(several[0] if len(several) == 1 else Several(several), peak_lr)


def can_fuse(model: nn.Module) -> bool:
    """True if one kernel can update all weights: floating-point numbers with dense gradients."""
    sparse = any(getattr(module, "sparse", False) for module in model.modules())  # nn.Embedding's
    return not sparse and all(weight.is_floating_point() for weight in model.parameters())
