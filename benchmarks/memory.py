"""Section g: the memory of a worker, and of the data that all of them look at."""

import contextlib
import re
import subprocess
import sys
from collections import defaultdict

import psutil

from benchmarks.measure import Row, Scale
from benchmarks.processes import CORES, mnist, study
from study.system.errors import StudyError

BARE = "import torch; torch.set_num_threads(1); torch.ones(8).add(1); print(flush=True); input()"


def worker_memory(scale: Scale) -> list[Row]:
    """The most that a worker needs, over a process beside it that has only imported torch.

    Beside it, since all who have torch share one copy of its code.
    """
    if not psutil.LINUX:
        return [Row("g", "a worker over bare torch", detail="needs Linux")]
    peaks = [_peaks(scale) for _ in range(scale.repeats)]
    values = {name: tuple(peak[name] for peak in peaks) for name in peaks[0]}
    return [
        Row("g", "worker over bare torch, its own memory (USS)", "MB", values["uss"]),
        Row("g", "worker over bare torch, shared parts included (PSS)", "MB", values["pss"]),
        Row("g", "shared data that a worker sees", "MB", values["seen"]),
        Row("g", "of these, a copy of its own", "MB", values["own"], at_most=1),
    ]


def _peaks(scale: Scale) -> dict[str, float]:
    peaks: dict[str, float] = defaultdict(float)

    def watch(pid: int) -> None:
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended in the meantime
                # Idle, it has the name of the class; at work, that of Ray's wrapper around it.
                if re.match("ray::.*(ScheduleTrial|Trainable)", "".join(process.cmdline())):
                    for name, size in _sizes(process, psutil.Process(bare.pid)).items():
                        peaks[name] = max(peaks[name], size)

    with subprocess.Popen(
        [sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bare:
        assert bare.stdout
        bare.stdout.readline()
        try:
            with study("--num-trials", 2 * CORES, "--epochs", 1, *mnist(scale), watch=watch):
                pass
        finally:
            bare.terminate()
    if not peaks["seen"]:
        raise StudyError("no worker was seen at work on data in Ray's object store")
    return peaks


def _sizes(worker: psutil.Process, bare: psutil.Process) -> dict[str, float]:
    """In MB."""
    more, less = worker.memory_full_info(), bare.memory_full_info()
    store = [one for one in worker.memory_maps(grouped=False) if "plasma" in one.path]
    return {
        "uss": (more.uss - less.uss) / 1e6,
        "pss": (more.pss - less.pss) / 1e6,
        "seen": sum(one.rss for one in store) / 1e6,
        "own": sum(one.private_clean + one.private_dirty for one in store) / 1e6,
    }
