"""The recipe of a step, each part against a plain loop of torch's own, bit for bit on the CPU."""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from schedulefree import SGDScheduleFree
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn import functional
from torch.optim import SGD, AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from search_spaces import FAMILIES
from search_spaces.as_code import code
from search_spaces.optimizers import Several
from study.system.errors import InputError
from study.system.seeding import seed_everything
from study.task import SearchData, Split, Task
from study.tasks.recipe_code import recipe_code
from study.training import check_optimizer
from study.training.check_task import check_task, steps_per_epoch
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun

SAMPLES, BATCH, BATCHES, EPOCHS, PEAK = 210, 16, 13, 3, 0.1
CONFIG = RunConfig("linear_to_zero", {"peak_lr": PEAK}, seed=3, epochs=EPOCHS, batch_size=BATCH)


class Normed(nn.Sequential):
    """Small, with a batch norm, and a draw from the random state at every step."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3)
        )


def part(count: int, seed: int) -> Split:
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return Split(inputs, inputs[:, :3].argmax(1))


DATA = SearchData(part(SAMPLES, 0), part(90, 1))


def task(**fields: Any) -> Task:
    made = {"make_model": lambda seed: Normed(), **fields}
    return Task("recipe", lambda data_dir: DATA, lambda data_dir: part(90, 2), **made)


def usual(model: nn.Module, fused: bool = True) -> list[Optimizer]:
    return [SGD(model.parameters(), PEAK, 0.9, 0, 5e-4, True, fused=fused)]


unfused = partial(usual, fused=False)


@dataclass
class Loop:
    """A training loop as anybody writes it."""

    optimizers: Callable[[nn.Module], list[Optimizer]] = usual
    accumulate: int = 1
    clip: float | None = None
    dtype: torch.dtype | None = None
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    average: Callable[[nn.Module], AveragedModel] | None = None
    average_from: int = 0

    def train(self) -> tuple[nn.Module, nn.Module, int]:
        """The model, the one to evaluate, and the number of steps taken."""
        seed_everything(CONFIG.seed)
        model, order = Normed(), torch.Generator().manual_seed(CONFIG.seed)
        optimizers = self.optimizers(model)
        total = EPOCHS * -(-BATCHES // self.accumulate)
        line = FAMILIES["linear_to_zero"]
        schedules = [
            line.build(one, {"peak_lr": one.param_groups[0]["lr"]}, total) for one in optimizers
        ]
        scaler = GradScaler("cpu", enabled=self.dtype is torch.float16)
        averaged, done = self.average(model) if self.average else None, 0
        for _ in range(EPOCHS):
            model.train()
            rest = iter(self.batches(order))
            while some := list(islice(rest, self.accumulate)):
                if not self.step(model, optimizers, scaler, some):
                    continue
                for schedule in schedules:
                    schedule.step()
                if averaged and done >= self.average_from:
                    averaged.update_parameters(model)
                done += 1
            if averaged and averaged.n_averaged:
                averaged.train()
                with self.forward():
                    update_bn(self.batches(order), averaged.module)
        return model, averaged.module if averaged else model, done

    def forward(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", self.dtype) if self.dtype else nullcontext()

    def batches(self, order: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        inputs, targets = DATA.train  # type: ignore[misc]
        indices = torch.randperm(SAMPLES, generator=order)[: BATCHES * BATCH].view(BATCHES, -1)
        return [(inputs[one], targets[one]) for one in indices]

    def step(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: GradScaler,
        some: Sequence[tuple[Tensor, Tensor]],
    ) -> bool:
        for one in optimizers:
            one.zero_grad()
        for inputs, targets in some:
            with self.forward():
                loss = self.loss(model(inputs), targets)
            scaler.scale(loss / len(some)).backward()  # type: ignore[no-untyped-call]
        if self.clip:
            for one in optimizers:
                scaler.unscale_(one)
            nn.utils.clip_grad_norm_(model.parameters(), self.clip)
        for one in optimizers:
            scaler.step(one)
        before = scaler.get_scale()
        scaler.update()
        return scaler.get_scale() >= before


def weights(model: nn.Module) -> list[Tensor]:
    return [one.detach().clone() for one in model.state_dict().values()]


def finished(run: TrainingRun) -> TrainingRun:
    while not run.history.ended:
        run.run_epoch()
    return run


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, weights(one), weights(other)))


def overflowing(outputs: Tensor, targets: Tensor) -> Tensor:
    """Gradients that are too large for fp16 until the scaler has halved its scale a few times."""
    return 4 * functional.cross_entropy(outputs, targets)


def by_norm(model: nn.Module) -> list[dict[str, Any]]:
    """No decay on norms and biases, and the last layer at half the rate."""
    layers = [*model.children()]
    return [
        {"params": [layers[0].weight]},
        {"params": [*layers[1].parameters(), layers[0].bias], "weight_decay": 0.0},
        {"params": layers[-1].parameters(), "lr_scale": 0.5},
    ]


def apart(model: nn.Module) -> list[Optimizer]:
    """As :func:`by_norm`, but an optimizer a group, each with a schedule of its own."""
    return [
        SGD(group["params"], PEAK * group.get("lr_scale", 1), 0.9, 0, decay, True, fused=True)
        for group in by_norm(model)
        for decay in [group.get("weight_decay", 5e-4)]
    ]


def muon_and_adamw(model: nn.Module, lr: float, momentum: float, decay: float) -> list[Optimizer]:
    """Muon for matrices, AdamW at a hundredth of its rate for the rest."""
    matrices = [one for one in model.parameters() if one.ndim == 2]
    others = [one for one in model.parameters() if one.ndim < 2]
    adamw = AdamW(others, lr / 100, (momentum, 0.999), weight_decay=decay)
    return [adamw, Muon(matrices, lr, weight_decay=decay, momentum=momentum)]


def ema(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]


ALL = {"clip_norm": 0.5, "accumulate": 3, "precision": "fp16", "average": "ema:0.9"}
RECIPES: Mapping[str, tuple[dict[str, Any], Loop]] = {
    "nothing": ({}, Loop()),
    "clipping": ({"clip_norm": 0.3}, Loop(clip=0.3)),
    "accumulation": ({"accumulate": 4}, Loop(accumulate=4)),
    "bf16": ({"precision": "bf16"}, Loop(dtype=torch.bfloat16)),
    "fp16": (
        {"precision": "fp16", "loss": overflowing},
        Loop(unfused, dtype=torch.float16, loss=overflowing),
    ),
    "groups": ({"parameter_groups": by_norm}, Loop(apart)),
    "Muon": (
        {"make_optimizer": muon_and_adamw},
        Loop(lambda model: muon_and_adamw(model, PEAK, 0.9, 5e-4)),
    ),
    "all of it with Muon": (
        {**ALL, "precision": "fp32", "make_optimizer": muon_and_adamw},
        Loop(
            lambda model: muon_and_adamw(model, PEAK, 0.9, 5e-4),
            accumulate=3,
            clip=0.5,
            average=ema,
        ),
    ),
    "ema": ({"average": "ema:0.9"}, Loop(average=ema)),
    "tail": ({"average": "tail:0.5"}, Loop(average=AveragedModel, average_from=39 - 20)),
    "all of it": (
        {**ALL, "loss": overflowing},
        Loop(unfused, 3, 0.5, torch.float16, overflowing, ema),
    ),
}
every_recipe = pytest.mark.parametrize("name", RECIPES)


@every_recipe
def test_each_part_does_as_a_plain_loop(name: str) -> None:
    fields, loop = RECIPES[name]
    run = finished(TrainingRun(task(**fields), DATA, CONFIG))
    model, evaluated, steps = loop.train()
    assert equal(run.model, model)
    assert equal(run.evaluated, evaluated)
    assert run.history.epochs[-1].step == steps
    assert (steps < run.total_steps) == (fields.get("precision") == "fp16"), "some were left out"
    assert [step for step, *_ in run.history.curve] == list(range(steps))
    inputs, targets = DATA.validation  # type: ignore[misc]
    with torch.no_grad(), loop.forward():
        right = (evaluated.eval()(inputs).argmax(1) == targets).double().mean()
    assert run.history.epochs[-1].val_metric == pytest.approx(float(right))


@every_recipe
@pytest.mark.parametrize("epochs", [1, 2])
def test_interrupted_and_resumed_it_ends_equal(name: str, epochs: int) -> None:
    """Before the tail of an average, and within; once fp16 has left steps out."""
    fields, _ = RECIPES[name]
    whole = finished(TrainingRun(task(**fields), DATA, CONFIG))
    first = TrainingRun(task(**fields), DATA, CONFIG)
    for _ in range(epochs):
        first.run_epoch()
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    finished(TrainingRun(task(**fields), DATA, replace(CONFIG, seed=9)))
    second = TrainingRun(task(**fields), DATA, CONFIG)
    history = History.from_json(first.history.to_json())
    second.load_state(torch.load(file, weights_only=True), history)
    finished(second)
    assert equal(whole.model, second.model)
    assert equal(whole.evaluated, second.evaluated)
    assert whole.history.curve == second.history.curve


@every_recipe
def test_the_exported_code_trains_as_the_study_did(name: str) -> None:
    """But for rounding: the study updates all weights in one kernel."""
    fields, loop = RECIPES[name]
    run = finished(TrainingRun(task(**fields), DATA, CONFIG))
    seed_everything(CONFIG.seed)
    model, order = Normed(), torch.Generator().manual_seed(CONFIG.seed)
    made: dict[str, Any] = {"model": model, **fields}
    total = run.total_steps
    snippet = code(CONFIG.family, CONFIG.parameters, total, run.task.optimizer_from)
    exec(snippet + recipe_code(run.task.recipe, total, run.task.optimizer_from), made)
    step = made.get("train_step", partial(plain_step, made))
    for _ in range(EPOCHS):
        model.train()
        rest = iter(loop.batches(order))
        while some := list(islice(rest, loop.accumulate)):
            step(some, lambda model, batch: loop.loss(model(batch[0]), batch[1]))
        if "average" in made and made["average"].n_averaged:
            made["average"].train()
            with loop.forward():
                update_bn(loop.batches(order), made["average"].module)
    evaluated = made["average"].module if "average" in made else model
    torch.testing.assert_close(weights(evaluated), weights(run.evaluated), rtol=1e-3, atol=1e-5)


def plain_step(made: dict[str, Any], some: Sequence[Any], loss_of: Callable[..., Tensor]) -> None:
    optimizers = made.get("optimizers", [made["optimizer"]])
    for one in optimizers:
        one.zero_grad()
    loss_of(made["model"], some[0]).backward()  # type: ignore[no-untyped-call]
    for one in optimizers:
        one.step()
    made["schedule"].step()


def test_a_first_step_that_is_left_out_leaves_no_momentum() -> None:
    """As torch's fused SGD does: memory that nobody has written."""
    run = TrainingRun(task(precision="fp16", loss=overflowing), DATA, CONFIG)
    called: list[Optimizer] = []
    run.optimizer.register_step_pre_hook(lambda optimizer, *_: called.append(optimizer))
    assert len([*run.steps()]) == len(called) < BATCHES


