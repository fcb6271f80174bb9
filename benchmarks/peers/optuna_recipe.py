"""Optuna as its example for PyTorch uses it, with a thread for each core."""

import optuna
import tyro
from optuna.trial import TrialState
from torch import nn
from torch.optim import Optimizer

from benchmarks.peers.plain import HIGH, LOW, Recipe, save, tell, train


def main(recipe: Recipe) -> None:
    """A study in memory."""

    def objective(trial: optuna.Trial) -> float:
        def report(model: nn.Module, optimizer: Optimizer, accuracy: float) -> None:
            save(model, optimizer, recipe.out / f"trial-{trial.number}.pt")

        return train(recipe, trial.suggest_float("peak_lr", LOW, HIGH, log=True), report)

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=recipe.trials, n_jobs=recipe.workers)
    tell(len(study.get_trials(states=(TrialState.COMPLETE,))))


if __name__ == "__main__":
    main(tyro.cli(Recipe))
