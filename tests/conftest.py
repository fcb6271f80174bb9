"""What tests share: real MNIST, fetched once a machine, and a Ray that leaves nothing behind."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from filelock import FileLock

from study.settings.study_config import StudyConfig
from study.task import SearchData
from study.tasks.builtin.mnist import load_search_data
from tests.tasks import excerpt

mpl.use("agg")
torch.set_num_threads(1)
# What a make that runs the tests hands on, its variables too, is not for those that tests start.
for handed_on in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "CPU_TORCH", "OUT", "PORT"):
    os.environ.pop(handed_on, None)


if sys.platform == "win32":  # which lacks modules that these import
    collect_ignore = ["study/system/test_places.py", "study/execution/test_cluster.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with most long tests first, so that of two processes none waits long at the end.

    What another system lacks is skipped there.
    """
    for marker, there in (("linux", sys.platform == "linux"), ("unix", os.name == "posix")):
        lacking = pytest.mark.skip(reason=f"this system is not {marker.capitalize()}")
        for item in items:
            if not there and item.get_closest_marker(marker):
                item.add_marker(lacking)
    long = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -long[item.path])


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return StudyConfig().machine.data_dir


@pytest.fixture(scope="session")
def mnist(data_dir: Path) -> SearchData:
    return load_search_data(data_dir)


@pytest.fixture(scope="session")
def small_mnist(mnist: SearchData) -> SearchData:
    return excerpt(mnist)


@pytest.fixture(autouse=True, scope="session")
def ray_folder() -> Iterator[None]:
    """Ray's own files in a folder of these tests'; short, since socket paths must be."""
    folder = tempfile.mkdtemp(prefix="lr-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = folder
    yield
    shutil.rmtree(folder, ignore_errors=True)


def run_command(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments``, its output as text."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


NOBODY = 65534
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def as_nobody(call: Callable[..., str], *arguments: object) -> str:
    """What a function returns to a user without any rights, or raises, in a process of its own."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process become nobody")

    def child() -> None:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            returned.put(call(*arguments))
        except BaseException as error:
            returned.put(f"traceback: {error!r}")

    context = multiprocessing.get_context("fork")
    returned = context.SimpleQueue()
    process = context.Process(target=child)
    process.start()
    process.join()
    return str(returned.get())


@pytest.fixture(scope="session")
def real_study(tmp_path_factory: pytest.TempPathFactory, ray_folder: None) -> Path:
    """A finished study on real data, with a report: three families of ten trials each.

    It is made once for all processes of the tests, and so must not be written to.
    """
    flags = "--task digits --batch-size 32 --epochs 2 --num-trials 30 --allocation balanced"
    flags += " --families constant,cosine,one_cycle --finalists 3 --replicates 7 --name first"
    out = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        out = out.parent
    with FileLock(out / "first.lock"):
        if not (out / "first").exists():
            done = run_command("study.run", *flags.split(), "--out", out)
            assert done.returncode == 0, done.stderr
    return out / "first"
