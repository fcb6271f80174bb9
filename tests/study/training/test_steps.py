"""The training step: captured or not, it is the same step, and it waits for nothing."""

import copy
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from search_spaces import FAMILIES
from study.execution.trainable import ScheduleTrial, WorkerSetup
from study.storage.storage_path import StoragePath
from study.task import Data, SearchData, Split, Task
from study.tasks.builtin.lenet import LeNet
from study.tasks.check_data import load_for_search
from study.tasks.structure import mapped
from study.tasks.task_source import TaskSource
from study.training import steps
from study.training.batches import TensorBatches, batches, on_device
from study.training.cuda_graph import CapturedSteps
from study.training.history import History, RunConfig
from study.training.precision import grad_scaler
from study.training.steps import EagerSteps
from study.training.training_run import TrainingRun
from tests.search_spaces.test_families import sampled
from tests.tasks import Samples, WithDropout, small_task, tensors

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])

SHAPES: dict[str, dict[str, float | str]] = {
    "constant": {},
    "cosine": {"end_ratio": 0.01},
    "one_cycle": sampled(FAMILIES["one_cycle"], 1)[0],
}
CONFIG = RunConfig("cosine", {"peak_lr": 0.02, "end_ratio": 0.01}, seed=1, epochs=5, batch_size=40)


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured steps everywhere."""
    monkeypatch.setattr(steps, "CAPTURES_ON", {"cpu", "cuda"})


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nowhere."""
    monkeypatch.setattr(steps, "CAPTURES_ON", set())


class WithState(nn.Sequential):
    """Batch norm's buffers, dropout's draws, a layer that is frozen and one that is not used."""

    def __init__(self) -> None:
        linear = nn.Linear(784, 32)
        super().__init__(nn.Flatten(), linear, nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2))
        self.last, self.unused = nn.Linear(32, 10), nn.Linear(3, 3)
        linear.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        for layer in list(self)[:5]:
            images = layer(images)
        logits: Tensor = self.last(images)
        return logits


class Smooth(nn.Sequential):
    """Its gradients do not jump anywhere."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 10))


def capturable(model: type[nn.Module] = LeNet) -> Task:
    return replace(small_task(model), capturable=True)


def steps_of(run: TrainingRun) -> object:
    return run._steps


def finish(run: TrainingRun) -> TrainingRun:
    while not run.history.ended:
        run.run_epoch()
    return run


def everything(run: TrainingRun) -> list[Tensor]:
    """Weights, buffers and momenta."""
    state = run.state()
    momenta = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    return [tensor.detach().cpu().clone() for tensor in [*state["model"].values(), *momenta]]


def losses(run: TrainingRun) -> list[float]:
    return [loss.item() for loss, _ in run.steps()]


@every_device
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("extras", [{}, {"warmup_fraction": 0.2, "weight_decay": 0.05}])
@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize(("model", "tolerance"), [(Smooth, 1e-5), (LeNet, 3e-2)])
def test_a_captured_run_is_the_eager_one(
    model: type[nn.Module],
    tolerance: float,
    family: str,
    extras: dict[str, float],
    nesterov: bool,
    device: str,
    small_mnist: SearchData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over 125 steps, but for rounding.

    Where rounding decides which pixel wins a pool, LeNet's weights jump; its losses hardly do.
    """
    parameters = {**SHAPES[family], "peak_lr": 0.01, "momentum": 0.8, **extras}
    config = replace(CONFIG, family=family, parameters=parameters)
    runs = []
    for captures_on, expected in ((set(), EagerSteps), ({device}, CapturedSteps)):
        monkeypatch.setattr(steps, "CAPTURES_ON", captures_on)
        run = TrainingRun(capturable(model), small_mnist, config, device)
        assert isinstance(steps_of(run), expected)
        run.optimizer.param_groups[0]["nesterov"] = nesterov
        runs.append(finish(run))
    one, other = runs
    assert one.total_steps == 125
    assert [*map(len, (one.history.curve, other.history.curve))] == [125, 125]
    assert one.history.curve == other.history.curve
    if family == "one_cycle":
        assert len({momentum for *_, momentum in other.history.curve}) > 100
    for first, second in zip(one.history.epochs, other.history.epochs, strict=True):
        assert first.train_loss == pytest.approx(second.train_loss, rel=1e-4)
        assert first.val_loss == pytest.approx(second.val_loss, rel=1e-4)
    for mine, theirs in zip(everything(one), everything(other), strict=True):
        assert (mine - theirs).norm() <= tolerance * theirs.norm()


