"""Files of published data sets: fetched if they are not there, checked before they are opened."""

import contextlib
import hashlib
import importlib
import io
import math
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from study.system.atomic_files import locked
from study.system.errors import InputError, StudyError, failed
from study.tasks.builtin.lenet import LeNet
from study.tasks.data import SearchData, Split
from study.tasks.task import Task

PROBE_SECONDS = 5.0
Colours = tuple[float, ...]
"""A value for each colour plane."""
TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""As MNIST and those in its format name them."""


@dataclass(frozen=True)
class Published:
    """A data set's files."""

    name: str
    folder: str
    """Below the folder of all data sets; torchvision's own."""
    sha256: Mapping[str, str]
    sources: tuple[Callable[[Path], None], ...]
    """Each fetches all files into the data set's folder; the first that gives the right ones is
    used."""

    def read(self, data_dir: Path, names: Iterable[str]) -> list[bytearray]:
        """The content of these files, each with the SHA-256 it must have.

        Raises:
            InputError: the folder cannot be written.
            StudyError: the files are not there, or damaged, and cannot be fetched.
        """
        folder = data_dir / self.folder
        files = self._read(folder, names)
        if files is not None:
            return files
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(data_dir / f".{self.name.lower()}.lock"):
                # Another process may have fetched them while this one waited.
                return self._read(folder, names) or self._fetch(folder, names)
        except OSError as error:
            raise InputError(
                f"data folder {str(data_dir)!r} cannot be written: {failed(error)}, or choose "
                "another --data-dir"
            ) from error

    def _read(self, folder: Path, names: Iterable[str]) -> list[bytearray] | None:
        """The files' content, or None where one is missing or is not the one that was published."""
        files = []
        for name in names:
            try:
                # A bytearray, since torch wants memory that it may write to.
                files.append(bytearray((folder / name).read_bytes()))
            except OSError:
                return None
            if hashlib.sha256(files[-1]).hexdigest() != self.sha256[name]:
                return None
        return files

    def _fetch(self, folder: Path, names: Iterable[str]) -> list[bytearray]:
        """Fetch all files from the first source that gives the right ones."""
        there = [name for name in self.sha256 if (folder / name).exists()]
        damaged = [name for name in there if not self._read(folder, [name])]
        reasons = []
        for source in self.sources:
            for name in damaged:  # torchvision keeps a file that is there, whatever is in it
                (folder / name).unlink(missing_ok=True)
            try:
                source(folder)
            except Exception as error:  # whatever a source does wrong, the next may do right
                reasons.append(str(error).strip().splitlines()[-1] if str(error) else repr(error))
                continue
            if self._read(folder, self.sha256) and (files := self._read(folder, names)):
                return files
            reasons.append(f"{source.__name__}: wrong SHA-256")
        found = f"damaged: {', '.join(damaged)}" if damaged else "not there"
        raise StudyError(
            f"{self.name} in {folder} is {found}, and it cannot be fetched ({'; '.join(reasons)}); "
            f"connect to the network, or put {', '.join(self.sha256)} into that folder"
        )


def fetch_by_torchvision(name: str, folder: Path) -> None:
    """Download a data set of MNIST's kind, as torchvision calls it, from a mirror that answers."""
    dataset = getattr(torchvision_datasets(), name)
    probe = dataset.resources[1][0]

    class Reachable(dataset):  # type: ignore[misc, valid-type]
        raw_folder = str(folder)
        mirrors = reachable(dataset.mirrors, probe)

    if not Reachable.mirrors:
        raise ConnectionError(f"no mirror answered within {PROBE_SECONDS:.0f} s")
    with quietly():
        Reachable(str(folder), download=True)


def torchvision_datasets() -> ModuleType:
    """``torchvision.datasets``, imported where something has to be fetched: it takes a second."""
    return importlib.import_module("torchvision.datasets")


def download(url: str, folder: Path, md5: str) -> None:
    """Download one file."""
    if not reachable([url]):
        raise ConnectionError(f"{url} did not answer within {PROBE_SECONDS:.0f} s")
    with quietly():
        utils = torchvision_datasets().utils
        utils.download_url(url, str(folder), url.rsplit("/")[-1], md5)


@contextmanager
def quietly() -> Iterator[None]:
    """Without torchvision's progress bars, and without waiting for a server that stalls."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(2 * PROBE_SECONDS)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def reachable(urls: Iterable[str], probe: str = "") -> list[str]:
    """Those that answer in time. In threads, since a name server can hang beyond any time-out."""
    answered: list[str] = []

    def ask(url: str) -> None:
        request = urllib.request.Request(url + probe, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
        except OSError:
            return
        answered.append(url)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROBE_SECONDS)
    return list(answered)


def lenet_task(
    name: str,
    load_search_data: Callable[[Path], SearchData],
    load_test_data: Callable[[Path], Split],
    make_model: Callable[[int], LeNet],
) -> Task:
    """Images of ten classes with the LeNet."""
    return Task(
        name=name,
        load_search_data=load_search_data,
        load_test_data=load_test_data,
        make_model=make_model,
        peak_lr=(0.02, 0.3),
        chance_loss=math.log(10),
        capturable=True,
    )


def search_data(split: Split, validation_share: float) -> SearchData:
    """The last samples are the validation split."""
    cut = len(split.targets) - round(validation_share * len(split.targets))
    train, validation = (
        Split(*pair) for pair in zip(*(x.tensor_split([cut]) for x in split), strict=True)
    )
    return SearchData(train, validation)


def standardised(images: npt.NDArray[np.uint8], mean: Colours, deviation: Colours) -> Tensor:
    """float32 of bytes, (samples, colours, height, width); mean and deviation are of [0, 1]."""
    shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, deviation))
    return torch.from_numpy(images).float().div_(255).sub_(shift).div_(scale)


def from_idx(files: Iterable[bytes | bytearray], mean: float, deviation: float) -> Split:
    """Grey images, float32, (samples, 1, height, width), of two files in MNIST's format."""
    images, labels = map(parse_idx, files)
    inputs = standardised(images[:, None], (mean,), (deviation,))
    return Split(inputs, torch.from_numpy(labels).long())


def parse_idx(content: bytes | bytearray) -> npt.NDArray[np.uint8]:
    """IDX: two zero bytes, the type (8: unsigned byte), the rank, the sizes, the data."""
    rank = content[3]
    sizes = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(sizes)


def to_idx(array: npt.NDArray[np.uint8]) -> bytes:
    """The inverse of :func:`parse_idx`."""
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
