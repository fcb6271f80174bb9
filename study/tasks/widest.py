"""The most exact numbers that a device has."""

import torch
from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})
"""Types of devices."""


def widest(values: Tensor, device: torch.device | None = None) -> Tensor:
    """The values in float64, or in float32 on a device that has no more, Apple's MPS.

    Args:
        values: of any type.
        device: where they are wanted, by default where they are.
    """
    device = values.device if device is None else device
    dtype = torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
    return values.to(dtype).to(device)  # one after the other: no float64 may come to that device
