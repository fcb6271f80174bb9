"""The gradient norms of a run, of which the schedule family ``refined`` is made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradientNorms:
    """Gradient norms of one run with the straight line."""

    norms: list[float]
    """Evenly over the run: the root of the sum of squares, or the sum of absolute values."""
    power: int
    """The power to which 1 / norm counts: 2, or 1 for the sum of absolute values."""
    peak_lr: float
    """Peak rate of that run."""

    @property
    def weights(self) -> list[float]:
        """(1 / norm) ** power; a norm of 0 counts as the smallest that is not."""
        least = min((norm for norm in self.norms if norm > 0), default=1.0)
        return [max(norm, least) ** -self.power for norm in self.norms]
