"""Small tasks for tests: real images, few of them; and models that fail in a chosen way."""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from study.settings.study_config import StudyConfig
from study.task import ACCURACY, Data, SearchData, Split, Task
from study.tasks.builtin import digits, mnist
from study.tasks.builtin.lenet import LeNet
from study.training.history import RunConfig

TRAIN_SAMPLES, VALIDATION_SAMPLES = 1_000, 500
TRIAL = RunConfig("constant", {"peak_lr": 0.01}, 0, 1, 128)
"""A run as the check of a task resumes it."""
SMALL = "tests.tasks:small"
"""The task of :func:`small`, as the command line takes it."""


def tensors(data: Data) -> Split:
    """A split that is known to lie in memory."""
    assert isinstance(data, Split)
    return data


def excerpt(data: SearchData) -> SearchData:
    """The first samples of each split."""
    counts = (TRAIN_SAMPLES, VALIDATION_SAMPLES)
    return SearchData(
        *(
            Split(*(tensor[:count].clone() for tensor in tensors(split)))
            for split, count in zip(data, counts, strict=True)
        )
    )


def load_excerpt(data_dir: Path) -> SearchData:
    del data_dir
    return excerpt(mnist.load_search_data(StudyConfig().machine.data_dir))


def small_task(make_model: Callable[[], nn.Module] = LeNet) -> Task:
    return Task(
        "small",
        load_excerpt,
        mnist.load_test_data,
        lambda seed: make_model(),
        peak_lr=(0.01, 0.1),
        chance_loss=mnist.make_task().chance_loss,
    )


def small(model: str = "LeNet") -> Task:
    """The small task with a model of this module."""
    return small_task(globals()[model])


def watched() -> Task:
    """The digits; each opening of the test split leaves a copy of the study's journal."""
    task = digits.make_task()

    def load_test_data(data_dir: Path) -> Data:
        folder = Path(os.environ["LR_STUDY_TEST_FOLDER"])
        count = len(list(folder.parent.glob("when-opened-*")))
        shutil.copy(folder / "optuna.journal", folder.parent / f"when-opened-{count}")
        return task.load_test_data(data_dir)

    return replace(task, name="watched", load_test_data=load_test_data)


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Tensors that are given one at a time."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.split.inputs[index], self.split.targets[index]


def one_at_a_time() -> Task:
    """The small task's data as Datasets."""

    def load(data_dir: Path) -> SearchData:
        return SearchData(*(Samples(tensors(split)) for split in load_excerpt(data_dir)))

    return Task("one at a time", load, mnist.load_test_data, lambda seed: LeNet(), metric=ACCURACY)


def masked() -> Task:
    """The digits as dict batches, with a mask that only the step knows, and two more metrics."""
    splits = [*digits.load_search_data(Path()), digits.load_test_data(Path())]
    train, validation, test = (
        Split({"pixels": part.inputs, "mask": part.inputs > 0, "labels": part.targets})
        for part in map(tensors, splits)
    )

    def logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = model(batch["pixels"] * batch["mask"])
        return found

    def step(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return functional.cross_entropy(logits(model, batch), batch["labels"])

    def evaluate(model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> dict[str, Any]:
        pairs = [(logits(model, batch), batch["labels"]) for batch in batches]
        outputs, labels = map(torch.cat, zip(*pairs, strict=True))
        top = outputs.topk(3).indices == labels[:, None]
        zeros = (outputs.argmax(1) == 0) & (labels == 0)
        return {
            "accuracy": top[:, 0].double().mean(),
            "top 3": top.any(1).double().mean(),
            "recall of 0": float(zeros.sum() / (labels == 0).sum()),
        }

    return Task(
        "masked",
        lambda data_dir: SearchData(train, validation),
        lambda data_dir: test,
        digits.make_model,
        step=step,
        evaluate=evaluate,
        parameter_groups=lambda model: [
            {"params": [one for one in model.parameters() if one.ndim == 2]},
            {"params": [one for one in model.parameters() if one.ndim < 2], "weight_decay": 0.0},
        ],
        accumulate=3,
    )


class Constant(nn.Module):
    """Puts out the same for every input, as a collapsed network does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        return self.bias.expand(len(images), 10)


class HalfCollapsed(Constant):
    """Its outputs differ by a trace, as those of a network whose units have almost all died."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 1e-4 * images.mean((1, 2, 3))[:, None]


class WithDropout(nn.Sequential):
    """Draws from the global random state at every step."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))


def in_a_study() -> bool:
    """Whether this is one of Ray's workers, not the check before them."""
    import ray

    return ray.is_initialized()


def first_to_ask() -> bool:
    """Whether no process asked before: one call makes the marker, so of two at once one wins."""
    try:
        Path(os.environ["LR_STUDY_TEST_MARKER"]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class RaisesInSecondEpoch(LeNet):
    """Fails as a user's code may: in the middle, with a message."""

    evaluations = 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training and self.evaluations:
            raise RuntimeError("this layer is broken")
        self.evaluations += not self.training
        return super().forward(images)


class DiesOnce(LeNet):
    """Kills its process in its second epoch, the first time it gets there."""

    evaluations = 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training and self.evaluations and first_to_ask():
            os.kill(os.getpid(), 9)
        self.evaluations += not self.training
        return super().forward(images)


class AlwaysDies(LeNet):
    """Kills its process at the first batch."""

    def forward(self, images: Tensor) -> Tensor:
        if in_a_study():
            os.kill(os.getpid(), 9)
        return super().forward(images)


class DiesWhileItSaves(LeNet):
    """Kills its process while its second checkpoint is being written, once."""

    saved = 0

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        self.saved += 1
        if self.saved == 2 and first_to_ask():
            os.kill(os.getpid(), 9)
        return super().state_dict(*arguments, **keywords)


class GreedyOnce(LeNet):
    """Wants more memory than its process may have, the first time."""

    def __init__(self) -> None:
        super().__init__()
        if not in_a_study() or not first_to_ask():
            return
        import resource  # which Windows lacks

        limits = resource.getrlimit(resource.RLIMIT_DATA)
        now = Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]
        resource.setrlimit(resource.RLIMIT_DATA, (int(now) * 1024 + 2**27, limits[1]))
        try:
            torch.ones(2**30)
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, limits)


class SlowToDie(LeNet):
    """Takes its time when it is given up."""

    def __del__(self) -> None:
        if in_a_study():
            time.sleep(3)


class SeesSharedTensors(LeNet):
    """Asserts, in the worker, that the images lie in the object store's mapped memory."""

    def __init__(self) -> None:
        super().__init__()
        if not in_a_study():
            return
        mapped = [
            [int(address, 16) for address in line.split()[0].split("-")]
            for line in Path("/proc/self/maps").read_text().splitlines()
            if "plasma" in line
        ]
        shape = (TRAIN_SAMPLES, 1, 28, 28)
        tensors = [x for x in gc.get_objects() if isinstance(x, torch.Tensor) and x.shape == shape]
        assert tensors
        for tensor in tensors:
            assert any(low <= tensor.data_ptr() < high for low, high in mapped)
