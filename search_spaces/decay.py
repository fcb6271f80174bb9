"""Families that start at the peak rate and never rise again."""

from dataclasses import dataclass
from typing import ClassVar

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from search_spaces.family import Parameters, Recipe, ScheduleFamily, steps


class Constant(ScheduleFamily):
    """``lr(t) = peak_lr``. The control that every other family has to beat."""

    name = "constant"
    groups = frozenset({"classic", "decay", "modern"})

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe("ConstantLR", {"factor": 1.0, "total_iters": total_steps})


class Step(ScheduleFamily):
    """``lr(t) = peak_lr * gamma ** floor(t / step)``, with ``step = step_fraction * horizon``.

    torch.optim.lr_scheduler.StepLR. Known as step decay; LRBench's STEP (arXiv 1908.06477).
    """

    name = "step"
    groups = frozenset({"classic", "decay"})
    # With a smaller gamma, the last third of a run with many drops would train nothing.
    space: ClassVar = {
        "step_fraction": FloatDistribution(0.1, 0.5),
        "gamma": FloatDistribution(0.2, 0.7, log=True),
    }
    defaults: ClassVar = {"step_fraction": 0.3, "gamma": 0.3}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        step_size = steps(parameters["step_fraction"], total_steps)
        return Recipe("StepLR", {"step_size": step_size, "gamma": float(parameters["gamma"])})


class MultiStep(ScheduleFamily):
    """``lr(t) = peak_lr * gamma ** (milestones passed by t)``.

    The first of ``drops`` milestones stands at ``first_drop`` of the horizon, the others part what
    is left evenly: 0.5 and 2 drops give the common 50% and 75%.
    torch.optim.lr_scheduler.MultiStepLR; LRBench's NSTEP (arXiv 1908.06477).
    """

    name = "multi_step"
    groups = frozenset({"decay"})
    space: ClassVar = {
        "first_drop": FloatDistribution(0.3, 0.7),
        "drops": IntDistribution(1, 3),
        "gamma": FloatDistribution(0.05, 0.5, log=True),
    }
    defaults: ClassVar = {"first_drop": 0.5, "drops": 2, "gamma": 0.1}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        first, drops = float(parameters["first_drop"]), int(parameters["drops"])
        milestones = [steps(first + (1 - first) * k / drops, total_steps) for k in range(drops)]
        return Recipe(
            "MultiStepLR", {"milestones": milestones, "gamma": float(parameters["gamma"])}
        )


class Exponential(ScheduleFamily):
    """``lr(t) = peak_lr * end_ratio ** (t / horizon)``.

    torch.optim.lr_scheduler.ExponentialLR, whose gamma a step is ``end_ratio ** (1 / horizon)``;
    LRBench's EXP (arXiv 1908.06477).
    """

    name = "exponential"
    groups = frozenset({"decay"})
    space: ClassVar = {"end_ratio": FloatDistribution(1e-3, 0.3, log=True)}
    defaults: ClassVar = {"end_ratio": 0.01}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe(
            "ExponentialLR", {"gamma": float(parameters["end_ratio"]) ** (1 / total_steps)}
        )


