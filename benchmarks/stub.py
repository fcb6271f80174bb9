"""Tasks for benchmarks: one that trains in no time, and MNIST with a watch on it."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.task import SearchData, Split, Task
from study.tasks.builtin import mnist

MARK = "LR_STUDY_BENCH_MARK"
"""The environment variable that names the file for the time of the first training step."""


def make_task() -> Task:
    """20 samples, and a model of 6 parameters: what is left is the cost of a trial itself."""

    def split(seed: int) -> Split:
        inputs = torch.randn(20, 2, generator=torch.Generator().manual_seed(seed))
        return Split(inputs, (inputs[:, 0] > 0).long())

    return Task(
        name="stub",
        load_search_data=lambda data_dir: SearchData(split(0), split(1)),
        load_test_data=lambda data_dir: split(2),
        make_model=lambda seed: nn.Linear(2, 2),
    )


def make_mnist(samples: int = 50_000) -> Task:
    """MNIST, or the first samples of it; its model leaves the time of its first training step."""
    task = mnist.make_task()

    def load_search_data(data_dir: Path) -> SearchData:
        return SearchData(*first_samples(mnist.load_search_data(data_dir), samples))

    def make_model(seed: int) -> nn.Module:
        model = mnist.make_model(seed)
        if MARK in os.environ:
            model.register_forward_pre_hook(_mark)
        return model

    return replace(task, load_search_data=load_search_data, make_model=make_model)


def first_samples(data: SearchData, samples: int) -> tuple[Split, Split]:
    """So many of the training split, and a fifth as many of the validation split."""
    train, validation = data
    assert isinstance(train, Split) and isinstance(validation, Split)
    return (
        Split(*(part[:samples] for part in train)),
        Split(*(part[: samples // 5] for part in validation)),
    )


def _mark(model: nn.Module, inputs: Any) -> None:
    # Not where the command itself tries the model out, before there are any workers.
    ray = sys.modules.get("ray")
    if not (model.training and ray and ray.is_initialized()):
        return
    mark = Path(os.environ[MARK])
    if ray.get_runtime_context().worker.mode == ray.WORKER_MODE and not mark.exists():
        mark.write_text(str(time.time()), encoding="utf-8")