def test_the_recorded_curve_is_the_first_groups_and_the_others_keep_their_proportion() -> None:
    run = TrainingRun(task(make_optimizer=muon_and_adamw), DATA, CONFIG)
    used = rates_of(run, "lr")
    assert "ns_steps" in run.optimizer.param_groups[0], "Muon, which has the peak rate"
    assert used[0][0] == PEAK
    assert all(other == pytest.approx(lr / 100, rel=1e-12) for lr, other in used)
    assert [lr for _, lr, _ in run.history.curve] == [lr for lr, _ in used]


def rates_of(run: TrainingRun, key: str) -> list[list[Any]]:
    """A value of each group as the steps of an epoch use it."""
    used: list[list[Any]] = []

    def keep(optimizer: Optimizer, *_: object) -> None:
        used.append([group[key] for group in optimizer.param_groups])

    run.optimizer.register_step_post_hook(keep)
    assert len([*run.steps()]) == len(used)
    return used


def test_one_cycle_moves_the_momentum_of_every_group() -> None:
    config = replace(CONFIG, family="one_cycle", parameters=one_cycle())
    run = TrainingRun(task(make_optimizer=muon_and_adamw), DATA, config)
    assert isinstance(run.optimizer, Several)
    adamw, betas = run.optimizer.optimizers[0], []
    adamw.register_step_pre_hook(lambda one, *_: betas.append(one.param_groups[0]["betas"][0]))
    momenta = [muon for muon, _ in rates_of(run, "momentum")]
    assert len({*momenta}) > 10
    assert betas == momenta


