"""One training loop on one thread, in a process of its own: ``python -m benchmarks.loop KIND``.

Prints, as JSON, samples a second; of ``shares``, what the study's loop spends its time on.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.peers import plain
from benchmarks.stub import first_samples
from benchmarks.throughput import FLOPS
from search_spaces import FAMILIES
from search_spaces.family import middle
from study.settings.study_config import StudyConfig
from study.task import SearchData, Split
from study.tasks.builtin import mnist
from study.training.history import RunConfig
from study.training.training_run import TrainingRun

PEAK_RATE, STEPS, BATCH = 0.03, 10_000, plain.BATCH
WARM_UP, PROFILED = 1_280, 12_800
MATRIX = 1_024
LEAST_SECONDS = 1.0

Splits = tuple[Split, Split]
Loop = tuple[Callable[[], object], Callable[[], object]]
"""Trains for an epoch; evaluates the validation split."""


@dataclass
class Gathered:
    """Batches of tensors in memory, each taken by its indices."""

    split: Split
    size: int
    shuffled: bool

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.split.targets)
        order = torch.randperm(count) if self.shuffled else torch.arange(count)
        for first in range(0, count, self.size):
            index = order[first : first + self.size]
            yield self.split.inputs[index], self.split.targets[index]


def recipe(data: Splits) -> Loop:
    """The plain network as tutorials train it."""
    return _peer(*plain.loaders(len(data[0].targets)))


def eager(data: Splits) -> Loop:
    """The plain network without a DataLoader."""
    return _peer(Gathered(data[0], BATCH, True), Gathered(data[1], plain.EVALUATION_BATCH, False))


def _peer(train: plain.Batches, validation: plain.Batches) -> Loop:
    model = plain.PlainLeNet()
    parts = plain.optimizer_and_schedule(model, PEAK_RATE, STEPS)
    return lambda: plain.train_epoch(model, train, *parts), lambda: plain.evaluate(
        model, validation
    )


def ours(data: Splits) -> Loop:
    """The study's loop, whose epochs end with an evaluation: here of one batch."""
    space = {name: middle(range_) for name, range_ in FAMILIES["cosine"].space.items()}
    config = RunConfig("cosine", {"peak_lr": PEAK_RATE, **space}, 0, STEPS, BATCH)
    one_batch = Split(*(part[:BATCH] for part in data[1]))
    run, other = (
        TrainingRun(mnist.make_task(), SearchData(data[0], validation), config)
        for validation in (one_batch, data[1])
    )
    return run.run_epoch, lambda: other._evaluate(other._validation)


LOOPS: dict[str, Callable[[Splits], Loop]] = {"recipe": recipe, "eager": eager, "ours": ours}


def rates(kind: str, samples: int) -> dict[str, float]:
    """Samples a second, after a short epoch to warm up."""
    data = mnist.load_search_data(StudyConfig().machine.data_dir)
    for call in LOOPS[kind](first_samples(data, WARM_UP)):
        call()
    samples -= samples % BATCH  # only the peers train on the rest
    train, evaluate = LOOPS[kind](first_samples(data, samples))
    return {
        "train": samples / seconds(train),
        "evaluate": samples // 5 / seconds(evaluate, LEAST_SECONDS),
    }


def matmul() -> dict[str, float]:
    """What this core can do: samples a second, if all were as fast as a large matrix product."""
    left, right = torch.randn(2, MATRIX, MATRIX)
    product = torch.empty(MATRIX, MATRIX)
    seconds(lambda: torch.mm(left, right, out=product), LEAST_SECONDS)
    rate = 2 * MATRIX**3 / seconds(lambda: torch.mm(left, right, out=product), LEAST_SECONDS)
    return {"train": rate / FLOPS}


def shares() -> dict[str, float]:
    """The parts of the ten functions of torch that take most of the study's training epoch."""
    data = mnist.load_search_data(StudyConfig().machine.data_dir)
    train, _ = ours(first_samples(data, PROFILED))
    train()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        train()
    events: list[Any] = list(profiler.key_averages())
    total = sum(event.self_cpu_time_total for event in events)
    events.sort(key=lambda event: -event.self_cpu_time_total)
    return {event.key: event.self_cpu_time_total / total for event in events[:10]}


def seconds(call: Callable[[], object], least: float = 0.0) -> float:
    """Of a call; the mean over as many as last so long."""
    started, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started < least:
        call()
        calls += 1
    return (time.perf_counter() - started) / calls


def main(
    kind: tyro.conf.Positional[Literal["recipe", "eager", "ours", "matmul", "shares"]],
    samples: int = 50_000,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    others = {"matmul": matmul, "shares": shares}
    print(json.dumps(others[kind]() if kind in others else rates(kind, samples)))


if __name__ == "__main__":
    tyro.cli(main)