@every_device
@pytest.mark.usefixtures("capturing")
def test_the_update_is_torchs(device: str, small_mnist: SearchData) -> None:
    """From the same gradients, but for rounding."""
    run = TrainingRun(capturable(), small_mnist, CONFIG, device)
    losses(run)
    steps = run._steps
    assert isinstance(steps, CapturedSteps)
    theirs = [weight.detach().clone().requires_grad_() for weight in run.model.parameters()]
    group = run.optimizer.param_groups[0]
    options = {name: group[name] for name in ("weight_decay", "nesterov")}
    reference = SGD(theirs, 0.3, 0.7, **options)
    for weight, mine in zip(theirs, run.model.parameters(), strict=True):
        assert mine.grad is not None
        weight.grad = mine.grad.clone()
        momentum = run.optimizer.state[mine]["momentum_buffer"].clone()
        reference.state[weight]["momentum_buffer"] = momentum
    reference.step()
    steps._rate.fill_(0.3)
    steps._momentum.fill_(0.7)
    steps._update()
    for weight, mine in zip(theirs, run.model.parameters(), strict=True):
        torch.testing.assert_close(mine, weight, rtol=1e-6, atol=1e-7)


@every_device
@pytest.mark.usefixtures("capturing")
def test_a_rate_is_what_is_applied_without_another_capture(
    device: str, small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainingRun(capturable(), small_mnist, CONFIG, device)
    prepared, prepare = [], CapturedSteps._prepare

    def counted(steps: CapturedSteps) -> None:
        prepared.append(steps)
        prepare(steps)

    monkeypatch.setattr(CapturedSteps, "_prepare", counted)
    monkeypatch.setattr(run.schedule, "step", lambda: None)
    group = run.optimizer.param_groups[0]
    group["lr"] = 0.0
    before = run.state()["model"]
    before = {name: value.clone() for name, value in before.items()}
    assert len(losses(run)) == 25
    assert all(map(torch.equal, before.values(), run.state()["model"].values()))
    group["lr"] = 0.02
    losses(run)
    assert not any(map(torch.equal, before.values(), run.state()["model"].values()))
    assert len(prepared) == 1


@every_device
@pytest.mark.usefixtures("capturing")
def test_a_capture_leaves_all_as_it_was(device: str, small_mnist: SearchData) -> None:
    run = TrainingRun(capturable(WithState), small_mnist, CONFIG, device)
    steps = run._steps
    assert isinstance(steps, CapturedSteps)

    def now() -> list[Tensor]:
        drawn = [torch.get_rng_state(), run._order.get_state()]
        if device == "cuda":
            drawn.append(torch.cuda.get_rng_state())
        tensors = [*run.model.parameters(), *run.model.buffers()]
        return [tensor.detach().clone() for tensor in [*tensors, *drawn]]

    run.model.train()
    before = now()
    steps._prepare()
    assert all(map(torch.equal, before, now()))
    for state in run.optimizer.state.values():
        assert not state["momentum_buffer"].any()


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a CUDA graph does, on a CPU: the kernels of a step again, on the very same memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        given = function(*arguments, **(keywords or {}))
        memory = {x.untyped_storage().data_ptr() for x in of_tensors((arguments, keywords))}
        fresh = [x for x in of_tensors(given) if x.untyped_storage().data_ptr() not in memory]
        if fresh or function._schema.is_mutable:  # else it is a view, which stays what it is
            self.calls.append((function, arguments, keywords or {}, of_tensors(given)))
        return given

    @torch.no_grad()
    def replay(self) -> None:
        for function, arguments, keywords, outputs in self.calls:
            again = of_tensors(function(*arguments, **keywords))
            for output, value in zip(outputs, again, strict=True):
                if output.data_ptr() != value.data_ptr():
                    output.copy_(value)


def of_tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.fixture
def recording(capturing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps on a CPU that are captured as they are on a GPU."""
    del capturing
    once = CapturedSteps._step

    def record(steps: CapturedSteps) -> None:
        steps._graph = graph = Recording()  # type: ignore[assignment]
        with graph:
            once(steps)

    monkeypatch.setattr(CapturedSteps, "_step", record)


@pytest.mark.parametrize("model", [LeNet, WithDropout, WithState])
@pytest.mark.parametrize("family", SHAPES)
def test_nothing_is_captured_that_changes(
    family: str, model: type[nn.Module], small_mnist: SearchData, request: pytest.FixtureRequest
) -> None:
    """Steps that repeat kernels on the same memory are those that Python takes one by one."""
    parameters = {**SHAPES[family], "peak_lr": 0.02, "warmup_fraction": 0.1}
    config = replace(CONFIG, family=family, parameters=parameters, epochs=2)
    runs = []
    for how in ("capturing", "recording"):
        request.getfixturevalue(how)
        runs.append(finish(TrainingRun(capturable(model), small_mnist, config)))
    steps = runs[1]._steps
    assert isinstance(steps, CapturedSteps)
    assert isinstance(steps._graph, Recording)
    assert all(map(torch.equal, *map(everything, runs)))
    assert [record.train_loss for record in runs[0].history.epochs] == [
        record.train_loss for record in runs[1].history.epochs
    ]


@pytest.mark.usefixtures("recording")
def test_what_was_captured_is_given_up_where_a_state_is_loaded(small_mnist: SearchData) -> None:
    test_a_captured_run_resumes_bit_for_bit(1, LeNet, "cpu", small_mnist)


@every_device
@pytest.mark.parametrize("model", [LeNet, WithDropout, WithState])
@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.usefixtures("capturing")
def test_a_captured_run_resumes_bit_for_bit(
    stop: int, model: type[nn.Module], device: str, small_mnist: SearchData
) -> None:
    task = capturable(model)
    whole = finish(TrainingRun(task, small_mnist, CONFIG, device))
    first = TrainingRun(task, small_mnist, CONFIG, device)
    for _ in range(stop):
        first.run_epoch()
    file = io.BytesIO()
    torch.save(first.state(), file)
    history = first.history.to_json()
    # One that has not begun, and one whose steps were captured long ago.
    for run in (TrainingRun(task, small_mnist, CONFIG, device), finish(first)):
        file.seek(0)
        run.load_state(torch.load(file, weights_only=True), History.from_json(history))
        assert isinstance(steps_of(run), CapturedSteps)
        finish(run)
        assert all(map(torch.equal, everything(whole), everything(run)))
        records = [
            [replace(record, seconds=0.0) for record in history.epochs]
            for history in (whole.history, run.history)
        ]
        assert records[0] == records[1]


@every_device
@pytest.mark.parametrize("captured", [False, True])
def test_a_run_goes_on_as_it_began_whichever_step_it_takes(
    captured: bool, device: str, small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of one kind of step is taken up by the other."""
    task = capturable()
    captures_on: Sequence[set[str]] = [{device}, set()] if captured else [set(), {device}]
    monkeypatch.setattr(steps, "CAPTURES_ON", captures_on[0])
    whole = TrainingRun(task, small_mnist, CONFIG, device)
    whole.run_epoch()
    monkeypatch.setattr(steps, "CAPTURES_ON", captures_on[1])
    other = TrainingRun(task, small_mnist, CONFIG, device)
    other.load_state(copy.deepcopy(whole.state()), History.from_json(whole.history.to_json()))
    assert type(steps_of(other)) is not type(steps_of(whole))
    assert whole.run_epoch().val_loss == pytest.approx(other.run_epoch().val_loss, rel=1e-4)


Case = tuple[str, Task, str, dict[str, float | str], bool]
"""What it is, the task, the kind of data, the parameters, and whether steps are captured."""


def cases() -> Iterator[Case]:
    task, transform = capturable(), lambda inputs, targets: (inputs, targets)
    plain: dict[str, float | str] = {"peak_lr": 0.02}
    yield "as it should be", task, "tensors", plain, True
    yield "without momentum", task, "tensors", {**plain, "momentum": 0.0}, True
    yield "not capturable", replace(task, capturable=False), "tensors", plain, False
    yield "transform", replace(task, transform=transform), "tensors", plain, False
    yield "dataset", task, "dataset", plain, False
    yield "loader", task, "loader", plain, False
    yield "AdamW", task, "tensors", {**plain, "optimizer": "adamw"}, False
    free = {**plain, "warmup_fraction": 0.1}
    yield "schedule-free", task, "tensors", free, False
    yield "double", capturable(Double), "tensors", plain, False


class Double(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10).double())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self[1](self[0](images.double()))
        return logits


@every_device
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: str(case[0]))
@pytest.mark.usefixtures("capturing")
def test_what_cannot_be_captured_takes_the_eager_step(
    case: Case,
    device: str,
    small_mnist: SearchData,
) -> None:
    what, task, kind, parameters, captured = case
    train = Samples(tensors(small_mnist.train))

    def loader(size: int, order: torch.Generator | None) -> DataLoader[Any]:
        return DataLoader(train, size, order is not None, generator=order, drop_last=True)

    kinds: dict[str, Data] = {"tensors": small_mnist.train, "dataset": train, "loader": loader}
    data = SearchData(kinds[kind], small_mnist.validation)
    family = "schedule_free" if what == "schedule-free" else "constant"
    config = replace(CONFIG, family=family, parameters=parameters)
    run = TrainingRun(task, data, config, device)
    assert isinstance(steps_of(run), CapturedSteps if captured else EagerSteps)
    record = run.run_epoch()
    assert run.history.status == "running"
    assert record.train_loss < 2.4


