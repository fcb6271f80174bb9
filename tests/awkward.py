"""Tasks put together from parts that people have: formats, numbers, loaders, metrics, state.

Some fit together and some do not. A part is a name, so that an example that fails can be read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset, TensorDataset

from study.task import Data, SearchData, Split, Task
from study.tasks.metric import ACCURACY, RMSE, Metric

SAMPLES, CLASSES = 90, 3
Shaper = Callable[[Tensor], Tensor]

FORMATS: dict[str, Shaper] = {
    "flat": lambda x: x,
    "images": lambda x: x.view(-1, 3, 2, 2),
    "permuted": lambda x: x.view(-1, 2, 2, 3).permute(0, 3, 1, 2),
    "channels last": lambda x: x.view(-1, 3, 2, 2).to(memory_format=torch.channels_last),
    "transposed": lambda x: x.t().contiguous().t(),
    "strided": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "expanded": lambda x: x[:, :1].expand(-1, 12),
    "double": lambda x: x.double(),
    "half": lambda x: x.half(),
    "integers": lambda x: (4 * x).long().clamp(0, 9),
    "bytes": lambda x: (9 * x).clamp(0, 9).byte(),
    "boolean": lambda x: x > 0,
    "complex": lambda x: torch.complex(x, x),
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "a NaN": lambda x: x.where(x < 2, torch.nan),
}
TARGETS: dict[str, Shaper] = {
    "classes": lambda y: y,
    "a column": lambda y: y[:, None],
    "numbers": lambda y: y.float(),
    "a column of numbers": lambda y: y.float()[:, None],
    "shares": lambda y: functional.one_hot(y, CLASSES).float(),
    "ignored": lambda y: y.where(torch.arange(len(y)) % 2 == 0, -100),
    "all ignored": lambda y: torch.full_like(y, -100),
    "small": lambda y: y.to(torch.int32),
    "out of range": lambda y: y + 1,
    "boolean": lambda y: y > 0,
    "views": lambda y: torch.stack([y, y], 1)[:, 0],
}


class Part(nn.Module):
    """Makes numbers of whatever comes, and a row of outputs of these."""

    def __init__(self, width: int = CLASSES) -> None:
        super().__init__()
        self.last = nn.Linear(12, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.real if x.is_complex() else x
        output: Tensor = self.last(x.reshape(len(x), -1).float())
        return output


class Drifting(Part):
    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(x) + self.steps * self.last.bias


class Carrying(Part):
    kept: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.last.weight.sum() + self.kept
        # A sum would shift all of the outputs alike, which cross entropy does not see.
        output: Tensor = super().forward(x) * (1 + self.kept)
        return output


class Buffered(Part):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("steps").add_(self.training)
        output: Tensor = super().forward(x) * (1 + self.get_buffer("steps"))
        return output


class Extra(Part):
    def get_extra_state(self) -> Any:
        return {"seen": {1, 2}}

    def set_extra_state(self, state: Any) -> None:
        pass


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(10, CLASSES, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.table(x.flatten(1).long().clamp(0, 9))
        return output


class Decides(Part):
    def forward(self, x: Tensor) -> Tensor:
        outputs = super().forward(x)
        return outputs if self.training else outputs > 0


class InPlace(Part):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": Part,
    "one output": lambda: Part(1),
    "one output, squeezed": lambda: nn.Sequential(Part(1), nn.Flatten(0)),
    "two outputs": lambda: Part(2),
    "a convolution": lambda: nn.Sequential(nn.Conv2d(3, CLASSES, 2), nn.Flatten()),
    "batch norm": lambda: nn.Sequential(Part(), nn.BatchNorm1d(CLASSES)),
    "dropout": lambda: nn.Sequential(Part(), nn.Dropout()),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)),
    "strict": lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, CLASSES)),
    "constant": lambda: nn.Sequential(Part(), nn.Threshold(1e9, 0.0)),
    "a tuple": lambda: nn.LSTM(12, CLASSES),
    "drifting": Drifting,
    "carrying": Carrying,
    "buffered": Buffered,
    "extra state": Extra,
    "sparse": Sparse,
    "decides": Decides,
    "in place": InPlace,
}
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross entropy": functional.cross_entropy,
    "ignoring 0": nn.CrossEntropyLoss(ignore_index=0),
    "squares": functional.mse_loss,
    "all pairs": lambda o, t: (o - t).square().mean(),
    "first column": lambda o, t: (o.reshape(len(o), -1)[:, 0] - t.flatten()[: len(o)]).abs().mean(),
    "one logit": functional.binary_cross_entropy_with_logits,
    "none": lambda o, t: o.sum() * 0 + 1,
    "a square root": lambda o, t: o.sum().sqrt(),
}


class Counting:
    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.values.append(outputs.double().mean())
        return torch.stack(self.values).mean()


METRICS: dict[str, Callable[[], Metric]] = {
    "accuracy": lambda: ACCURACY,
    "RMSE": lambda: RMSE,
    "all pairs": lambda: Metric("pairs", "minimize", compute=lambda o, t: (o - t).abs().mean()),
    "counting": lambda: Metric("counting", "minimize", compute=Counting()),
    "a float": lambda: Metric("float", "maximize", compute=lambda o, t: float(o.mean())),
    "infinite": lambda: Metric("infinite", "maximize", compute=lambda o, t: o.sum() / 0),
    "a row": lambda: Metric("row", "maximize", compute=lambda o, t: o.sum(0)),
}


def _loader(
    split: Split, drop_last: bool, shuffle: bool, workers: int = 0
) -> Callable[[int, Generator | None], DataLoader[Any]]:
    def make(size: int, order: Generator | None) -> DataLoader[Any]:
        return DataLoader(
            TensorDataset(*split),
            size,
            shuffle or order is not None,
            generator=order,
            drop_last=drop_last and order is not None,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    return make


KINDS: dict[str, Callable[[Split], Data]] = {
    "tensors": lambda split: split,
    "a Dataset": lambda split: TensorDataset(*split),
    "a Subset": lambda split: Subset(TensorDataset(*split), torch.arange(len(split.targets))),  # type: ignore[arg-type]
    "a loader": lambda split: _loader(split, True, False),
    "a loader with a small end": lambda split: _loader(split, False, False),
    "a loader that shuffles": lambda split: _loader(split, True, True),
}
TRANSFORMS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None] = {
    "none": None,
    "noise": lambda x, y: (x + torch.randn(x.shape), y),
    "fewer": lambda x, y: (x[1:], y[1:]),
}


@dataclass(frozen=True)
class Parts:
    """The names of what a task is put together from."""

    format: str = "flat"
    target: str = "classes"
    model: str = "plain"
    loss: str = "cross entropy"
    metric: str = "accuracy"
    train: str = "tensors"
    validation: str = "tensors"
    transform: str = "none"

    def task(self) -> Task:
        """The task of these parts."""

        def split(seed: int, kind: str, count: int = SAMPLES) -> Data:
            order = Generator().manual_seed(seed)
            x = torch.randn(count, 12, generator=order)
            y = torch.randint(CLASSES, (count,), generator=order)
            return KINDS[kind](Split(FORMATS[self.format](x), TARGETS[self.target](y)))

        # At 16 a batch, the last has 1 sample.
        data = SearchData(split(0, self.train, 81), split(1, self.validation, 65))
        return Task(
            name="awkward",
            load_search_data=lambda _: data,
            load_test_data=lambda _: split(2, self.validation, 49),
            make_model=lambda _: MODELS[self.model](),
            loss=LOSSES[self.loss],
            metric=METRICS[self.metric](),
            transform=TRANSFORMS[self.transform],
        )
