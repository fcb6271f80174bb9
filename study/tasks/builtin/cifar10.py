"""CIFAR-10 (Krizhevsky, 2009) with the LeNet, for three colours and 32 pixels."""

import io
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from study.tasks.builtin.downloads import (
    Published,
    download,
    lenet_task,
    search_data,
    standardised,
    torchvision_datasets,
)
from study.tasks.builtin.lenet import LeNet
from study.tasks.data import SearchData, Split
from study.tasks.task import Task

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)
VALIDATION_SHARE = 1 / 10
"""5,000 samples, the last of the training files."""
# Of the training pixels in [0, 1], a value for each colour.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def load_search_data(data_dir: Path) -> SearchData:
    """45,000 training and 5,000 validation samples, float32, (samples, 3, 32, 32)."""
    return search_data(_read(data_dir, TRAIN_FILES), VALIDATION_SHARE)


def load_test_data(data_dir: Path) -> Split:
    """The 10,000 test samples."""
    return _read(data_dir, TEST_FILES)


def make_model(seed: int) -> LeNet:
    """The LeNet for 32-pixel images."""
    return LeNet(in_channels=3, image_size=32)


def make_task() -> Task:
    """The task."""
    return lenet_task("cifar10", load_search_data, load_test_data, make_model)


def _read(data_dir: Path, names: Iterable[str]) -> Split:
    """The parts are pickles: opened only as the archive has the published SHA-256."""
    (packed,) = FILES.read(data_dir, [ARCHIVE])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = [archive.extractfile(f"{FOLDER}/{name}") for name in names]
        parts = [pickle.load(file, encoding="latin1") for file in files if file]
    images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
    labels = [label for part in parts for label in part["labels"]]
    return Split(standardised(images, MEAN, STD), torch.tensor(labels))


def fetch(folder: Path) -> None:
    """The archive, from where torchvision knows it to be."""
    published = torchvision_datasets().CIFAR10
    download(published.url, folder, published.tgz_md5)


FILES = Published(
    name="CIFAR-10",
    folder=".",
    sha256={ARCHIVE: "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    sources=(fetch,),
)
