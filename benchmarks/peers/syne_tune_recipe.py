"""Syne Tune as its tutorial uses it: a local backend, which starts a script for each trial.

By default it looks every 5 s for what is new.
"""

import os
from pathlib import Path

import tyro

from benchmarks.peers.plain import HIGH, LOW, Recipe, tell
from benchmarks.processes import ROOT


def main(recipe: Recipe) -> None:
    """Random rates."""
    os.environ["SYNETUNE_FOLDER"] = str(recipe.out.absolute())  # read when it is imported
    os.environ["PYTHONPATH"] = str(ROOT)  # for the script
    os.chdir(recipe.out)  # it leaves files where it is started
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import loguniform
    from syne_tune.optimizer.baselines import RandomSearch

    space = {"peak_lr": loguniform(LOW, HIGH), "epochs": recipe.epochs, "samples": recipe.samples}
    tuner = Tuner(
        trial_backend=LocalBackend(str(Path(__file__).with_name("syne_tune_script.py"))),
        scheduler=RandomSearch(space, metrics=["accuracy"], do_minimize=False),
        # It stops when there are more than so many.
        stop_criterion=StoppingCriterion(max_num_trials_started=recipe.trials - 1),
        n_workers=recipe.workers,
        wait_trial_completion_when_stopping=True,
    )
    tuner.run()
    tell(tuner.tuning_status.num_trials_completed)


if __name__ == "__main__":
    main(tyro.cli(Recipe))