@pytest.mark.usefixtures("capturing")
def test_an_unusual_sgd_takes_the_eager_step(small_mnist: SearchData) -> None:
    task, model = capturable(), LeNet()
    train = batches(small_mnist.train, 50, torch.Generator())
    weights, scaler = list(model.parameters()), grad_scaler("fp32", "cpu")
    groups = [{"params": weights[:2]}, {"params": weights[2:]}]
    usual = steps.training_steps(task, model, SGD(weights, 0.1), train, scaler)
    assert isinstance(usual, CapturedSteps)
    for optimizer in (
        SGD(groups, 0.1),
        SGD(weights, 0.1, maximize=True),
        SGD(weights, 0.1, 0.9, dampening=0.5),
    ):
        assert isinstance(steps.training_steps(task, model, optimizer, train, scaler), EagerSteps)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=NO_GPU)])
def test_a_gpu_captures_by_default(device: str, small_mnist: SearchData) -> None:
    run = TrainingRun(capturable(), small_mnist, CONFIG, device)
    losses(run)
    assert isinstance(run._steps, CapturedSteps)
    assert run._steps._graph


def test_a_cpu_does_not(small_mnist: SearchData) -> None:
    assert isinstance(steps_of(TrainingRun(capturable(), small_mnist, CONFIG)), EagerSteps)


