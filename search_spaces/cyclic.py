"""Families whose rate rises during the run: restarts, triangles, sines and one-cycle."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.family import Parameters, Recipe, ScheduleFamily


@dataclass(frozen=True)
class RestartsShape:
    """Half cosines from 1 down to ``end``, each ``growth`` times as long as the one before.

    Each begins at ``decay`` times the height of the one before.
    """

    first_steps: int
    growth: int
    end: float
    decay: float

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        length, height = self.first_steps, 1.0
        while step >= length:
            step, length, height = step - length, length * self.growth, height * self.decay
        wave = (1 + math.cos(math.pi * step / length)) / 2
        return self.end + (height - self.end) * wave


class CosineWarmRestarts(ScheduleFamily):
    """Cosine annealing that jumps back to ``peak_lr`` at the end of each of its cycles.

    Each cycle is ``growth`` times as long as the one before, and ``cycles`` of them fill the
    horizon; each falls to ``end_ratio * peak_lr``. SGDR (Loshchilov & Hutter, arXiv 1608.03983),
    torch.optim.lr_scheduler.CosineAnnealingWarmRestarts. Nothing is warmed up: "warm" means that
    the weights are kept. Each peak is ``cycle_decay`` times the one before, as timm has it.
    """

    name = "cosine_warm_restarts"
    groups = frozenset({"classic", "cyclic"})
    rises_again = True
    space: ClassVar[dict[str, BaseDistribution]] = {
        "cycles": IntDistribution(2, 4),
        "growth": IntDistribution(1, 2),
        "end_ratio": FloatDistribution(1e-4, 0.1, log=True),
        "cycle_decay": FloatDistribution(0.5, 1.0),
    }
    defaults: ClassVar = {"cycles": 2, "growth": 2, "end_ratio": 1e-3, "cycle_decay": 1.0}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        cycles, growth = int(parameters["cycles"]), int(parameters["growth"])
        first_cycles = sum(growth**k for k in range(cycles))  # horizon, in lengths of the first
        # Rounded up: rounded down, one more restart would fall just before the end.
        first, end_ratio = -(-total_steps // first_cycles), float(parameters["end_ratio"])
        decay = float(parameters.get("cycle_decay", 1.0))
        if decay < 1:  # which torch's own does not have
            return Recipe("LambdaLR", {"lr_lambda": RestartsShape(first, growth, end_ratio, decay)})
        low = end_ratio * float(parameters["peak_lr"])
        return Recipe(
            "CosineAnnealingWarmRestarts", {"T_0": first, "T_mult": growth, "eta_min": low}
        )


class Snapshot(CosineWarmRestarts):
    """``lr(t) = peak_lr / 2 * (1 + cos(pi * (t mod c) / c))``, ``c = horizon / cycles``.

    Equal cosine cycles down to zero, whose ends are the snapshots of an ensemble (Huang et al.,
    arXiv 1704.00109: 4 to 8 cycles work well).
    """

    name = "snapshot"
    groups = frozenset({"cyclic"})
    space: ClassVar = {"cycles": IntDistribution(2, 8)}
    defaults: ClassVar = {"cycles": 4}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return super().recipe({**parameters, "growth": 1, "end_ratio": 0.0}, total_steps)


class _Cyclic(ScheduleFamily):
    """Straight up from ``base_ratio * peak_lr`` to the top of the cycle and down, ``cycles`` times.

    torch.optim.lr_scheduler.CyclicLR, from Smith, arXiv 1506.01186. Momentum stays as it is: to
    cycle it belongs to one-cycle.
    """

    mode: ClassVar[Literal["triangular", "triangular2", "exp_range"]]
    groups = frozenset({"cyclic"})
    warms_up = True
    rises_again = True
    space: ClassVar = {
        "base_ratio": FloatDistribution(1e-3, 0.3, log=True),
        "cycles": IntDistribution(1, 4),
    }
    defaults: ClassVar = {"base_ratio": 0.1, "cycles": 2}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        peak_lr = float(parameters["peak_lr"])
        base_lr = float(parameters["base_ratio"]) * peak_lr
        half_cycle = total_steps / (2 * int(parameters["cycles"]))
        gamma, start = self._envelope(parameters, half_cycle)
        return Recipe(
            "CyclicLR",
            {
                "base_lr": base_lr,
                "max_lr": base_lr + (peak_lr - base_lr) * start,
                # torch computes with fractions of a step, whatever its annotation says; whole steps
                # would drift away from the horizon by one rounding a cycle.
                "step_size_up": half_cycle,
                "step_size_down": half_cycle,
                "mode": self.mode,
                "gamma": gamma,
                "cycle_momentum": False,
            },
        )

    def _envelope(self, parameters: Parameters, half_cycle: float) -> tuple[float, float]:
        """The factor by which the amplitude shrinks a step, and the amplitude at step 0."""
        return 1.0, 1.0


class Triangular(_Cyclic):
    """Triangles of equal height (CLR's ``triangular``, LRBench's TRI)."""

    name = "triangular"
    mode = "triangular"


class Triangular2(_Cyclic):
    """Triangles, each half as high as the one before (CLR's ``triangular2``, LRBench's TRI2)."""

    name = "triangular2"
    mode = "triangular2"
    space: ClassVar = {**_Cyclic.space, "cycles": IntDistribution(2, 4)}


class ExpRange(_Cyclic):
    """Triangles under an exponential envelope (CLR's ``exp_range``, LRBench's TRIEXP).

    ``end_amplitude`` is the height of the envelope at the end of the run, relative to its start:
    torch's ``gamma`` a step would mean another shape at every horizon. The first apex, which is the
    highest, stands at ``peak_lr``; torch's ``max_lr`` is the envelope's start, which no step uses.
    """

    name = "exp_range"
    groups = frozenset({"classic", "cyclic"})
    mode = "exp_range"
    # With one cycle, or a steeper envelope, the rate would be highest before the apex.
    space: ClassVar[dict[str, BaseDistribution]] = {
        **_Cyclic.space,
        "cycles": IntDistribution(2, 4),
        "end_amplitude": FloatDistribution(0.05, 0.5, log=True),
    }

    def _envelope(self, parameters: Parameters, half_cycle: float) -> tuple[float, float]:
        total_steps = 2 * int(parameters["cycles"]) * half_cycle
        gamma = float(parameters["end_amplitude"]) ** (1 / total_steps)
        return gamma, gamma**-half_cycle


class OneCycle(ScheduleFamily):
    """Up from ``start_ratio * peak_lr`` to ``peak_lr``, then down to ``end_ratio * peak_lr``.

    The rise takes ``rise_fraction`` of the horizon; with three ``phases`` the fall back to the
    start takes as long, and what is left goes on down. Arcs are cosines or straight lines
    (``anneal``). Momentum runs the other way, 0.95 -> 0.85 -> 0.95.
    torch.optim.lr_scheduler.OneCycleLR, after Smith & Topin, arXiv 1708.07120 (whose original has
    straight lines and three phases).
    """

    name = "one_cycle"
    groups = frozenset({"classic", "cyclic"})
    warms_up = True
    space: ClassVar = {
        "rise_fraction": FloatDistribution(0.1, 0.45),
        "start_ratio": FloatDistribution(0.01, 0.2, log=True),
        "end_ratio": FloatDistribution(1e-5, 1e-2, log=True),
        "anneal": CategoricalDistribution(("cos", "linear")),
        "phases": IntDistribution(2, 3),
    }
    defaults: ClassVar = {
        "rise_fraction": 0.3,
        "start_ratio": 0.04,
        "end_ratio": 1e-5,
        "anneal": "cos",
        "phases": 2,
    }

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        start_ratio = float(parameters["start_ratio"])
        return Recipe(
            "OneCycleLR",
            {
                "max_lr": float(parameters["peak_lr"]),
                "total_steps": total_steps,
                # torch divides by the length of the rise less one step.
                "pct_start": max(float(parameters["rise_fraction"]), 2 / total_steps),
                "anneal_strategy": str(parameters["anneal"]),
                "div_factor": 1 / start_ratio,
                "final_div_factor": start_ratio / float(parameters["end_ratio"]),
                "three_phase": int(parameters["phases"]) == 3,
            },
        )


@dataclass(frozen=True)
class SineShape:
    """base + (1 - base) * |sin(pi * t / cycle)|, each hump ``decay`` times the one before."""

    base_ratio: float
    cycles: int
    decay: float
    total_steps: int

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        position = self.cycles * step / self.total_steps
        height = self.decay ** int(position)
        return self.base_ratio + (1 - self.base_ratio) * height * abs(math.sin(math.pi * position))


class Sine(ScheduleFamily):
    """Humps of a sine from ``base_ratio * peak_lr`` up to ``peak_lr`` and back, ``cycles`` times.

    LRBench's SIN (Wu et al., arXiv 1908.06477).
    """

    name = "sine"
    groups = frozenset({"cyclic"})
    warms_up = True
    rises_again = True
    decay: ClassVar[float] = 1.0
    space: ClassVar = {
        "base_ratio": FloatDistribution(1e-3, 0.3, log=True),
        "cycles": IntDistribution(1, 4),
    }
    defaults: ClassVar = {"base_ratio": 0.1, "cycles": 2}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        base_ratio, cycles = float(parameters["base_ratio"]), int(parameters["cycles"])
        return Recipe(
            "LambdaLR", {"lr_lambda": SineShape(base_ratio, cycles, self.decay, total_steps)}
        )


class Sine2(Sine):
    """Humps of a sine, each half as high as the one before (LRBench's SIN2)."""

    name = "sine2"
    decay = 0.5
    space: ClassVar = {**Sine.space, "cycles": IntDistribution(2, 4)}
