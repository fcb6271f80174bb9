"""The training loop: a function of its config, exact to resume, honest about what it did."""

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from optuna.distributions import CategoricalDistribution
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from benchmarks.peers.plain import PlainLeNet
from search_spaces import FAMILIES
from study.task import Data, SearchData, Split, Task
from study.tasks.builtin.lenet import LeNet
from study.tasks.metric import RMSE, Metric
from study.training.averaging import RECALIBRATION_BATCHES
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun
from tests.search_spaces.test_families import WITH_WARMUP, curve, every_family, sampled
from tests.tasks import Constant, HalfCollapsed, Samples, WithDropout, small_task, tensors

CONFIG = RunConfig("constant", {"peak_lr": 0.05}, seed=1, epochs=3, batch_size=50)
FEW = replace(CONFIG, batch_size=10)


def finish(run: TrainingRun) -> TrainingRun:
    while not run.history.ended:
        run.run_epoch()
    return run


def weights(run: TrainingRun) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in run.model.parameters()]


def same(first: TrainingRun, second: TrainingRun) -> bool:
    return all(map(torch.equal, weights(first), weights(second)))


def without_times(history: History) -> list[Any]:
    return [replace(record, seconds=0.0) for record in history.epochs] + history.curve


def test_the_loss_curve_is_that_of_the_plain_network(mnist: SearchData) -> None:
    """Layout, cut, windows and one kernel for the optimizer change the speed alone: 100 steps."""
    train = Split(*(part[:12_800] for part in tensors(mnist.train)))
    validation = Split(*(part[:100] for part in tensors(mnist.validation)))
    family = FAMILIES["one_cycle"]
    # At two or three times the rate, the last bit of a sum grows to a tenth of the loss.
    parameters = {**sampled(family, 1)[0], "peak_lr": 0.02}
    config = replace(CONFIG, family="one_cycle", parameters=parameters, epochs=1, batch_size=128)
    run = TrainingRun(small_task(), SearchData(train, validation), config)
    assert run.total_steps == 100

    plain = PlainLeNet()
    plain.load_state_dict(run.model.state_dict())
    optimizer = family.make_optimizer(plain.parameters(), parameters, 100)
    schedule = family.build(optimizer, parameters, 100)
    order = torch.randperm(12_800, generator=torch.Generator().manual_seed(config.seed))
    losses = []
    for batch in order.view(100, 128):
        loss = functional.cross_entropy(plain(train.inputs[batch]), train.targets[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())

    ours, _ = run._train_epoch()
    assert ours[-1] < 0.5 < ours[0], "it has learned meanwhile"
    torch.testing.assert_close(ours, torch.stack(losses))
    torch.testing.assert_close(weights(run), list(plain.parameters()))


@pytest.fixture(scope="module")
def few(small_mnist: SearchData) -> SearchData:
    """Samples for as many steps of a small batch as CONFIG has."""
    return SearchData(*(Split(*(part[:200] for part in tensors(split))) for split in small_mnist))


@every_family
@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_run_ends_bit_for_bit(family: Any, stop: int, few: SearchData) -> None:
    config = replace(FEW, family=family.name, parameters=sampled(family, 1)[0])
    resumes_exactly(small_task(LeNet), few, config, stop)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@every_family
def test_a_resumed_run_with_a_warm_up_ends_bit_for_bit(
    family: Any, optimizer: str, few: SearchData
) -> None:
    extras = {**WITH_WARMUP, "optimizer": CategoricalDistribution((optimizer,))}
    config = replace(FEW, family=family.name, parameters=sampled(family, 1, extras)[0])
    resumes_exactly(small_task(), few, config, 1)


def test_dropout_goes_on_where_it_was(small_mnist: SearchData) -> None:
    resumes_exactly(small_task(WithDropout), small_mnist, CONFIG, 1)


@pytest.mark.parametrize("data", ["tensors", "dataset", "loader"])
def test_augmented_data_of_any_kind_go_on_where_they_were(
    data: str, small_mnist: SearchData
) -> None:
    """Half of the pixels are drawn anew, by torch and by NumPy, at every step."""

    def transform(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.rand_like(inputs) < np.random.uniform(0.3, 0.7)
        return inputs * kept, targets

    train = Samples(tensors(small_mnist.train))

    def loader(size: int, order: torch.Generator | None) -> DataLoader[Any]:
        return DataLoader(train, size, order is not None, generator=order)

    kinds: dict[str, Data] = {"tensors": small_mnist.train, "dataset": train, "loader": loader}
    task = small_task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    given = SearchData(kinds[data], small_mnist.validation)
    resumes_exactly(replace(task, transform=transform), given, CONFIG, 1)


def test_a_loader_that_is_longer_than_it_says_fails(small_mnist: SearchData) -> None:
    class Longer(DataLoader[Any]):
        def __len__(self) -> int:
            return 3

    def loader(size: int, order: torch.Generator | None) -> DataLoader[Any]:
        return Longer(Samples(tensors(small_mnist.train)), size)

    run = TrainingRun(small_task(), SearchData(loader, small_mnist.validation), CONFIG)
    with pytest.raises(ValueError, match="says it has 3 batches has more"):
        run.run_epoch()


def test_what_a_loader_draws_when_it_is_made_is_seeded_too(small_mnist: SearchData) -> None:
    def loader(size: int, order: torch.Generator | None) -> DataLoader[Any]:
        some = torch.randperm(1_000)[:500].tolist()
        return DataLoader(Subset(Samples(tensors(small_mnist.train)), some), size, generator=order)

    resumes_exactly(small_task(), SearchData(loader, small_mnist.validation), CONFIG, 1)


def test_a_model_that_works_in_place_spoils_no_data(small_mnist: SearchData) -> None:
    before = [tensor.clone() for split in small_mnist for tensor in tensors(split)]
    finish(TrainingRun(small_task(InPlace), small_mnist, CONFIG))
    after = [tensor for split in small_mnist for tensor in tensors(split)]
    assert all(map(torch.equal, before, after))


class InPlace(LeNet):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.sub_(1))


def test_an_output_that_is_always_the_same_is_no_collapse(small_mnist: SearchData) -> None:
    """A class that is ruled out by an enormous negative logit."""

    class Masked(LeNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            ruled_out = torch.arange(10) == 10 - 1
            return super().forward(images).masked_fill(ruled_out, -1e9)

    train, validation = map(tensors, small_mnist)
    known = SearchData(*(Split(x, y.clamp(max=8)) for x, y in (train, validation)))
    assert finish(TrainingRun(small_task(Masked), known, CONFIG)).history.status == "completed"


def test_the_tasks_own_loss_and_metric_are_used(small_mnist: SearchData) -> None:
    data = SearchData(
        *(
            Split(tensors(split).inputs, tensors(split).targets[:, None].float())
            for split in small_mnist
        )
    )
    task = replace(
        small_task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 1))),
        loss=functional.l1_loss,
        metric=RMSE,
        chance_loss=None,
    )
    run = finish(TrainingRun(task, data, replace(CONFIG, parameters={"peak_lr": 1e-3})))
    run.model.eval()
    with torch.no_grad():
        outputs = run.model(tensors(data.validation).inputs)
    difference = (outputs - tensors(data.validation).targets).double()
    last = run.history.epochs[-1]
    assert last.val_loss == pytest.approx(float(difference.abs().mean()))
    assert last.val_metric == pytest.approx(float(difference.square().mean().sqrt()))