class NoReading(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what makes the host wait for a device: to read a value, or to pick by a mask."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        assert function.overloadpacket not in {
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.equal,
            torch.ops.aten.is_nonzero,
        }, function
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("kind", ["eager", "capturing"])
def test_an_epoch_reads_the_device_once(
    kind: str,
    small_mnist: SearchData,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As far as it can be seen on a CPU."""
    request.getfixturevalue(kind)
    run = TrainingRun(capturable(), small_mnist, CONFIG)
    reads, tolist = [], Tensor.tolist

    def counted(tensor: Tensor) -> Any:
        reads.append(tensor)
        return tolist(tensor)

    monkeypatch.setattr(Tensor, "tolist", counted)
    with NoReading():  # type: ignore[no-untyped-call]
        run.run_epoch()
        run.run_epoch()
    assert len(reads) == 2


def test_the_refusal_sees_what_is_read() -> None:
    number = torch.ones(())
    with NoReading():  # type: ignore[no-untyped-call]
        for read in (float, bool, Tensor.item, torch.nonzero):
            with pytest.raises(AssertionError):
                read(number)


@NO_GPU
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_steps_on_a_gpu_do_not_wait(small_mnist: SearchData) -> None:
    """By torch's own watch, once the libraries are warm and the batches of the epoch are there."""
    run = TrainingRun(capturable(), small_mnist, CONFIG, "cuda")
    losses(run)
    steps = run.steps()
    next(steps)
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in steps:
            pass
        run._evaluate(run._validation)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_data_go_to_the_device_once(small_mnist: SearchData) -> None:
    """On torch's device without memory, which every machine has."""
    there = on_device(small_mnist.train, "meta")
    assert isinstance(there, Split)
    assert [part.device.type for part in there] == ["meta", "meta"]
    again = batches(there, 50, None, "meta")
    assert isinstance(again, TensorBatches)
    assert all(one is other for one, other in zip(again.split, there, strict=True))
    loader = Samples(tensors(small_mnist.train))
    assert on_device(loader, "meta") is loader


def test_an_actor_moves_its_data_for_all_trials(
    small_mnist: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the object store, and those that a task loads in its worker."""
    monkeypatch.setattr("study.execution.trainable.ray.get", lambda arrays: arrays)
    for shared in (None, [mapped(Tensor.numpy, split) for split in small_mnist]):
        trial = ScheduleTrial.__new__(ScheduleTrial)
        source, references = TaskSource.read("digits", ()), cast("Any", shared)
        nowhere = StoragePath.of("nowhere")
        trial._worker = WorkerSetup(source, references, load_for_search, Path(), 1, "meta", nowhere)
        _, data = trial._task_and_data
        assert {part.device.type for split in data.splits for part in tensors(split)} == {"meta"}
        assert trial._task_and_data[1] is data
