"""What Syne Tune starts for each trial."""

from pathlib import Path

import tyro
from syne_tune import Reporter
from torch import nn
from torch.optim import Optimizer

from benchmarks.peers.plain import Recipe, save, train


def main(peak_lr: float, epochs: int, samples: int, st_checkpoint_dir: Path) -> None:
    """One trial."""
    st_checkpoint_dir.mkdir(parents=True, exist_ok=True)
    tell = Reporter()

    def report(model: nn.Module, optimizer: Optimizer, accuracy: float) -> None:
        save(model, optimizer, st_checkpoint_dir / "checkpoint.pt")
        tell(accuracy=accuracy)

    train(Recipe(st_checkpoint_dir, epochs=epochs, samples=samples), peak_lr, report)


if __name__ == "__main__":
    tyro.cli(main)
