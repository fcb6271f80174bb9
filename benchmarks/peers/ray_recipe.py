"""Ray Tune as its tutorial for PyTorch uses it: a function, a report and a checkpoint an epoch."""

import tempfile
from pathlib import Path
from typing import Any

import ray
import tyro
from ray import tune
from torch import nn
from torch.optim import Optimizer

from benchmarks.peers.plain import HIGH, LOW, Recipe, save, tell, train


def trainable(config: dict[str, Any]) -> None:
    """One trial."""

    def report(model: nn.Module, optimizer: Optimizer, accuracy: float) -> None:
        with tempfile.TemporaryDirectory() as folder:
            save(model, optimizer, Path(folder) / "checkpoint.pt")
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"accuracy": accuracy}, checkpoint=checkpoint)

    train(config["recipe"], config["peak_lr"], report)


def main(recipe: Recipe) -> None:
    """Random rates, one CPU a trial."""
    ray.init(address="local", num_cpus=recipe.workers, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"recipe": recipe, "peak_lr": tune.loguniform(LOW, HIGH)},
        tune_config=tune.TuneConfig(num_samples=recipe.trials, metric="accuracy", mode="max"),
        run_config=tune.RunConfig(storage_path=str(recipe.out.absolute())),
    )
    results = tuner.fit()
    tell(len(results) - results.num_errors)


if __name__ == "__main__":
    main(tyro.cli(Recipe))