def one_cycle() -> dict[str, Any]:
    return FAMILIES["one_cycle"].default((0.01, 0.1))


def test_an_epochs_last_step_takes_the_batches_that_are_left() -> None:
    """Of 13 batches, four steps of three and one of one."""
    run = TrainingRun(task(accumulate=3), DATA, CONFIG)
    run.run_epoch()
    assert run.history.epochs[0].step == run.steps_per_epoch == 5
    assert steps_per_epoch(task(accumulate=3), DATA, BATCH) == 5


def test_an_average_waits_for_its_tail() -> None:
    run = TrainingRun(task(average="tail:0.5"), DATA, CONFIG)
    run.run_epoch()
    assert run.evaluated is run.model
    run.run_epoch()
    assert run.evaluated is not run.model


def without_the_norm(model: nn.Module) -> list[dict[str, Any]]:
    return [{"params": [one for one in model.parameters() if one.ndim == 2]}]


def twice(model: nn.Module) -> list[dict[str, Any]]:
    return [{"params": [*model.parameters()]}, {"params": [next(model.parameters())]}]


def adagrad(model: nn.Module, lr: float, momentum: float, decay: float) -> Optimizer:
    return torch.optim.Adagrad(model.parameters(), lr)


def slower(model: nn.Module, lr: float, momentum: float, decay: float) -> Optimizer:
    return SGD(model.parameters(), lr / 10)


