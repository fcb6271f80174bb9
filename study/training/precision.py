"""Automatic mixed precision, as torch has it, for the precisions that a task may name."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.amp import GradScaler

from study.tasks.recipe import Precision

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's parameters."""
    return next(model.parameters()).device


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass; for ``fp32`` one that does nothing."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, TYPES[precision])


def grad_scaler(precision: Precision, device: str) -> GradScaler:
    """The scaler that keeps gradients of ``fp16`` from vanishing; elsewhere it does nothing."""
    return GradScaler(torch.device(device).type, enabled=precision == "fp16")


def lacks(precision: Precision, device: str) -> bool:
    """True if a GPU has no arithmetic of this precision and would only emulate it."""
    on_gpu = torch.device(device).type == "cuda"
    return precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(False)
