"""Section j: one GPU, shared by more and more trials, beside a recipe with one."""

import tempfile
from pathlib import Path

import torch

from benchmarks.end_to_end import EPOCHS, UNIT, rate
from benchmarks.measure import Row, Scale, interleaved, ratio
from benchmarks.peers.plain import ENDED
from benchmarks.processes import ended_trials, mnist, run

SHARED_BY = (1, 4, 16)


def trials_an_hour(scale: Scale) -> list[Row]:
    """Once they run, on as many processors as there are."""
    if not torch.cuda.is_available():
        return [Row("j", "trials an hour on a GPU", detail="there is no GPU")]
    measures = {f"{count}": lambda count=count: _study(scale, count) for count in SHARED_BY}
    found = interleaved({"recipe": lambda: _recipe(scale), **measures}, scale.repeats)
    theirs = Row("j", "one GPU: a DataLoader, one trial at a time", UNIT, tuple(found["recipe"]))
    rows = [theirs]
    for count in SHARED_BY:
        name = f"one GPU: ours, {count} at a time"
        rows.append(ours := Row("j", name, UNIT, tuple(found[f"{count}"])))
        rows.append(ratio("j", f"{name}, over a DataLoader's", ours, theirs))
    return rows


def _study(scale: Scale, count: int) -> float:
    flags = ("--num-trials", scale.trials + 2 * count, "--epochs", EPOCHS, "--families", "cosine")
    sharing = ("--gpus-per-trial", 1 / count, "--max-concurrent", count, "--finalists", 0)
    with tempfile.TemporaryDirectory() as out:
        run("study.run", "--out", out, "--name", "study", *flags, *sharing, *mnist(scale))
        return rate([trial.time for trial in ended_trials(Path(out, "study"), EPOCHS)], count)


def _recipe(scale: Scale) -> float:
    with tempfile.TemporaryDirectory() as out:
        flags = ("--trials", scale.trials, "--epochs", EPOCHS, "--samples", scale.samples)
        one = ("--workers", 1, "--device", "cuda")
        run("benchmarks.peers.optuna_recipe", "--out", out, *flags, *one)
        return rate(
            [float(line) for line in Path(out, ENDED).read_text(encoding="utf-8").split()], 1
        )