def two_sets(model: nn.Module, lr: float, momentum: float, decay: float) -> Optimizer:
    optimizer: Optimizer = SGDScheduleFree(model.parameters(), lr, momentum)
    return optimizer


BAD: Mapping[str, tuple[dict[str, Any], str]] = {
    "groups that miss": (
        {"parameter_groups": without_the_norm},
        r"parameter_groups\(model\) leaves out 0.bias and 3 more, which would never be trained",
    ),
    "groups that repeat": (
        {"parameter_groups": twice},
        r"parameter_groups\(model\) raised ValueError: some parameters appear in more than one",
    ),
    "no group at the peak rate": (
        {"make_optimizer": slower},
        r"make_optimizer\(.*\) raised ValueError: one group must have the peak rate itself, 0.0475",
    ),
    "no optimizer": (
        {"make_optimizer": lambda model, lr, momentum, decay: [model]},
        r"make_optimizer\(.*\) raised TypeError: an optimizer or a list of them .* not Normed",
    ),
    "two averages": (
        {"make_optimizer": two_sets, "average": "ema"},
        r"the optimizer of make_optimizer\(.*\) averages the weights by itself, .* none, not ema",
    ),
    "two sets of weights beside another optimizer": (
        {"make_optimizer": lambda *asked: [two_sets(*asked), slower(*asked)]},
        r"make_optimizer\(.*\) raised TypeError: an optimizer that keeps two sets of weights must",
    ),
    "a step without a scalar": (
        {"step": lambda model, batch: model(batch[0])},
        r"step\(model, batch\) must be a scalar tensor, not \(16, 3\)",
    ),
    "a step without a graph": (
        {"step": lambda model, batch: model(batch[0]).detach().mean()},
        r"the backward pass of step\(model, batch\) raised RuntimeError: .* does not require grad",
    ),
    "an evaluate without the metric": (
        {"evaluate": lambda model, batches: {"F1": 0.5}},
        r"evaluate\(model, batches\) must return 'accuracy', the metric that trials are ranked by, "
        r"among its names: 'F1'",
    ),
    "an evaluate that returns a number": (
        {"evaluate": lambda model, batches: 0.5},
        r"evaluate\(model, batches\) must return values by their names, not float",
    ),
    "a name of the tables": (
        {"evaluate": lambda model, batches: {"accuracy": 0.5, "metric": 1.0}},
        r"evaluate\(model, batches\) gives 'metric', a column of the tables; rename it",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_one_line(name: str) -> None:
    fields, message = BAD[name]
    with pytest.raises(InputError, match=f"^task 'recipe': {message}") as caught:
        check_task(task(**fields), DATA, BATCH, "cpu")
    assert "\n" not in str(caught.value)


def test_a_precision_that_the_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_optimizer, "lacks", lambda precision, device: precision == "bf16")
    with pytest.raises(InputError, match=r"^precision bf16: the GPU here has no arithmetic of it"):
        check_task(task(precision="bf16"), DATA, BATCH, "cpu")
    check_task(task(precision="fp16"), DATA, BATCH, "cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"accumulate": 0}, "accumulate must be a number of batches, at least 1, not 0"),
        ({"precision": "fp8"}, "precision must be fp32, bf16 or fp16, not 'fp8'"),
        ({"average": "ema:1.5"}, "average must be none, ema:DECAY or tail:FRACTION, .* 'ema:1.5'"),
        ({"average": "mean"}, "average must be none, .* not 'mean'"),
        (
            {"parameter_groups": by_norm, "make_optimizer": slower},
            "parameter_groups and make_optimizer exclude each other",
        ),
    ],
)
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        task(**fields)


def test_more_batches_a_step_than_an_epoch_has_are_refused() -> None:
    with pytest.raises(InputError, match=r"^--accumulate 14 is more than the 13 batches of an"):
        steps_per_epoch(task(accumulate=14), DATA, BATCH)
    assert steps_per_epoch(task(accumulate=13), DATA, BATCH) == 1
