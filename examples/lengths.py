"""Sequences of unequal length: a Dataset, a collate function that pads, a loader with a worker.

lr-study run --task examples/lengths.py:make_task --batch-size 32 --epochs 5 --num-trials 20
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

from study.task import MakeLoader, SearchData, Task

Padded = tuple[Tensor, Tensor]


def walks(count: int, seed: int) -> list[Tensor]:
    """Random walks of 5 to 30 steps."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 31, (count,), generator=generator).tolist()
    return [torch.randn(length, generator=generator) for length in lengths]


def collate(samples: Sequence[Tensor]) -> tuple[Padded, Tensor]:
    """Padded walks and their lengths; and whether each ends above where it began."""
    lengths = torch.tensor([*map(len, samples)])
    above = torch.stack([walk.sum() > 0 for walk in samples])
    return (pad_sequence([*samples], batch_first=True), lengths), above.long()


class Recurrent(nn.Module):
    """A GRU that stops where each walk ends."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(1, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, padded: Padded) -> Tensor:
        """Logits, (batch, 2)."""
        steps, lengths = padded
        packed = pack_padded_sequence(steps[..., None], lengths.cpu(), True, enforce_sorted=False)
        logits: Tensor = self.head(self.gru(packed)[1][0])
        return logits


def loader(count: int, seed: int) -> MakeLoader:
    """Made anew for each trial; the generator shuffles, and seeds the worker."""
    data: Any = walks(count, seed)
    workers: Any = {"num_workers": 1, "collate_fn": collate}
    return lambda size, order: DataLoader(data, size, bool(order), generator=order, **workers)


def make_task() -> Task:
    """The task."""
    search, test = SearchData(loader(2_000, 0), loader(500, 1)), loader(500, 2)
    return Task("lengths", lambda _: search, lambda _: test, lambda seed: Recurrent())
