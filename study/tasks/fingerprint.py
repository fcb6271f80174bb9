"""A study's training data in a few numbers: kept in study.json, compared wherever it is resumed.

Whole numbers are compared exactly. Floating-point numbers are compared by weighted sums, since
another processor, or another number of threads, may round the last digit of a mean differently.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Trace = Sequence[tuple[str, Tensor]]
"""Tensors that each function of a task gave, in the order in which they were called."""
Fingerprint = dict[str, Any]
BLOCKS = 16
"""Sums a tensor, each of consecutive rows: the fewer rows, the smaller the change that shows."""
CHUNK = 2**22
"""Numbers that are looked at together, so that looking takes little memory."""
GIVEN, COMPUTED = 1e-5, 1e-2
"""Relative differences that are rounding, of data and initial weights, and of what follows from
them: a convolution on a GPU keeps three digits."""


def fingerprint(values: Tensor) -> Fingerprint:
    """Shape and type of a tensor; its SHA-256 or, of floating-point numbers, sums and norm.

    Plain values for JSON. Each sum is over a 16th of the rows, with fixed random weights from -1
    to 1, so that an exchange of two samples shows too.
    """
    values = values.detach()
    known = {"shape": list(values.shape), "type": str(values.dtype).removeprefix("torch.")}
    values = torch.view_as_real(values) if values.is_complex() else values
    rows = values.flatten(1) if values.dim() > 1 else values.view(-1, 1)
    size = max(1, CHUNK // max(1, rows.shape[1]))
    if not values.is_floating_point():
        digest = hashlib.sha256()
        for chunk in torch.split(rows, size):
            digest.update(chunk.cpu().contiguous().numpy().tobytes())
        return known | {"sha256": digest.hexdigest()}
    generator = torch.Generator().manual_seed(0)
    across = _weights(rows.shape[1], generator)
    sums, squares = [], 0.0
    for block in rows.tensor_split(BLOCKS):
        total = 0.0
        for chunk in torch.split(block, size):
            exact = chunk.cpu().to(torch.promote_types(chunk.dtype, torch.float32))
            sum_of_rows = (exact @ across.to(exact.dtype)).double()
            total += float(_weights(len(chunk), generator) @ sum_of_rows)
            squares += float(torch.linalg.vector_norm(exact)) ** 2
        sums.append(total)
    return known | {"sums": sums, "norm": squares**0.5}


def describe_trace(given: Trace, computed: Trace, device: str) -> dict[str, Any]:
    """Fingerprints for study.json: of data and initial weights, and of what was computed there."""
    return {
        "device": torch.device(device).type,
        "given": {what: fingerprint(values) for what, values in given},
        "computed": {what: fingerprint(values) for what, values in computed},
    }


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first part that differs, and how, in words; of those that are in both.

    What was computed on another type of device is not compared: it draws other random numbers.

    Raises:
        KeyError, TypeError, ValueError: ``before`` is no description of a trace.
    """
    parts = {"given": GIVEN}
    if before["device"] == now["device"]:
        parts["computed"] = COMPUTED
    for part, tolerance in parts.items():
        for what, values in now[part].items():
            if what in before[part] and (found := _change(before[part][what], values, tolerance)):
                return f"{what}: {found}"
    return None


def _weights(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64, device="cpu") * 2 - 1


def _change(before: Fingerprint, now: Fingerprint, tolerance: float) -> str | None:
    for name in ("shape", "type"):
        if before[name] != now[name]:
            return f"the {name} was {before[name]} and is {now[name]}"
    if "sha256" in now:
        same = before["sha256"] == now["sha256"]
    else:
        norm = now["norm"] if math.isfinite(now["norm"]) else 0.0
        room = tolerance * norm / BLOCKS**0.5
        same = np.allclose(before["sums"], now["sums"], rtol=0, atol=room, equal_nan=True)
    return None if same else "other values"
