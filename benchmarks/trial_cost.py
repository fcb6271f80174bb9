"""Section c: what a trial costs besides its training."""

from benchmarks.measure import Row, Scale, text
from benchmarks.processes import CORES, ended_trials, mnist, on_cores, study

EPOCHS = 3


def cost(scale: Scale) -> list[Row]:
    """A trial's start, reports, checkpoints and end, when its actor is there already.

    On each slot, from the end of one trial to the end of the next, less the seconds that the next
    spent in its epochs; the mean over all trials but the first of each slot. Trials are of equal
    length, so the first to end are the first of their slots and the last to end their last: the sum
    over the slots needs no record of who ran where. What is left out: the start of the actors,
    which section e has; the sampler once there are many trials, which section h has; and that a
    driver on the same cores slows the training itself.
    """
    costs, lengths = [], []
    with on_cores(CORES) as slots:
        for _ in range(scale.repeats):
            flags = ("--num-trials", scale.trials + slots, "--epochs", EPOCHS)
            with study(*flags, *mnist(scale)) as (_, folder):
                trials = ended_trials(folder, EPOCHS)
            later = trials[slots:]
            elapsed = sum(last.time for last in trials[-slots:])
            elapsed -= sum(first.time for first in trials[:slots])
            lengths.append(sum(trial.train_seconds for trial in later) / len(later))
            costs.append(elapsed / len(later) - lengths[-1])
    share = tuple(100 * one / length for one, length in zip(costs, lengths, strict=True))
    name = f"a trial beyond its {EPOCHS} epochs of training"
    training = f"of {text(sum(lengths) / len(lengths))} s"
    return [
        Row("c", name, "s", tuple(costs), at_most=0.1),
        Row("c", f"{name}, as a share of them", "%", share, at_most=5, detail=training),
    ]
