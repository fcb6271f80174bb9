"""A small transformer that learns to sort: 12 digits in, the same digits in order out.

lr-study run --task examples/sorting.py:make_task --optimizer adamw --warmup search
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from study.task import SearchData, Split, Task

DIGITS, LENGTH = 10, 12


def sequences(count: int, seed: int) -> Split:
    """Random sequences of digits, (count, LENGTH), and the same sequences sorted."""
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(DIGITS, (count, LENGTH), generator=generator)
    return Split(digits, digits.sort(1).values)


class Sorter(nn.Module):
    """An encoder whose every place says which digit belongs there: (batch, DIGITS, LENGTH)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.digits = nn.Embedding(DIGITS, width)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.logits = nn.Linear(width, DIGITS)

    def forward(self, digits: Tensor) -> Tensor:
        """Logits, the digits along dimension 1 as cross entropy wants them."""
        hidden = self.encoder(self.digits(digits) + self.places)
        logits: Tensor = self.logits(hidden)
        return logits.transpose(1, 2)


def make_task(samples: int = 10_000, width: int = 32) -> Task:
    """The task; accuracy is the share of places that are right."""

    def load_search_data(data_dir: Path) -> SearchData:
        return SearchData(sequences(samples, seed=0), sequences(1_000, seed=1))

    return Task(
        name="sorting",
        load_search_data=load_search_data,
        load_test_data=lambda data_dir: sequences(1_000, seed=2),
        make_model=lambda seed: Sorter(width),
        adamw_peak_lr=(3e-4, 3e-2),
    )
