"""Fashion-MNIST (Xiao et al., 2017, arXiv 1708.07747) with the LeNet."""

import gzip
from collections.abc import Iterable
from pathlib import Path

from study.tasks.builtin.downloads import (
    TEST_FILES,
    TRAIN_FILES,
    Published,
    fetch_by_torchvision,
    from_idx,
    lenet_task,
    search_data,
)
from study.tasks.builtin.mnist import make_model
from study.tasks.data import SearchData, Split
from study.tasks.task import Task

VALIDATION_SHARE = 1 / 6
"""10,000 samples, the last of the training file."""
MEAN, STD = 0.2860, 0.3530  # of the training pixels in [0, 1]


def load_search_data(data_dir: Path) -> SearchData:
    """50,000 training and 10,000 validation samples, float32, (samples, 1, 28, 28)."""
    return search_data(_read(data_dir, TRAIN_FILES), VALIDATION_SHARE)


def load_test_data(data_dir: Path) -> Split:
    """The 10,000 test samples."""
    return _read(data_dir, TEST_FILES)


def make_task() -> Task:
    """The task."""
    return lenet_task("fashion_mnist", load_search_data, load_test_data, make_model)


def _read(data_dir: Path, names: Iterable[str]) -> Split:
    packed = FILES.read(data_dir, [f"{name}.gz" for name in names])
    return from_idx((bytearray(gzip.decompress(content)) for content in packed), MEAN, STD)


def fetch_from_mirrors(folder: Path) -> None:
    """Torchvision's way."""
    fetch_by_torchvision("FashionMNIST", folder)


FILES = Published(
    name="Fashion-MNIST",
    folder="FashionMNIST/raw",
    sha256={
        f"{TRAIN_FILES[0]}.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        f"{TRAIN_FILES[1]}.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        f"{TEST_FILES[0]}.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        f"{TEST_FILES[1]}.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    sources=(fetch_from_mirrors,),
)
