"""The examples, run as the README says, on stand-ins for data that cannot be fetched everywhere."""

import gzip
import hashlib
import io
import pickle
import re
import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from torch.nn import functional

import analysis
from study import run
from study.system.errors import StudyError
from study.task import SearchData, Task
from study.tasks.builtin import cifar10, fashion_mnist
from study.tasks.builtin.downloads import TEST_FILES, TRAIN_FILES, Published, to_idx
from study.tasks.check_data import load_search_data
from study.tasks.task_source import TaskSource
from study.training.check_task import check_task
from tests.tasks import tensors

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TASKS = (ROOT / "docs" / "tasks.md").read_text()
COMMANDS = re.findall(r"^    lr-study run (--task examples/.*)$", TASKS, re.MULTILINE)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(ROOT)
    yield
    assert not ray.is_initialized()


def with_hashes(files: Published, folder: Path) -> Published:
    """The data set with the hashes of the files that lie in a folder."""
    contents = {name: (folder / name).read_bytes() for name in files.sha256}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return replace(files, sha256=hashes)


@pytest.fixture
def stand_ins(mnist: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with some of MNIST in Fashion-MNIST's own files, and in CIFAR-10's archive."""
    inputs, labels = (part.numpy() for part in tensors(mnist.train))
    pixels = np.rint((inputs[:3_000, 0] * 0.3081 + 0.1307) * 255).astype(np.uint8)
    digits = labels[:3_000].astype(np.uint8)

    raw = tmp_path / fashion_mnist.FILES.folder
    raw.mkdir(parents=True)
    for names, part in ((TRAIN_FILES, slice(2_400)), (TEST_FILES, slice(2_400, None))):
        for name, array in zip(names, (pixels, digits), strict=True):
            (raw / f"{name}.gz").write_bytes(gzip.compress(to_idx(array[part])))
    monkeypatch.setattr(fashion_mnist, "FILES", with_hashes(fashion_mnist.FILES, raw))

    colours = np.repeat(np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[:, None], 3, axis=1)
    with tarfile.open(tmp_path / cifar10.ARCHIVE, "w:gz") as archive:
        for k, name in enumerate((*cifar10.TRAIN_FILES, *cifar10.TEST_FILES)):
            part = slice(500 * k, 500 * (k + 1))
            batch = {"data": colours[part].reshape(500, -1), "labels": digits[part].tolist()}
            content = pickle.dumps(batch)
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(cifar10, "FILES", with_hashes(cifar10.FILES, tmp_path))
    return tmp_path


def test_the_docs_show_every_example_and_every_field_of_a_task() -> None:
    shown = {shlex.split(command)[1].partition(":")[0] for command in COMMANDS}
    assert shown == {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}
    for path in (ROOT / "examples").glob("*.py"):
        assert path.read_text().count("\n") < 60, path.name
    shown = set(re.findall(r"`(\w+)[`(]", "\n".join(re.findall(r"^\| (`.*?) \|", TASKS, re.M))))
    assert shown == {field.name for field in fields(Task)} - {"name"}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] * ("diabetes" not in command))
        for command in COMMANDS
    ],
    ids=lambda command: command.split(":")[0][16:],
)
def test_an_example_runs_as_the_docs_say(command: str, stand_ins: Path) -> None:
    """With fewer trials, and epochs, than it says: only the numbers are smaller."""
    flags = [*shlex.split(command), "--out", str(stand_ins), "--data-dir", str(stand_ins)]
    fixed = ["--name", "s", "--num-trials", "4", "--epochs", "4", "--finalists", "0"]
    assert run.main([*flags, *fixed]) == 0
    results = analysis.load(stand_ins / "s")
    assert "failed" not in set(results.trials["status"]), list(results.trials["error"])
    page = (stand_ins / "s" / "report" / "index.html").read_text()
    best = results.trials.sort_values("val_loss").iloc[0]
    name = results.scale.name
    if name == "RMSE":
        says_rmse_never_accuracy(results, page)
    else:
        assert best[results.scale.column] > 0.3
        assert f"validation {name}" in page


def says_rmse_never_accuracy(results: analysis.Results, page: str) -> None:
    trials = results.trials
    assert set(trials["metric"]) == {"RMSE"}
    assert {"val_metric", "best_val_metric"} <= set(trials.columns)
    best = min(trials.to_dict("records"), key=lambda row: float(row["val_metric"]))
    assert f"{best['family']}, {best['val_metric']:.4g} validation RMSE in one run" in page
    assert f"configuration of trial {best['trial']} with its exact numbers" in page
    assert best["val_metric"] == pytest.approx(best["val_loss"] ** 0.5, rel=1e-5)
    assert "accuracy" not in page.lower()
    for name in ("trials", "epochs", "schedules"):
        assert not any("accuracy" in column for column in getattr(results, name).columns)


def test_the_readmes_own_task_passes_its_checks(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(import torch\n.*?)```", README, flags=re.DOTALL)
    (tmp_path / "products.py").write_text(source)
    assert "--task products.py:make_task --task-args hidden=128" in README
    task = TaskSource.read(f"{tmp_path}/products.py:make_task", ("hidden=128",)).make()
    check_task(task, load_search_data(task, tmp_path), 128, "cpu")


def test_the_transform_mirrors_and_shifts() -> None:
    source = TaskSource.read("examples/fashion.py:make_task", ())
    transform: Any = source.make().transform
    torch.manual_seed(0)
    image = torch.zeros(64, 1, 28, 28)
    image[:, 0, 10, 5] = 1
    changed, labels = transform(image, torch.arange(64))
    assert changed.shape == image.shape
    assert torch.equal(labels, torch.arange(64))
    columns = changed.sum(2).argmax(-1).flatten()
    assert len(columns.unique()) == 2, "as it was, and mirrored, both with the same shift"
    assert changed.sum() == 64


def test_fashion_mnists_files_are_read_as_torchvision_does(stand_ins: Path) -> None:
    train, validation = map(tensors, fashion_mnist.load_search_data(stand_ins))
    assert (len(train.targets), len(validation.targets)) == (2_000, 400), "one sixth"
    assert train.inputs.shape[1:] == (1, 28, 28)
    packed = stand_ins / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(packed.read_bytes())
    first = torch.tensor(list(content[16 : 16 + 784])).view(28, 28) / 255
    mean, deviation = fashion_mnist.MEAN, fashion_mnist.STD
    torch.testing.assert_close(train.inputs[0, 0], (first - mean) / deviation)
    assert len(fashion_mnist.load_test_data(stand_ins).targets) == 600


def test_cifar_10s_archive_is_read(stand_ins: Path) -> None:
    task = cifar10.make_task()
    data = load_search_data(task, stand_ins)
    train, validation = map(tensors, data)
    assert (len(train.targets), len(validation.targets)) == (2_250, 250), "one tenth"
    assert train.inputs.shape[1:] == (3, 32, 32)
    black = -torch.tensor(cifar10.MEAN) / torch.tensor(cifar10.STD)
    torch.testing.assert_close(train.inputs[0, :, 0, 0], black, msg="each colour by its own")
    assert len(cifar10.load_test_data(stand_ins).targets) == 500
    check_task(task, data, 128, "cpu")


@pytest.mark.parametrize("module", [cifar10, fashion_mnist])
def test_files_that_were_altered_are_not_opened(
    module: Any, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in module.FILES.sha256:
        path = stand_ins / module.FILES.folder / name
        path.write_bytes(path.read_bytes() + b"x")
    monkeypatch.setattr("pickle.load", pytest.fail)
    monkeypatch.setattr(module, "FILES", replace(module.FILES, sources=()))
    with pytest.raises(StudyError, match=rf"{module.FILES.name} in .* is damaged"):
        module.load_search_data(stand_ins)


def test_cross_entropy_takes_the_sorters_output() -> None:
    task = TaskSource.read("examples/sorting.py:make_task", ("samples=50",)).make()
    data = tensors(task.load_search_data(Path()).validation)
    perfect = 9 * functional.one_hot(data.targets, 10).transpose(1, 2).float()
    assert float(task.metric.compute(perfect, data.targets)) == 1.0
