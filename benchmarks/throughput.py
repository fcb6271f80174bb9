"""Sections a and b: how fast one trial trains and evaluates, on one core."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from benchmarks.measure import Row, Scale, interleaved, ratio, text
from benchmarks.processes import on_cores, run

WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
"""What study/execution sets for its workers, and nobody for a recipe. Read as a process starts."""
FLOPS = 3 * 496_192 - 97_344
"""Of the LeNet at 28 pixels, a sample: as many in each half of the backward pass as in the forward
one, less those for the gradient of the image itself. Only convolutions and linear layers count."""
PEERS = {"recipe": "a DataLoader", "eager": "tensors in memory"}


def training(scale: Scale) -> list[Row]:
    """The study's training step beside two others, and beside what the core could do at best."""
    found = _rates(scale, "a", "train", {**PEERS, "ours": "ours", "matmul": "matrix product"})
    ours, bound = found["ours"], found["matmul"]
    share = ratio("a", "train: ours over what a matrix product allows", ours, bound)
    targets = {"recipe": 3.5, "eager": 1.6}
    found["matmul"] = replace(bound, detail=f"{text(bound.median * FLOPS / 1e9)} GFLOP/s")
    return [*_ratios("a", "train", found, targets), share, *found.values()]


def evaluation(scale: Scale) -> list[Row]:
    """The same of evaluating the validation split."""
    found = _rates(scale, "b", "evaluate", {**PEERS, "ours": "ours"})
    return [*_ratios("b", "evaluate", found, {}), *found.values()]


def shares(scale: Scale) -> dict[str, float]:
    """What the study's training step spends its time on, by torch's own profiler."""
    with on_cores(1):
        return _loop("shares", scale)


def _ratios(
    section: str, what: str, found: Mapping[str, Row], targets: Mapping[str, float]
) -> list[Row]:
    return [
        ratio(section, f"{what}: ours over {name}", found["ours"], found[kind], targets.get(kind))
        for kind, name in PEERS.items()
    ]


def _rates(
    scale: Scale, section: str, what: Literal["train", "evaluate"], names: Mapping[str, str]
) -> dict[str, Row]:
    with on_cores(1):
        repeats = interleaved({kind: partial(_loop, kind, scale) for kind in names}, scale.repeats)
    return {
        kind: Row(section, f"{what}: {name}", "samples/s", tuple(x[what] for x in repeats[kind]))
        for kind, name in names.items()
    }


def _loop(kind: str, scale: Scale) -> dict[str, float]:
    environment = WORKER_ENVIRONMENT if kind in ("ours", "shares") else {}
    done = run("benchmarks.loop", kind, "--samples", scale.samples, environment=environment)
    found: dict[str, float] = done.json
    return found