class Linear(ScheduleFamily):
    """A straight line from ``peak_lr`` to ``end_ratio * peak_lr``, then constant.

    The line takes ``decay_fraction`` of the horizon. torch.optim.lr_scheduler.LinearLR, which
    starts *below* its base rate by default and is used for warm-ups too; here it falls.
    """

    name = "linear"
    groups = frozenset({"classic", "decay", "modern"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "end_ratio": FloatDistribution(1e-3, 0.3, log=True),
        "decay_fraction": FloatDistribution(0.5, 1.0),
    }
    defaults: ClassVar = {"end_ratio": 0.1, "decay_fraction": 0.5}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe(
            "LinearLR",
            {
                "start_factor": 1.0,
                "end_factor": float(parameters["end_ratio"]),
                "total_iters": steps(parameters["decay_fraction"], total_steps),
            },
        )


class LinearToZero(Linear):
    """``lr(t) = peak_lr * (1 - t / horizon)``. Has nothing to choose but the peak rate.

    Worst-case optimal among simple decays (Defazio et al., arXiv 2310.07831), and robust over
    budgets (Budgeted Training, arXiv 1905.04753).
    """

    name = "linear_to_zero"
    space: ClassVar = {}
    defaults: ClassVar = {}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return super().recipe({"end_ratio": 0.0, "decay_fraction": 1.0}, total_steps)


@dataclass(frozen=True)
class PowerShape:
    """Down from 1 to ``end`` by a power of z, the fraction of the run that is left.

    Where ``gain`` is above 1, it stays at 1 until ``gain * z ** power`` falls below.
    """

    power: float
    total_steps: int
    gain: float = 1.0
    end: float = 0.0

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        left = max(0.0, 1 - step / self.total_steps)
        return float(self.end + (1 - self.end) * min(1.0, self.gain * left**self.power))


class Polynomial(ScheduleFamily):
    """``lr(t) = low + (peak_lr - low) * (1 - t / horizon) ** power``.

    ``low = end_ratio * peak_lr``. With low = 0 it is torch.optim.lr_scheduler.PolynomialLR; Caffe's
    and LRBench's POLY (arXiv 1908.06477).
    """

    name = "polynomial"
    groups = frozenset({"decay"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "power": FloatDistribution(0.5, 3.0, log=True),
        "end_ratio": FloatDistribution(0.0, 0.3),
    }
    defaults: ClassVar = {"power": 2.0, "end_ratio": 0.0}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        end_ratio = float(parameters.get("end_ratio", 0.0))
        shape = PowerShape(float(parameters["power"]), total_steps, end=end_ratio)
        return Recipe("LambdaLR", {"lr_lambda": shape})


class PowerCool(ScheduleFamily):
    """``lr(t) = peak_lr * min(1, gain * (1 - t / horizon) ** power)``.

    Flat, then down to zero along a power, of about 1.2 in speed records of small language models.
    Why a power: arXiv 2602.06797.
    """

    name = "power_cool"
    groups = frozenset({"cooldown", "modern"})
    space: ClassVar = {
        "power": FloatDistribution(0.5, 3.0, log=True),
        "gain": FloatDistribution(1.0, 4.0, log=True),
    }
    defaults: ClassVar = {"power": 1.2, "gain": 1.5}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        shape = PowerShape(float(parameters["power"]), total_steps, float(parameters["gain"]))
        return Recipe("LambdaLR", {"lr_lambda": shape})


class Cosine(ScheduleFamily):
    """``lr(t) = low + (peak_lr - low) * (1 + cos(pi * t / horizon)) / 2``.

    ``low = end_ratio * peak_lr``. torch.optim.lr_scheduler.CosineAnnealingLR; from SGDR (Loshchilov
    & Hutter, arXiv 1608.03983) without its restarts.
    """

    name = "cosine"
    groups = frozenset({"classic", "decay", "modern"})
    space: ClassVar = {"end_ratio": FloatDistribution(1e-4, 0.1, log=True)}
    defaults: ClassVar = {"end_ratio": 1e-3}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        # The rate rises again past T_max, so T_max is the whole horizon.
        low = float(parameters["end_ratio"]) * float(parameters["peak_lr"])
        return Recipe("CosineAnnealingLR", {"T_max": total_steps, "eta_min": low})


@dataclass(frozen=True)
class RexShape:
    """z / (1/2 + z/2), where z is the fraction of the run that is left."""

    total_steps: int

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        left = max(0.0, 1 - step / self.total_steps)
        return left / (0.5 + 0.5 * left)


class Rex(ScheduleFamily):
    """``lr(t) = peak_lr * z / (1/2 + z/2)`` with ``z = 1 - t / horizon``.

    Above the straight line, steeper at the end: a delayed linear decay (Chen et al., REX, arXiv
    2107.04197; some forks have other constants than the paper's halves).
    """

    name = "rex"
    groups = frozenset({"decay"})

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe("LambdaLR", {"lr_lambda": RexShape(total_steps)})


@dataclass(frozen=True)
class InverseShape:
    """(1 + gamma * t) ** -power, with t as a fraction of the run."""

    gamma: float
    power: float
    total_steps: int

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        return float((1 + self.gamma * step / self.total_steps) ** -self.power)


class Inverse(ScheduleFamily):
    """``lr(t) = peak_lr * (1 + horizon_gamma * t / horizon) ** -power``.

    Caffe's ``inv`` and LRBench's INV (arXiv 1908.06477), whose gamma a step is ``horizon_gamma /
    horizon``. Caffe's LeNet had 1e-4 over 10,000 steps, that is 1, and the power 0.75.
    """

    name = "inverse"
    groups = frozenset({"decay"})
    space: ClassVar = {
        "horizon_gamma": FloatDistribution(0.5, 100.0, log=True),
        "power": FloatDistribution(0.5, 1.0),
    }
    defaults: ClassVar = {"horizon_gamma": 1.0, "power": 0.75}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        gamma, power = float(parameters["horizon_gamma"]), float(parameters["power"])
        return Recipe("LambdaLR", {"lr_lambda": InverseShape(gamma, power, total_steps)})


@dataclass(frozen=True)
class InverseSquareRootShape:
    """Up to 1 in a straight line at the last step of the warm-up, then sqrt(warmup / t)."""

    warmup_steps: int

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        t = step + 1
        return float(min(t / self.warmup_steps, (self.warmup_steps / t) ** 0.5))


class InverseSquareRoot(ScheduleFamily):
    """Linear warm-up, then ``lr(t) = peak_lr * sqrt(t_w / t)``; t counts from 1.

    ``t_w = rise_fraction * horizon``. Known as the Noam schedule, from Attention Is All You Need
    (Vaswani et al., arXiv 1706.03762). It needs its warm-up: without one, t_w is not defined.
    """

    name = "inverse_sqrt"
    groups = frozenset({"decay"})
    warms_up = True
    space: ClassVar = {"rise_fraction": FloatDistribution(0.02, 0.3, log=True)}
    defaults: ClassVar = {"rise_fraction": 0.2}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        warmup_steps = steps(parameters["rise_fraction"], total_steps)
        return Recipe("LambdaLR", {"lr_lambda": InverseSquareRootShape(warmup_steps)})
