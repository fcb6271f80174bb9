"""The share of a GPU for a trial: by the memory that one takes, and how busy it keeps the GPU."""

import gc
import time
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from search_spaces import Parameters
from study.system.errors import blamed
from study.system.hardware import GPU_SHARE, usable_gpus
from study.tasks.data import SearchData
from study.tasks.task import Task
from study.training.batches import endless
from study.training.history import RunConfig
from study.training.training_run import TrainingRun

MOST = 16
"""Trials on one GPU."""
STEPS = 20
"""Optimizer steps, each of three times: to warm up, to time, to look at the kernels."""
PROCESS_BYTES = 768 * 2**20
"""Memory that a process takes of a GPU besides its tensors: CUDA's context and the code of its
libraries, about 500 MiB, which torch does not count."""
MARGIN = 1.25
"""For what is not measured: the test split, and memory in pieces that fit nothing."""


def share(free_bytes: int, trial_bytes: int, busy: float) -> float:
    """The share of a GPU for each trial: 1/k, so that k of them run side by side, at most 16.

    It is enough for the memory, and for the time: processes take turns on a GPU, so that a trial
    which alone keeps it busy for half of the time leaves room for one more.

    Args:
        free_bytes: of GPU memory, for all trials together.
        trial_bytes: what one of them takes.
        busy: fraction of one trial's wall time in which the GPU has work.
    """
    fit, take_turns = free_bytes // trial_bytes, int(1 / max(busy, 1 / MOST))
    # A trial that does not fit gets all there is. Ray counts in ten-thousandths of a GPU, and k of
    # them must not be more than one.
    return 10_000 // max(1, min(fit, take_turns)) / 10_000


def measured_share(task: Task, data: SearchData, batch_size: int, optimizer: str) -> float:
    """The :func:`share` of a trial of this task, 0 on a machine without a GPU.

    A few dozen steps are trained for it, here and now, on the first GPU; others are taken to be
    like it. The memory counted is the most that this process has had: the check of the task, which
    goes before, has sent the validation split through the model, too.

    Raises:
        InputError: something of the task's raised, or the GPU has no room for it.
    """
    if not usable_gpus("cuda"):
        return 0.0
    # The rate changes neither time nor memory.
    parameters: Parameters = {"peak_lr": 1e-3, "optimizer": optimizer}
    config = RunConfig("constant", parameters, seed=0, epochs=1, batch_size=batch_size)
    with blamed(f"task {task.name!r}: training for --gpus-per-trial auto"):
        busy = busy_fraction(TrainingRun(task, data, config, "cuda"))
    trial_bytes = PROCESS_BYTES + int(MARGIN * torch.cuda.max_memory_reserved())
    gc.collect()  # the optimizer and the schedule of the run hold each other
    torch.cuda.empty_cache()
    free_bytes, _ = torch.cuda.mem_get_info()
    return share(free_bytes, trial_bytes, busy)


def busy_fraction(run: TrainingRun) -> float:
    """Part of the wall time of a run's steps in which kernels run on a GPU.

    Timed without the profiler, which slows the host down but not the kernels. Where it may not see
    them, as in some containers, the default share stands for what is not known.
    """
    steps = endless(lambda: (loss for loss, _ in run.steps()))
    _seconds(steps)
    wall = _seconds(steps)
    with torch.profiler.profile(acc_events=True) as profiler:
        _seconds(steps)
    microseconds = sum(
        event.time_range.elapsed_us()
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return microseconds / 1e6 / wall or GPU_SHARE


def _seconds(steps: Iterator[Tensor]) -> float:
    """Seconds of the next steps, until the device is done with them."""
    started = time.perf_counter()
    losses = list(islice(steps, STEPS))
    if not losses:
        raise ValueError("no step of an epoch is taken")
    losses[-1].item()
    return time.perf_counter() - started
