"""Snapshots: the weights at each minimum of the rate, and what they come to together."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from search_spaces import FAMILIES, ScheduleFamily
from search_spaces.preflight import cycle_ends, draw, samples
from study.results.reader import read_finalists
from study.results.writer import FinalistTable
from study.search.proposal import Proposal
from study.storage.checkpoint_files import read_checkpoint, write_checkpoint
from study.storage.storage_path import StoragePath
from study.task import Split, Task
from study.tasks.builtin import digits
from study.tasks.metric import ACCURACY, RMSE
from study.training.batches import batches
from study.training.ensemble import ensemble_metrics, outputs
from study.training.history import EpochRecord, History, RunConfig
from study.training.training_run import TrainingRun

CYCLING = [family for family in FAMILIES.values() if family.rises_again and not family.irregular]
PEAK = (1e-3, 1.0)
WARMUP = {"warmup_fraction": FloatDistribution(0.02, 0.3)}
CYCLED = {"peak_lr": 0.3, "cycles": 3}
SHAPES: dict[str, dict[str, Any]] = {"snapshot": CYCLED, "constant": {"peak_lr": 0.1}}
every_cycling_family = pytest.mark.parametrize("family", CYCLING, ids=lambda family: family.name)


def run_of(family: str, test: bool = True, epochs: int = 4) -> TrainingRun:
    task = digits.make_task()
    data, seed = task.load_search_data(Path()), 5
    config = RunConfig(family, SHAPES[family], seed, epochs, 64)
    return TrainingRun(task, data, config, "cpu", *([task.load_test_data(Path())] * test))


def finished(run: TrainingRun) -> TrainingRun:
    while not run.history.ended:
        run.run_epoch()
    return run


def same(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return weights.keys() == others.keys() and all(
        torch.equal(one, others[name]) for name, one in weights.items()
    )


@every_cycling_family
@settings(max_examples=20, deadline=None)
@given(horizon=st.integers(10, 1_500), warms_up=st.booleans())
def test_every_end_is_a_minimum_and_every_minimum_an_end(
    family: ScheduleFamily, horizon: int, warms_up: bool
) -> None:
    """The definition, step by step: no lower before the next rise, none higher since the last."""
    for parameters in samples(family, PEAK, 3, WARMUP if warms_up else {}):
        rates = draw(family, parameters, horizon)[:, 0]
        little = 1e-9 * rates.max()
        minima = {
            step + 1
            for step in range(1, horizon)
            if step == horizon - 1 or rates[step + 1] > rates[step] + little
            if (before := rates[:step][np.abs(rates[:step] - rates[step]) > little]).size
            and before[-1] > rates[step]
        }
        assert set(cycle_ends(family, parameters, horizon)) == minima


@every_cycling_family
@settings(max_examples=10, deadline=None)
@given(horizon=st.integers(200, 1_500))
def test_there_are_as_many_ends_as_cycles_the_last_at_the_end(
    family: ScheduleFamily, horizon: int
) -> None:
    for parameters in samples(family, PEAK, 5):
        ends = cycle_ends(family, parameters, horizon)
        assert len(ends) == parameters["cycles"]
        assert ends[-1] == horizon


def test_ends_counted_by_hand() -> None:
    fifth = {"peak_lr": 0.1, "cycles": 5}
    assert cycle_ends(FAMILIES["snapshot"], fifth, 100) == (20, 40, 60, 80, 100)
    assert cycle_ends(FAMILIES["snapshot"], fifth, 101) == (21, 42, 63, 84, 101)
    doubling = {"peak_lr": 0.1, "cycles": 3, "growth": 2, "end_ratio": 0.01}
    assert cycle_ends(FAMILIES["cosine_warm_restarts"], doubling, 70) == (10, 30, 70)
    assert cycle_ends(FAMILIES["cosine"], {"peak_lr": 0.1, "end_ratio": 0.0}, 50) == (50,)
    assert cycle_ends(FAMILIES["constant"], {"peak_lr": 0.1}, 50) == ()


def test_what_is_kept_are_the_weights_after_those_steps() -> None:
    """Cycles that end in the middle of an epoch, and one at its end."""
    run, after = run_of("snapshot"), []
    assert run.steps_per_epoch == 18
    for epoch in range(1, 5):
        after += [copy.deepcopy(run.model.state_dict()) for _ in run.steps()]
        run.history.epochs.append(EpochRecord(epoch, 18 * epoch, 0.1, 1.0, 1.0, 0.5, 1.0))
    assert len(run.snapshots) == 3
    assert all(map(same, run.snapshots, (after[23], after[47], after[71])))
    assert not same(after[23], after[22]), "each step moves the weights"


def test_of_many_cycles_the_last_eight_are_kept() -> None:
    task = digits.make_task()
    config = RunConfig("snapshot", {"peak_lr": 0.3, "cycles": 12}, 5, 4, 64)
    run = TrainingRun(
        task, task.load_search_data(Path()), config, "cpu", task.load_test_data(Path())
    )
    run.run_epoch()
    assert not run.snapshots, "the first four"
    assert len(finished(run).snapshots) == len(run.history.ensembles) == 8


@pytest.mark.parametrize(("family", "test"), [("snapshot", False), ("constant", True)])
def test_nothing_is_kept_in_a_search_nor_without_cycles(family: str, test: bool) -> None:
    run = finished(run_of(family, test))
    assert (run.snapshots, run.history.ensembles) == ([], [])


def test_an_interruption_changes_nothing(tmp_path: Path) -> None:
    whole, begun, resumed = (run_of("snapshot") for _ in range(3))
    begun.run_epoch()
    begun.run_epoch()
    assert len(begun.snapshots) == 1
    write_checkpoint(tmp_path, begun.state(), begun.history, begun.config.digest())
    resumed.load_state(*read_checkpoint(StoragePath.of(tmp_path)))
    for run in (resumed, whole):
        finished(run)
    assert all(map(same, resumed.snapshots, whole.snapshots))
    assert len(resumed.snapshots) == len(whole.snapshots) == 3
    assert resumed.history.ensembles == whole.history.ensembles
    assert History.from_json(whole.history.to_json()) == whole.history


def test_an_ensemble_is_the_mean_of_the_softmax_by_hand() -> None:
    run = finished(run_of("snapshot"))
    split = run.task.load_test_data(Path())
    assert isinstance(split, Split)
    last = copy.deepcopy(run.model.state_dict())
    members, targets = outputs(run.model, run.snapshots[::-1], batches(split, 100, None))
    assert torch.equal(targets, split.targets)
    shares = []
    for logits in (member.double().numpy() for member in members):
        raised = np.exp(logits - logits.max(1, keepdims=True))
        shares.append(raised / raised.sum(1, keepdims=True))
    expected = [
        float((np.mean(shares[:m], axis=0).argmax(1) == split.targets.numpy()).mean())
        for m in (1, 2, 3)
    ]
    assert run.history.ensembles == pytest.approx(expected, abs=1e-12)
    assert run.history.ensembles[0] == run.history.test_metric, "the last snapshot is the end"
    assert same(run.model.state_dict(), last), "it gets its own weights back"
    assert same(run.snapshots[-1], last), "also when the run measures them"


def test_outputs_belong_to_their_targets_whatever_the_order() -> None:
    """A loader that shuffles even when it is not asked to gives another order each time."""
    run = finished(run_of("snapshot"))
    split = run.task.load_test_data(Path())
    assert isinstance(split, Split)

    def loader(size: int, order: torch.Generator | None) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*split), size, shuffle=True)

    members, targets = outputs(run.model, run.snapshots[::-1], batches(loader, 100, None))
    assert not torch.equal(targets, split.targets)
    found = [*ensemble_metrics(run.task, members, targets)]
    assert found == pytest.approx(run.history.ensembles, abs=1e-12)


def test_softmax_is_averaged_and_not_the_logits() -> None:
    """Two that are mildly for class 0 against one that is all for class 1."""
    members = [torch.tensor([[0.4, 0.0]])] * 2 + [torch.tensor([[0.0, 9.0]])]
    task, targets = digits.make_task(), torch.tensor([1])
    assert [*ensemble_metrics(task, members, targets)] == [0.0, 0.0, 1.0]
    members = [torch.tensor([[3.0, 0.0]])] * 2 + [torch.tensor([[0.0, 9.0]])]
    for loss in (
        task.loss,
        nn.CrossEntropyLoss(),
        partial(functional.cross_entropy, label_smoothing=0.1),
    ):
        task = replace(task, loss=loss)
        assert [*ensemble_metrics(task, members, torch.tensor([0]))] == [1.0, 1.0, 1.0]


def test_of_other_losses_the_outputs_themselves_are_averaged() -> None:
    task = Task(
        "line", lambda _: None, lambda _: None, lambda _: nn.Identity(),  # type: ignore[arg-type, return-value]
        functional.mse_loss, RMSE,
    )  # fmt: skip
    members = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])]
    found = [*ensemble_metrics(task, members, torch.tensor([[2.0], [3.0]]))]
    assert found == pytest.approx([1.0, 0.0])


def test_the_table_has_what_all_snapshots_come_to(tmp_path: Path) -> None:
    table = FinalistTable(tmp_path, ACCURACY, {0: (3, 0), 1: (6, 0)})
    for number, family in enumerate(("snapshot", "constant")):
        run = finished(run_of(family))
        table.on_trial_end(Proposal(number, family, SHAPES[family], 5), run.history)
    table.flush()
    found = read_finalists(tmp_path, ACCURACY)
    assert found is not None
    assert found["snapshots"].to_pylist() == [3, None]
    ensemble, none = found["ensemble_accuracy"].to_pylist()
    assert 0 < ensemble <= 1
    assert none is None
