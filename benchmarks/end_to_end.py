"""Sections d and e: from the command to its end, and to its first training step."""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Row, Scale, interleaved, ratio
from benchmarks.peers.plain import ENDED
from benchmarks.processes import CORES, ended_trials, mnist, on_cores, run, samples_of_mnist, study
from benchmarks.stub import MARK
from study.results.study_record import STUDY_JSON

EPOCHS = 2
UNIT = "trials/h"
PEERS = {
    "ray": ("Ray Tune's recipe", 5.0),
    "optuna": ("Optuna's recipe", 8.0),
    "syne_tune": ("Syne Tune's recipe", None),
}
"""Whose recipe it is, by the package that it needs, and how much slower it is meant to be."""


def trials_an_hour(scale: Scale) -> list[Row]:
    """Whole commands on two cores, imports and all. Ours makes a report as well.

    And once they run: from the end of the first trial of each slot to that of the last trial.
    """
    there = [peer for peer in PEERS if importlib.util.find_spec(peer)]
    measures: dict[str, Callable[[], dict[str, float]]] = {"ours": partial(_study, scale)}
    measures |= {peer: partial(_recipe, peer, scale) for peer in there}
    repeats = interleaved(measures, scale.repeats)

    def row(name: str, title: str, value: str = "whole") -> Row:
        return Row("d", f"end to end: {title}", UNIT, tuple(one[value] for one in repeats[name]))

    ours = row("ours", "ours")
    running = row("ours", "ours, once it runs", "running")
    rows = []
    absolute = [ours, row("ours", "ours, but for its report", "until report"), running]
    for peer, (title, target) in PEERS.items():
        name = f"end to end: ours over {title}"
        if peer in there:
            absolute.append(theirs := row(peer, title))
            rows.append(ratio("d", name, ours, theirs, target))
            absolute.append(theirs := row(peer, f"{title}, once it runs", "running"))
            rows.append(ratio("d", f"{name}, once they run", running, theirs, target))
        else:
            rows.append(Row("d", name, detail=f"{peer} is not installed"))
    return rows + absolute


def start_up(scale: Scale) -> list[Row]:
    """From the command to the first training step that one of its workers takes.

    After a run that does not count, so that all files lie in the memory of the system.
    """
    seconds = []
    for _ in range(1 + scale.repeats):
        with tempfile.TemporaryDirectory() as folder:
            mark = Path(folder, "mark")
            flags = (*samples_of_mnist(scale), "--num-trials", CORES, "--epochs", 1)
            with study(*flags, environment={MARK: str(mark)}) as (done, _):
                seconds.append(float(mark.read_text(encoding="utf-8")) - done.began)
    return [Row("e", "command to first training step", "s", tuple(seconds[1:]), at_most=12)]


def _study(scale: Scale) -> dict[str, float]:
    """Trials an hour by ours, and as many if it made no report."""
    flags = ("--num-trials", scale.trials, "--epochs", EPOCHS, "--families", "cosine")
    with study(*flags, *mnist(scale)) as (done, folder):
        ends = [trial.time for trial in ended_trials(folder, EPOCHS)]
        # Written for the last time when all is done but the report.
        until_report = (folder / STUDY_JSON).stat().st_mtime - done.began
    found = {"whole": done.seconds, "until report": until_report}
    rates = {name: 3600 * scale.trials / value for name, value in found.items()}
    return {**rates, "running": rate(ends, CORES)}


def _recipe(peer: str, scale: Scale) -> dict[str, float]:
    """The same by a recipe, which makes none."""
    with tempfile.TemporaryDirectory() as out, on_cores(CORES) as cores:
        flags = ("--out", out, "--trials", scale.trials, "--epochs", EPOCHS, "--workers", cores)
        done = run(f"benchmarks.peers.{peer}_recipe", *flags, "--samples", scale.samples)
        lines = [path.read_text() for path in Path(out).rglob(ENDED)]
    ends = sorted(float(line) for line in "".join(lines).split())
    # Those that it did: Syne Tune may start one more than it was asked for.
    return {"whole": 3600 * done.json["trials"] / done.seconds, "running": rate(ends, cores)}


def rate(ends: Sequence[float], slots: int) -> float:
    """Trials an hour, but for the first of each slot and the start before them."""
    return 3600 * (len(ends) - slots) / (ends[-1] - ends[slots - 1])
