"""The reproductions: that they do what the papers say, and that each runs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reproductions import budgets, caffe
from reproductions.runs import Outcome, Run
from reproductions.subnetworks import CHILDREN, make_child
from reproductions.super_convergence import Inv, OneCycle
from search_spaces.optimizers import applied_rate
from search_spaces.preflight import draw
from study.storage.checkpoint_files import write_checkpoint
from study.storage.storage_path import StoragePath
from study.system.errors import StudyError
from study.task import SearchData
from study.tasks.builtin import mnist
from study.training.history import EpochRecord, History, RunConfig, Status
from study.training.training_run import TrainingRun

ROOT = Path(__file__).parent.parent
NAMES = ("super_convergence", "snapshot_ensembles", "subnetworks", "budgets")
STEPS = 97
"""An epoch of 50,000 samples, 512 at a time."""


@pytest.fixture
def parent(small_mnist: SearchData, tmp_path: Path) -> Path:
    """The checkpoint of a network that has been trained for an epoch."""
    config = RunConfig("constant", {"peak_lr": 0.05}, 0, 1, 100)
    run = TrainingRun(mnist.make_task(), small_mnist, config)
    run.run_epoch()
    write_checkpoint(tmp_path, run.state(), run.history, config.digest())
    return tmp_path


def effective(model: nn.Module) -> list[torch.Tensor]:
    """The weights that its layers compute with."""
    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    return [layer.weight.detach().clone() for layer in layers]


def test_two_children_have_every_weight_of_their_parent_once(parent: Path) -> None:
    grown = mnist.make_model(0)
    grown.load_state_dict(torch.load(parent / "state.pt", weights_only=True)["model"])
    children = [effective(make_child(parent, child)) for child in range(CHILDREN)]
    for layer, whole in enumerate(effective(grown)):
        kept = [child[layer] != 0 for child in children]
        for elder, younger in zip(kept[::2], kept[1::2], strict=True):
            assert torch.equal(elder ^ younger, torch.ones_like(elder))
            assert abs(int(elder.sum()) - int(younger.sum())) <= 1
        assert not any(torch.equal(kept[0], other) for other in kept[1:]), "no two are alike"
        assert torch.equal(children[0][layer] + children[1][layer], whole)


def test_a_mask_stays_while_a_child_is_tuned(parent: Path, small_mnist: SearchData) -> None:
    task = replace(
        mnist.make_task(), make_model=lambda seed: make_child(parent, seed), capturable=False
    )
    config = RunConfig("constant", {"peak_lr": 0.05}, 3, 2, 100)
    run = TrainingRun(task, small_mnist, config)
    before = effective(run.model)
    run.run_epoch()
    after = effective(run.model)
    for own, later in zip(before, after, strict=True):
        assert torch.equal(own == 0, later == 0)
        assert not torch.equal(own, later), "what was kept is tuned"


def test_caffes_biases_go_at_twice_the_rate() -> None:
    for family in (Inv(), OneCycle()):
        model = caffe.make_model(0)
        optimizer = family.make_optimizer(model.parameters(), {"peak_lr": 0.1}, 12 * STEPS)
        schedule = family.build(optimizer, {"peak_lr": 0.1}, 12 * STEPS)
        weights, biases = optimizer.param_groups
        assert (len(weights["params"]), len(biases["params"])) == (4, 4)
        assert all(bias.ndim == 1 for bias in biases["params"])
        for _ in range(12 * STEPS - 1):
            assert applied_rate(biases) == pytest.approx(2 * applied_rate(weights), rel=1e-9)
            optimizer.step()
            schedule.step()


def test_caffes_rate_falls_with_the_steps_whatever_the_horizon() -> None:
    steps = np.arange(12 * STEPS)
    rates = draw(Inv(), {"peak_lr": 0.01}, 12 * STEPS)
    assert rates[:, 0] == pytest.approx(0.01 * (1 + 1e-4 * steps) ** -0.75)
    assert rates[:, 1] == pytest.approx(0.9)


def test_one_cycle_goes_up_for_five_epochs_down_for_five_and_on() -> None:
    rates, momenta = draw(OneCycle(), {"peak_lr": 0.1}, 12 * STEPS).T
    top, back, end = 5 * STEPS - 1, 10 * STEPS - 2, 12 * STEPS - 1
    assert rates[[0, top, back, end]] == pytest.approx([0.01, 0.1, 0.01, 1e-7])
    assert momenta[[0, top, back, end]] == pytest.approx([0.95, 0.8, 0.95, 0.95])
    for first, last in ((0, top), (top, back), (back, end)):
        assert np.diff(rates[first : last + 1], 2) == pytest.approx(0, abs=1e-12), "a straight line"


def test_caffes_network_and_pixels(data_dir: Path) -> None:
    model = caffe.make_model(0)
    assert sum(one.numel() for one in model.parameters()) == 431_080
    kinds = " ".join(type(layer).__name__ for layer in model.children())
    assert kinds == "Conv2d MaxPool2d Conv2d MaxPool2d Flatten Linear ReLU Linear"
    images = caffe.make_task().load_test_data(data_dir)
    pixels = torch.as_tensor(images[0]) * 256  # type: ignore[index]
    assert torch.allclose(pixels, pixels.round(), atol=1e-3)
    assert (int(pixels.min().round()), int(pixels.max().round())) == (0, 255)


def test_each_is_a_page() -> None:
    for name in NAMES:
        lines = (ROOT / "reproductions" / f"{name}.py").read_text().splitlines()
        assert len(lines) < 120, name


def test_a_run_that_diverged_is_chosen_last_and_has_no_test_result(tmp_path: Path) -> None:
    def outcome(peak: float, status: Status, accuracy: float) -> Outcome:
        record = EpochRecord(1, 391, peak, 2.0, 2.0, accuracy, 1.0)
        run = Run("rex", "rex", {"peak_lr": peak}, 1, 0)
        return Outcome(run, History(status, [record]), StoragePath.of(str(tmp_path)))

    high, low = outcome(0.2, "diverged", 0.5), outcome(0.1, "completed", 0.4)
    assert budgets.best([high, low]) == [low.run]
    with pytest.raises(StudyError, match="rex, 1 epochs, seed 0: diverged, so it has no test"):
        _ = high.accuracy


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_runs_and_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"reproductions.{name}", "--quick", "--out", str(tmp_path)]
    folder = tmp_path / f"{name}-quick"
    written = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=550, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert (folder / "table.md").read_text() in done.stdout
        written.append((folder / "numbers.json").read_bytes())
    assert written[0] == written[1]
    assert not list(folder.rglob("attempt-002")), "nothing is trained again"
    rows = json.loads(written[0])["rows"]
    accuracies = [row["test_accuracy"] for row in rows if "test_accuracy" in row]
    assert len(accuracies) > 1
    assert all(0.5 < accuracy <= 1 for accuracy in accuracies)
    assert (folder / "figure.png").stat().st_size > 5_000


def test_a_mistake_is_said_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reproductions.budgets", "--quik"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--quick" in done.stderr
