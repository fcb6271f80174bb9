"""Section f: thousands of trials that train in no time, through the real command."""

import time
from collections.abc import Sequence

import psutil

from benchmarks.measure import Row, Scale, text
from benchmarks.processes import STUB, ended_trials, study

WINDOW = 100


def many_trials(scale: Scale) -> list[Row]:
    """What one costs when there are many before it. Measured once, since it takes minutes.

    The time from one end of a trial to the next, on two slots side by side.
    """
    sizes: list[tuple[float, float]] = []

    def watch(pid: int) -> None:
        sizes.append((time.time(), psutil.Process(pid).memory_info().rss / 1e6))

    first, middle, last = scale.counts
    flags = ("--num-trials", last, "--epochs", 1, "--batch-size", 2)
    with study("--task", f"{STUB}:make_task", *flags, watch=watch) as (_, folder):
        times = [trial.time for trial in ended_trials(folder, 1)]
        blocks = [path.stat().st_blocks for path in folder.rglob("*") if path.is_file()]
    near = {count: _cost(times[:count], WINDOW) for count in scale.counts}
    mean, growth = _cost(times[:middle], middle), near[last] / near[first]
    megabytes = sum(blocks) * 512 / 1e6
    a_trial = f"{len(blocks):,} files, {text(1000 * megabytes / last)} KB a trial"
    rows = [
        Row("f", f"mean of the first {middle:,} trials", "ms", (mean,), at_most=60),
        Row("f", f"the {last:,}th trial over the {first:,}th", "x", (growth,), at_most=2),
        Row("f", f"folder of {last:,} trials", "MB", (megabytes,), detail=a_trial),
    ]
    for count, cost in near.items():
        resident = max(size for when, size in sizes if when <= times[count - 1])
        rows.append(Row("f", f"trial near the {count:,}th", "ms", (cost,)))
        rows.append(Row("f", f"driver's memory by the {count:,}th", "MB", (resident,)))
    return rows


def _cost(times: Sequence[float], window: int) -> float:
    """Milliseconds a trial, over so many of the last ones."""
    ends = times[-window - 1 :]
    return 1000 * (ends[-1] - ends[0]) / (len(ends) - 1)
