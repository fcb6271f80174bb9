"""The nodes of a cluster, simulated on one machine: each is checked before it trains."""

import gc
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

import analysis
from study.execution import capacity
from study.execution.capacity import fit_to_cluster, max_parallel
from study.settings.run_options import MachineOptions
from study.settings.study_config import StudyConfig
from study.system.errors import InputError
from tests.conftest import run_command
from tests.s3 import BUCKET, KEYS, free_port, server

# Ray's own helper for simulated nodes leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
DIGITS = ["--task", "digits", "--batch-size", "32", "--families", "constant,cosine"]
MIXED = [{"CPU": 4, "GPU": 1}, {"CPU": 16, "GPU": 2}, {"CPU": 8}]


@pytest.fixture(scope="module")
def nodes(ray_folder: None) -> Iterator[Cluster]:
    """Two of one processor each."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]
    collect_sockets()


def collect_sockets() -> None:
    """Here, where nobody takes the warnings for another test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def one_more(nodes: Cluster, **variables: str) -> Iterator[None]:
    """A node whose processes have other variables."""
    node = nodes.add_node(num_cpus=1, env_vars=variables)
    try:
        yield
    finally:
        nodes.remove_node(node)
        collect_sockets()


@pytest.fixture
def another_torch(tmp_path: Path) -> dict[str, str]:
    """By which a node's processes take their torch for another one."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "from importlib import metadata\n"
        "version = metadata.version\n"
        "metadata.version = lambda name: '2.13.0' if name == 'torch' else version(name)\n"
    )
    return {"PYTHONPATH": str(tmp_path / "site")}


def run_on(nodes: Cluster, *flags: object) -> subprocess.CompletedProcess[str]:
    return run_command("study.run", *DIGITS, "--name", "s", "--address", nodes.address, *flags)


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of a study of which no trial was started."""
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "[1/" not in done.stdout
    return done.stderr


@pytest.mark.slow
def test_a_study_on_a_cluster_trains_on_every_node(nodes: Cluster, tmp_path: Path) -> None:
    flags = ["--num-trials", 8, "--epochs", 20, "--finalists", 2, "--replicates", 2]
    done = run_on(nodes, *flags, "--storage", tmp_path)
    assert done.returncode == 0, done.stderr
    results = analysis.load(tmp_path / "s")
    assert list(results.trials["status"]) == ["completed"] * 8
    assert set(results.trials["device"]) == set(results.finalists["device"]) == {"cpu"}
    assert results.study["config"]["address"] == nodes.address
    # Two of one CPU each: more than one at a time needs both.
    assert results.trials["wall_seconds"].sum() > results.epochs["seconds"].max()
    resumed = run_command("study.run", "--resume", tmp_path / "s", "--address", "local")
    assert resumed.returncode == 0, "the machines may be others"


@pytest.mark.slow
def test_a_node_with_another_torch_is_named(
    nodes: Cluster, tmp_path: Path, another_torch: dict[str, str]
) -> None:
    with one_more(nodes, **another_torch):
        done = run_on(nodes, "--num-trials", 4, "--storage", tmp_path)
    assert "torch is 2.13.0 there, and " in refused(done, 1)


@pytest.mark.slow
def test_a_node_that_does_not_reach_the_storage_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has other keys than the driver and its node."""
    with server(with_users=True) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        try:
            cluster.add_node(num_cpus=1, env_vars=KEYS)
            done = run_on(cluster, "--num-trials", 4, "--storage", f"s3://{BUCKET}/x")
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
            collect_sockets()
    line = refused(done, 1)
    assert "is not fit for this study" in line
    assert "AWS Error" in line
    assert not any(value in line for value in variables.values())


@pytest.mark.slow
def test_a_node_that_comes_later_is_checked_too(
    nodes: Cluster, tmp_path: Path, another_torch: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "study.run", *DIGITS, "--name", "s", "--storage", tmp_path]
    command += ["--address", nodes.address, "--num-trials", 2000, "--epochs", 2, "--finalists", 0]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as study:
        try:
            assert study.stdout
            assert study.stderr
            next(line for line in study.stdout if line.startswith("[2/"))
            with one_more(nodes, **another_torch):
                rest = study.stdout.read()
            error = study.stderr.read()
        finally:
            study.kill()
    assert study.wait() == 1
    assert "torch is 2.13.0 there" in error
    assert error.count("\n") == 1
    assert "[3/" in rest, "what ran has ended"


def test_no_cluster_is_joined_where_there_is_none(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run_command("study.run", *DIGITS, "--out", tmp_path, "--address", address)
    assert done.returncode == 2
    assert f"--address {address}: no Ray cluster takes this process in" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("address", ["ray://host:10001", "http://host:8265", "host", ""])
def test_a_study_is_started_on_the_cluster_itself(address: str) -> None:
    with pytest.raises(InputError, match="start the study on the cluster itself"):
        StudyConfig.of(address=address)


def on(**settings: Any) -> MachineOptions:
    return MachineOptions(address="auto", **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"gpus_per_trial": 0.25}, 4 + 8),
        ({"gpus_per_trial": 0.4}, 2 + 4),
        ({"gpus_per_trial": 0.25, "cpus_per_trial": 2}, 2 + 8),
        ({"gpus_per_trial": 1.0}, 3),
        ({"gpus_per_trial": 0.0}, 28),
        ({"gpus_per_trial": 0.0, "cpus_per_trial": 5}, 3 + 1),
        ({"gpus_per_trial": 1.0, "max_concurrent": 7}, 7),
    ],
)
def test_trials_fit_onto_single_nodes(
    settings: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial never has parts of two; what is asked for is what the cluster is to grow to."""
    monkeypatch.setattr(capacity, "_rooms", lambda: MIXED)
    assert max_parallel(on(**settings)) == expected


def test_gpus_are_used_where_the_cluster_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_rooms", lambda: MIXED)
    assert fit_to_cluster(on()).gpus_per_trial == 0.25
    assert fit_to_cluster(on(gpus_per_trial=0.0)).device_type == "cpu"
    monkeypatch.setattr(capacity, "_rooms", lambda: [{"CPU": 2.0}])
    assert fit_to_cluster(on()).device_type == "cpu"
    with pytest.raises(
        InputError, match=r"no node .* 1 CPUs and 0\.25 GPUs; ask for less, or give"
    ):
        fit_to_cluster(on(require_gpu=True))
    waiting = fit_to_cluster(on(require_gpu=True, max_concurrent=8))
    assert (waiting.gpus_per_trial, max_parallel(waiting)) == (0.25, 8)


def test_a_cpu_is_not_trained_on_where_a_gpu_is_required(tmp_path: Path) -> None:
    done = run_command("study.run", *DIGITS, "--out", tmp_path, "--require-gpu")
    assert done.returncode == 2
    assert "--require-gpu: there is no GPU here" in done.stderr
    with pytest.raises(InputError, match="contradict"):
        StudyConfig.of(require_gpu=True, gpus_per_trial=0.0)