class Normed(nn.Sequential):
    """Two batch norms, of which the second is frozen."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8), nn.Linear(8, 10)
        )
        nn.init.constant_(self.get_buffer("3.running_mean"), 0.1)

    def train(self, mode: bool = True) -> "Normed":
        super().train(mode)
        self[3].eval()
        return self


SCHEDULE_FREE = replace(
    CONFIG, family="schedule_free", parameters={"peak_lr": 0.5, "warmup_fraction": 0.05}
)


def test_batch_norms_measure_the_averaged_weights(small_mnist: SearchData) -> None:
    """Schedule-free trains at others; every batch of an epoch is seen, so by hand it is a mean."""
    run = TrainingRun(small_task(Normed), small_mnist, SCHEDULE_FREE)
    frozen = [value.clone() for value in run.model.get_submodule("3").buffers()]
    run.run_epoch()
    _, linear, norm, other, _ = run.model.children()
    with torch.no_grad():
        hidden = linear(tensors(small_mnist.train).inputs.flatten(1))
    torch.testing.assert_close(norm.running_mean, hidden.mean(0))
    assert all(map(torch.equal, frozen, other.buffers()))


@pytest.mark.parametrize("batch_size", [50, 10])
def test_batch_norms_measure_what_is_trained_on(batch_size: int, small_mnist: SearchData) -> None:
    """Transformed samples: of 20 batches all, of 100 no more than are needed."""
    seen = []

    def twice(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(targets))
        return 2 * inputs, targets

    config = replace(SCHEDULE_FREE, batch_size=batch_size)
    run = TrainingRun(replace(small_task(Normed), transform=twice), small_mnist, config)
    run.run_epoch()
    measured = min(run.steps_per_epoch, RECALIBRATION_BATCHES)
    assert len(seen) == run.steps_per_epoch + measured
    if measured == run.steps_per_epoch:
        _, linear, norm, *_ = run.model.children()
        with torch.no_grad():
            hidden = linear(2 * tensors(small_mnist.train).inputs.flatten(1))
        torch.testing.assert_close(norm.running_mean, hidden.mean(0))


def test_batch_norms_of_averaged_weights_resume_exactly(small_mnist: SearchData) -> None:
    resumes_exactly(small_task(Normed), small_mnist, SCHEDULE_FREE, 1)


def test_a_family_that_averages_nothing_leaves_the_running_means(small_mnist: SearchData) -> None:
    run = TrainingRun(small_task(Normed), small_mnist, CONFIG)
    run.run_epoch()
    norm = run.model.get_submodule("2")
    assert int(norm.num_batches_tracked) == run.steps_per_epoch  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_test_metric_that_is_no_number_is_divergence(
    value: float, small_mnist: SearchData
) -> None:
    """Of the validation split it is one: nothing that is not finite is averaged over seeds."""
    train, validation = map(tensors, small_mnist)

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.tensor(value if len(targets) == 60 else 0.5)

    task = replace(small_task(), metric=Metric("x", "maximize", compute=compute))
    test = Split(*(part[:60] for part in train))
    history = finish(TrainingRun(task, small_mnist, CONFIG, test=test)).history
    assert (history.status, history.test_metric, history.test_loss) == ("diverged", None, None)
    assert f"metric {value}" in history.error
    test = Split(*(part[:61] for part in validation))
    assert finish(TrainingRun(task, small_mnist, CONFIG, test=test)).history.test_metric == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_metric_that_is_no_number_is_divergence(
    value: float | None, small_mnist: SearchData
) -> None:
    """And a missing one is an error in the task's code."""
    metric = Metric("x", "maximize", compute=lambda outputs, targets: value)
    run = TrainingRun(replace(small_task(), metric=metric), small_mnist, CONFIG)
    if value is None:
        with pytest.raises(TypeError):
            run.run_epoch()
    else:
        run.run_epoch()
        assert run.history.status == "diverged"


