"""The display on the terminal while a study runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.search.interfaces import FinishedTrial, TrialObserver
from study.search.proposal import Proposal
from study.tasks.ranking import Ranking
from study.training.history import EpochRecord, History


@dataclass(frozen=True)
class Workload:
    """The number of trials and epochs that a display counts."""

    total: int
    """Trials of the whole study."""
    epochs: int
    """Epochs of each."""
    before: Sequence[FinishedTrial] = ()
    """Trials that an earlier process finished."""
    kind: Literal["trial", "run"] = "trial"
    """Name of such a run. Those called run repeat each other, so that none is the best."""


class Display(TrialObserver):
    """One calm live display on a terminal; elsewhere, a plain line for each finished trial.

    Args:
        workload: how much there is.
        ranking: what makes a trial the best.
        console: where to write.
    """

    def __init__(self, workload: Workload, ranking: Ranking, console: Console) -> None:
        self._kind, self._ranking, self._epochs = workload.kind, ranking, workload.epochs
        self._num_trials, self._done = workload.total, len(workload.before)
        self._console = console
        self._running: set[int] = set()
        self._resumed: set[int] = set()
        self._epochs_done = self._samples = 0
        self._epochs_left = (self._num_trials - self._done) * self._epochs
        self._began: float | None = None
        self._best: tuple[float, str] | None = None
        self._standing = ""
        for one in workload.before:
            self._compare(*one)
        self._live = Live(
            get_renderable=self._render, console=console, transient=True, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def on_trial_resume(self, proposal: Proposal, epochs: int) -> None:
        """These are no epochs to wait for."""
        self._epochs_left -= epochs
        self._resumed.add(proposal.number)

    def on_trial_start(self, proposal: Proposal) -> None:
        """Count it among those that run."""
        self._began = self._began or time.monotonic()
        self._running.add(proposal.number)
        self._resumed.discard(proposal.number)

    def on_message(self, line: str) -> None:
        """Print it, above the live display."""
        self._console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def on_epoch(self, proposal: Proposal, record: EpochRecord, samples: int) -> None:
        """Count it, for the time that is left."""
        self._epochs_done += 1
        self._samples += samples

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """Count it, and print its line where there is no live display."""
        self._done += 1
        self._running.discard(proposal.number)
        self._compare(proposal, history)
        self._epochs_left -= self._epochs - len(history.epochs)  # of a trial that ended early
        ended_before = proposal.number in self._resumed  # its line was printed then
        if not (ended_before or self._console.is_terminal):
            self.on_message(self._line(proposal, history))

    def stand(self, line: str) -> None:
        """Say how the runs stand, from now on where there is a live display."""
        self._standing = line
        if not self._console.is_terminal:
            self.on_message(line)

    def _compare(self, proposal: Proposal, history: History) -> None:
        if history.status == "completed":
            result = (history.epochs[-1].val_metric, proposal.family)
            results = [self._best, result] if self._best else [result]
            self._best = min(results, key=lambda pair: self._ranking.cost(pair[0]))

    def _line(self, proposal: Proposal, history: History) -> str:
        outcome: str = history.status
        if history.status == "completed":
            on_test, last = history.test_metric, history.epochs[-1]
            outcome = self._ranking.text(last.val_metric if on_test is None else on_test)
        elif history.error:
            outcome += f" ({' '.join(history.error.split())})"
        return (
            f"[{self._done}/{self._num_trials}] {self._kind} {proposal.number}  {proposal.family}  "
            f"peak_lr {float(proposal.parameters['peak_lr']):.3g}  {outcome}  "
            f"{history.wall_seconds:.1f} s" + self._best_text("  ")
        )

    def _render(self) -> Group:
        running = f"{len(self._running)} running" if self._began else "starting the workers"
        counts = f"{self._done}/{self._num_trials} {self._kind}s · {running}"
        speed = ""
        if self._began and self._epochs_done:
            elapsed = time.monotonic() - self._began
            left = (self._epochs_left - self._epochs_done) * elapsed / self._epochs_done
            counts += f" · {_clock(left)} left"
            speed = f" · {self._samples / elapsed:,.0f} samples/s"
        top = Table.grid(padding=(0, 1))
        top.add_row(ProgressBar(self._num_trials, self._done, width=30), Text(counts, style="bold"))
        below = self._best_text("") if self._kind == "trial" else self._standing
        return Group(top, Text((below + speed).removeprefix(" · ")))

    def _best_text(self, gap: str) -> str:
        return f"{gap}best {self.best()}" if self._kind == "trial" else ""

    def best(self) -> str:
        """Metric and family of the best trial so far."""
        return f"{self._ranking.text(self._best[0])} {self._best[1]}" if self._best else "none yet"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes}:{seconds:02d}"
