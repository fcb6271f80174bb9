"""Schedules that hear a validation loss, as torch has them: classes beside its own."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau


class PlateauLR(ReduceLROnPlateau):
    """torch's ReduceLROnPlateau with its patience in optimizer steps.

    torch counts calls, that is evaluations, and so means another thing at every number of epochs.
    Here :meth:`step` is called after each optimizer step as any schedule's is, and once more with
    the loss after each evaluation.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0, **arguments: Any) -> None:
        """Torch's arguments, and the length of a warm-up, since SequentialLR refuses this class."""
        super().__init__(optimizer, **arguments)
        self.warmup_steps = warmup_steps
        self.steps_done = self.steps_since_evaluation = 0
        for group in optimizer.param_groups:
            group["lr"] /= warmup_steps + 1

    def step(  # type: ignore[override]  # torch overrides its own base in the same way
        self, metrics: Any = None, epoch: int | None = None
    ) -> None:
        """Count a step, or judge a validation loss by torch's rule."""
        if metrics is not None:
            if not self._is_better(float(metrics), self.best):  # type: ignore[no-untyped-call]
                self.num_bad_epochs += self.steps_since_evaluation - 1  # torch adds the last one
            self.steps_since_evaluation = 0
            super().step(metrics, epoch)
            return
        self.steps_done += 1
        self.steps_since_evaluation += 1
        if self.steps_done <= self.warmup_steps:
            for group in self.optimizer.param_groups:
                group["lr"] *= (self.steps_done + 1) / self.steps_done


class GreedyLR(ReduceLROnPlateau):
    """GreedyLR of Hugging Face's transformers, with its patience in optimizer steps.

    Fed as :class:`PlateauLR` is: while the loss improves the rate rises, up to where the optimizer
    had it; while it does not the rate falls.
    """

    def __init__(self, optimizer: Optimizer, factor: float, patience: int, start: float) -> None:
        """Begin at ``start`` times the rate that the optimizer has."""
        super().__init__(
            optimizer, factor=factor, patience=patience, threshold=1e-6, threshold_mode="abs"
        )
        self.highest = [float(group["lr"]) for group in optimizer.param_groups]
        self.steps_since_evaluation = self.num_good_epochs = 0
        for group in optimizer.param_groups:
            group["lr"] *= start

    def step(  # type: ignore[override]  # torch overrides its own base in the same way
        self, metrics: Any = None, epoch: int | None = None
    ) -> None:
        """Count a step, or judge a validation loss."""
        if metrics is None:
            self.steps_since_evaluation += 1
            return
        better = self._is_better(float(metrics), self.best)  # type: ignore[no-untyped-call]
        self.best = float(metrics) if better else self.best
        self.num_good_epochs = better * (self.num_good_epochs + self.steps_since_evaluation)
        self.num_bad_epochs = (not better) * (self.num_bad_epochs + self.steps_since_evaluation)
        self.steps_since_evaluation = 0
        if max(self.num_good_epochs, self.num_bad_epochs) > self.patience:
            for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
                scaled = group["lr"] / self.factor if better else group["lr"] * self.factor
                group["lr"] = min(scaled, highest)
            self.num_good_epochs = self.num_bad_epochs = 0
