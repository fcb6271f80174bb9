"""Devices that this machine does not have, as far as torch can tell of them without one."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from study.execution.capacity import max_parallel
from study.settings.run_options import MachineOptions
from study.system.errors import InputError
from study.system.hardware import (
    accelerator,
    describe_hardware,
    device_name,
    usable_cpus,
    usable_gpus,
)
from study.task import RMSE, SearchData, Split, Task
from study.tasks import widest
from study.training.history import RunConfig
from study.training.training_run import TrainingRun
from tests.tasks import small


class NoFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As MPS has it: who makes a tensor of float64 is refused."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.dtype == torch.float64:
            raise TypeError(f"{func} makes float64, which this device has not")
        return made


def a_regression() -> tuple[Task, SearchData]:
    inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    targets = inputs.sum(1, keepdim=True)
    data = SearchData(Split(inputs, targets), Split(inputs, targets))
    task = Task(
        name="sum",
        load_search_data=lambda _: data,
        load_test_data=lambda _: data.validation,
        make_model=lambda _: torch.nn.Linear(4, 1),
        loss=torch.nn.functional.mse_loss,
        metric=RMSE,
    )
    return task, data


@pytest.mark.parametrize("regression", [False, True])
def test_no_float64_where_there_is_none(
    regression: bool, small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widest, "WITHOUT_FLOAT64", {"cpu"})
    task, data = a_regression() if regression else (small(), small_mnist)
    # One that rises again, so that the snapshots' ensemble is measured on the test split too.
    parameters = {"peak_lr": 0.05, "cycles": 2}
    run = TrainingRun(
        task, data, RunConfig("snapshot", parameters, 0, 4, 64), "cpu", data.validation
    )
    with NoFloat64():  # type: ignore[no-untyped-call]
        while not run.history.ended:
            run.run_epoch()
    assert run.history.status == "completed"
    with pytest.raises(TypeError, match="float64"), NoFloat64():  # type: ignore[no-untyped-call]
        torch.zeros(1, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_an_accelerator_is_used_where_it_is_named_or_is_cudas(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert (accelerator(), usable_gpus(kind)) == (kind, 1)
    others = {"cuda", "mps", "xpu"} - {kind}
    assert not any(map(usable_gpus, others))
    default, named = MachineOptions(), MachineOptions(device=kind)  # type: ignore[arg-type]
    assert default.device_type == default.device_here == ("cuda" if kind == "cuda" else "cpu")
    assert (named.device_type, named.device_here, named.gpu_share) == (kind, kind, 0.25)
    assert max_parallel(named) == min(usable_cpus(), 4)
    assert MachineOptions(device="cpu").device_type == "cpu"
    # The state of its random numbers is a part of each checkpoint.
    module = torch.get_device_module(kind)
    assert callable(module.get_rng_state)
    assert callable(module.set_rng_state)


def test_a_machine_without_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    assert (accelerator(), usable_gpus("cuda"), device_name("cpu")) == ("cpu", 0, "cpu")
    assert describe_hardware()["gpus"] == []
    assert device_name("mps") == "mps"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "--device must be one of auto, cpu, cuda, mps, xpu, not 'gpu'"),
        ({"device": "cpu", "require_gpu": True}, "--device cpu and --require-gpu contradict"),
        ({"device": "cpu", "gpus_per_trial": 0.5}, "--device cpu and --gpus-per-trial 0.5"),
        ({"device": "mps", "gpus_per_trial": 0.0}, "--device mps and --gpus-per-trial 0"),
        ({"device": "xpu", "gpus_per_trial": "auto"}, "measures the kernels of CUDA and ROCm"),
    ],
)
def test_flags_of_devices_that_contradict_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MachineOptions(**options)
