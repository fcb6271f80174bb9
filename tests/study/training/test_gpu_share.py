"""Trials that share a GPU: as many as its memory and its time have room for, and no more."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from search_spaces.optimizers import UNTRACED
from study.results.study_record import StudyRecord
from study.run import main
from study.settings.run_options import MachineOptions
from study.settings.study_config import StudyConfig
from study.system.errors import InputError
from study.system.hardware import GPU_SHARE
from study.task import SearchData, Task
from study.training import gpu_share
from study.training.gpu_share import MOST, busy_fraction, measured_share, share
from study.training.history import RunConfig
from study.training.training_run import TrainingRun
from tests.tasks import small_task

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

gpu_bytes = st.integers(0, 200 * 2**30)
process_bytes = st.integers(1, 200 * 2**30)
fractions = st.floats(0, 2)


def side_by_side(free: int, one: int, busy: float) -> int:
    """As many as Ray would start on a GPU, which it counts in ten-thousandths."""
    return 10_000 // round(10_000 * share(free, one, busy))


@given(gpu_bytes, process_bytes, fractions)
def test_never_more_trials_than_there_is_room_for(free: int, one: int, busy: float) -> None:
    trials = side_by_side(free, one, busy)
    assert 1 <= trials <= MOST
    assert trials == 1 or (trials * one <= free and trials * busy <= 1 + 1e-9)
    more = trials + 1
    assert more > MOST or more * one > free or more * busy > 1 - 1e-9, "and none left out"


@given(gpu_bytes, process_bytes, fractions, gpu_bytes, process_bytes, fractions)
def test_who_asks_for_more_gets_no_less(
    free: int, one: int, busy: float, more: int, less: int, idle: float
) -> None:
    roomier = share(max(free, more), min(one, less), min(busy, idle))
    assert roomier <= share(min(free, more), max(one, less), max(busy, idle))


@given(gpu_bytes, process_bytes, fractions)
def test_a_share_can_be_typed(free: int, one: int, busy: float) -> None:
    assert MachineOptions(gpus_per_trial=share(free, one, busy)).gpu_share == share(free, one, busy)


@pytest.mark.parametrize(
    ("free", "one", "busy", "expected"),
    [
        (80, 1, 0.01, 1 / 16),
        (80, 1, 0.5, 1 / 2),
        (80, 1, 0.51, 1),
        (80, 1, 1 / 3, 0.3333),
        (80, 20, 0.01, 1 / 4),
        (80, 21, 0.01, 0.3333),
        (80, 81, 0.01, 1),
        (80, 1, 1.5, 1),
    ],
)
def test_shares(free: int, one: int, busy: float, expected: float) -> None:
    assert share(free, one, busy) == expected


def a_run(data: SearchData, device: str = "cpu") -> TrainingRun:
    return TrainingRun(
        small_task(), data, RunConfig("constant", {"peak_lr": 0.01}, 0, 1, 100), device
    )


class Profiler:
    """What torch's profiler says of 20 steps that take a GPU 50 microseconds each."""

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def events(self) -> list[Any]:
        kinds = [(DeviceType.CUDA, False), (DeviceType.CPU, False), (DeviceType.CUDA, True)]
        return [
            SimpleNamespace(
                device_type=device,
                is_user_annotation=annotation,
                time_range=SimpleNamespace(elapsed_us=lambda: 50.0),
            )
            for device, annotation in kinds
            for _ in range(20)
        ]


def test_kernels_are_held_against_the_wall_time(
    small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.profiler, "profile", lambda **_: Profiler())
    monkeypatch.setattr(gpu_share, "_seconds", lambda steps: 0.004)
    assert busy_fraction(a_run(small_mnist)) == pytest.approx(0.25)


def test_where_no_kernels_are_seen_the_default_stands(small_mnist: SearchData) -> None:
    """On a CPU there are none; the steps are real, and more than an epoch has."""
    run = a_run(small_mnist)
    assert run.steps_per_epoch < 3 * gpu_share.STEPS
    assert busy_fraction(run) == GPU_SHARE


def test_a_machine_without_a_gpu_has_no_share(
    small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_share, "usable_gpus", lambda kind: 0)
    assert measured_share(small_task(), small_mnist, 100, "sgd") == 0


@pytest.mark.parametrize(
    ("optimizer", "made_by"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)]
)
def test_the_share_is_of_what_was_measured(
    optimizer: str, made_by: type, small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it but the GPU: 10 GiB are free, and a trial has had 1 GiB at most."""
    runs = []

    def on_cpu(task: Task, data: SearchData, config: RunConfig, device: str) -> TrainingRun:
        assert device == "cuda"
        runs.append(TrainingRun(task, data, config))
        return runs[0]

    monkeypatch.setattr(gpu_share, "usable_gpus", lambda kind: 1)
    monkeypatch.setattr(gpu_share, "TrainingRun", on_cpu)
    monkeypatch.setattr(gpu_share, "busy_fraction", lambda run: 0.01)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 2**30)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * 2**30, 80 * 2**30))
    assert measured_share(small_task(), small_mnist, 100, optimizer) == 0.2
    assert type(runs[0].optimizer) is UNTRACED[made_by]


@pytest.mark.parametrize("failing", ["TrainingRun", "busy_fraction"])
def test_what_goes_wrong_while_measuring_is_one_line(
    failing: str, small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a trial does not fit the GPU."""

    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB.")

    monkeypatch.setattr(gpu_share, "usable_gpus", lambda kind: 1)
    monkeypatch.setattr(gpu_share, "TrainingRun", lambda *arguments: None)
    monkeypatch.setattr(gpu_share, failing, fail)
    with pytest.raises(
        InputError, match=r"^task 'small': training for --gpus-per-trial auto raised Out.* 9 GiB.$"
    ):
        measured_share(small_task(), small_mnist, 100, "sgd")


@NO_GPU
def test_a_gpu_is_measured_and_left_as_it_was(small_mnist: SearchData) -> None:
    torch.zeros(1, device="cuda")
    before = torch.cuda.memory_reserved()
    assert 0 < busy_fraction(a_run(small_mnist, "cuda")) <= 1
    assert 1 / MOST <= measured_share(small_task(), small_mnist, 100, "sgd") <= 1
    assert torch.cuda.memory_reserved() <= before + 64 * 2**20, "but for the libraries' workspaces"


def test_auto_is_measured_once_and_kept_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    seen, measured = [], []

    def measure(*arguments: object) -> float:
        measured.append(arguments)
        return 0.125

    def plan(config: StudyConfig, space: object, record: StudyRecord) -> str:
        seen.extend(
            [config.machine.gpu_share, config.machine.device_type, record.config["gpus_per_trial"]]
        )
        return ""

    monkeypatch.setattr("study.stages.preparation.measured_share", measure)
    monkeypatch.setattr("study.stages.searching.plan_line", plan)
    flags = ["--task", "digits", "--out", str(tmp_path), "--gpus-per-trial", "auto", "--dry-run"]
    assert main(flags) == 0
    assert seen == [0.125, "cuda", "auto"]
    assert len(measured) == 1
    assert "a trial gets 0.125 of a GPU" in capsys.readouterr().out


@pytest.mark.parametrize("gpus", [0, 1])
def test_until_it_is_measured_auto_is_the_default(
    gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.settings import run_options

    monkeypatch.setattr(run_options, "usable_gpus", lambda kind: gpus)
    default, auto = MachineOptions(), MachineOptions(gpus_per_trial="auto")
    assert (auto.gpu_share, auto.device_type) == (default.gpu_share, default.device_type)