def resumes_exactly(task: Task, data: SearchData, config: RunConfig, stop: int) -> None:
    whole = finish(TrainingRun(task, data, config))
    first = TrainingRun(task, data, config)
    for _ in range(stop):
        first.run_epoch()
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    history = History.from_json(first.history.to_json())
    finish(TrainingRun(task, data, replace(config, seed=99)))  # another run in the same process
    second = TrainingRun(task, data, config)
    second.load_state(torch.load(file, weights_only=True), history)
    finish(second)
    assert same(whole, second)
    assert without_times(whole.history) == without_times(second.history)


def test_a_run_is_a_function_of_its_seed(small_mnist: SearchData) -> None:
    first, again, other = (
        finish(TrainingRun(small_task(), small_mnist, replace(CONFIG, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("epochs", [3, 60])
def test_the_recorded_curve_is_what_was_applied(epochs: int, small_mnist: SearchData) -> None:
    parameters = sampled(FAMILIES["one_cycle"], 1)[0]
    config = replace(CONFIG, family="one_cycle", parameters=parameters, epochs=epochs)
    # A linear model, since only the rates matter here.
    task = small_task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    run = TrainingRun(task, small_mnist, config)
    applied, original = [], run.optimizer.step

    def step() -> None:
        applied.append(tuple(run.optimizer.param_groups[0][key] for key in ("lr", "momentum")))
        original()

    run.optimizer.step = step  # type: ignore[method-assign, assignment]
    run.optimizer.step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    finish(run)
    total_steps = epochs * (1_000 // 50)
    assert len(applied) == total_steps == run.total_steps
    recorded = run.history.curve
    assert [(lr, momentum) for _, lr, momentum in recorded] == [applied[k] for k, *_ in recorded]
    assert len(recorded) == min(512, total_steps)
    assert (recorded[0][0], recorded[-1][0]) == (0, total_steps - 1)
    np.testing.assert_allclose(
        [lr for lr, _ in applied], curve(FAMILIES["one_cycle"], parameters, total_steps)
    )


def test_records_say_what_happened(small_mnist: SearchData) -> None:
    run = finish(TrainingRun(small_task(), small_mnist, CONFIG))
    assert [(record.epoch, record.step) for record in run.history.epochs] == [
        (1, 20),
        (2, 40),
        (3, 60),
    ]
    assert run.history.status == "completed"
    run.model.eval()
    with torch.no_grad():
        outputs = run.model(tensors(small_mnist.validation).inputs)
    last = run.history.epochs[-1]
    targets = tensors(small_mnist.validation).targets
    assert last.val_loss == pytest.approx(float(functional.cross_entropy(outputs, targets)))
    assert last.val_metric == int((outputs.argmax(1) == targets).sum()) / 500
    assert last.lr == 0.05
    assert last.train_loss < run.history.epochs[0].train_loss


def test_a_loss_that_is_no_number_is_divergence(small_mnist: SearchData) -> None:
    run = TrainingRun(small_task(), small_mnist, replace(CONFIG, parameters={"peak_lr": 1e6}))
    record = run.run_epoch()
    assert not math.isfinite(record.train_loss)
    assert run.history.status == "diverged"


def test_a_collapse_with_a_finite_loss_is_divergence(small_mnist: SearchData) -> None:
    run = TrainingRun(small_task(Constant), small_mnist, CONFIG)
    record = run.run_epoch()
    assert math.isfinite(record.train_loss)
    assert run.history.status == "diverged"


def test_a_real_collapse_is_found_in_its_first_epoch(mnist: SearchData) -> None:
    train = Split(*(tensor[:10_000] for tensor in tensors(mnist.train)))
    part = SearchData(train, mnist.validation)
    config = replace(CONFIG, parameters={"peak_lr": 0.5}, batch_size=128)
    run = TrainingRun(small_task(), part, config)
    record = run.run_epoch()
    assert math.isfinite(record.train_loss + record.val_loss)
    assert record.val_metric < 0.15
    assert run.history.status == "diverged"


def test_a_run_that_ends_at_chance_has_diverged(small_mnist: SearchData) -> None:
    """With a rate of nothing it learns nothing, though its outputs differ."""
    config = replace(CONFIG, parameters={"peak_lr": 1e-12})
    run = TrainingRun(small_task(), small_mnist, config)
    assert run.run_epoch().val_loss > math.log(10)
    assert run.history.status == "running"
    assert finish(run).history.status == "diverged"
    assert len(run.history.epochs) == 3


def test_a_run_that_learned_how_frequent_the_classes_are_has_diverged(mnist: SearchData) -> None:
    """Which is better than a guess of any, and no use."""
    train = Split(*(part[:5_000] for part in tensors(mnist.train)))
    config = replace(CONFIG, parameters={"peak_lr": 0.003})
    run = TrainingRun(small_task(HalfCollapsed), SearchData(train, mnist.validation), config)
    first = run.run_epoch()
    assert run.history.status == "running", "its outputs differ"
    history = finish(run).history
    assert history.epochs[-1].val_loss < first.val_loss < math.log(10)
    assert history.status == "diverged"


def test_a_slow_start_is_no_collapse(small_mnist: SearchData) -> None:
    """One-cycle begins far below its peak: nothing is learned in the first of many epochs."""
    ends: dict[str, float] = {"start_ratio": 0.01, "end_ratio": 1e-3}
    shape: dict[str, float | str] = {"rise_fraction": 0.5, "anneal": "cos", "phases": 2}
    parameters = {"peak_lr": 0.02, **shape, **ends}
    config = replace(CONFIG, family="one_cycle", parameters=parameters, epochs=6, batch_size=200)
    run = TrainingRun(small_task(), small_mnist, config)
    first = run.run_epoch()
    assert first.train_loss > math.log(10) - 0.01
    assert finish(run).history.status == "completed"
    assert run.history.epochs[-1].val_metric > 0.2


def test_every_sample_is_seen_once_an_epoch(small_mnist: SearchData) -> None:
    seen: list[torch.Tensor] = []

    class Watching(LeNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images.clone())
            return super().forward(images)

    run = TrainingRun(small_task(Watching), small_mnist, replace(CONFIG, batch_size=100))
    run.run_epoch()
    run.run_epoch()
    images = torch.cat(seen).flatten(1)
    first, second = images[:1_000], images[1_000:]
    expected = tensors(small_mnist.train).inputs.flatten(1).sum(1).sort().values
    for epoch in (first, second):
        assert torch.equal(epoch.sum(1).sort().values, expected)
    assert not torch.equal(first, second), "every epoch has an order of its own"
