"""A user's own task: found, checked, described; and every way in which it can be wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, Subset

from study.results.study_record import Opening
from study.run import main
from study.system.errors import ChangedTaskError, InputError
from study.task import SearchData, Split, Task
from study.tasks import TASKS
from study.tasks.builtin import digits
from study.tasks.check_data import load_search_data
from study.tasks.metric import RMSE, Metric, rmse
from study.tasks.task_source import TaskSource
from study.training.batches import batches
from study.training.check_resume import check_resume
from study.training.check_task import check_task, refuse_other
from tests.records import a_record
from tests.tasks import TRIAL, Samples, tensors

HEAD = """
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from study.task import RMSE, Metric, SearchData, Split, Task

def part(seed, count=400, classes=3):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator)
    return Split(inputs, torch.randint(classes, (count,), generator=generator))

def task(**changes):
    return Task(**{
        "name": "mine",
        "load_search_data": lambda data_dir: SearchData(part(0), part(1)),
        "load_test_data": lambda data_dir: part(2),
        "make_model": lambda seed: nn.Linear(5, 3),
    } | changes)

def with_data(train, validation):
    return task(load_search_data=lambda data_dir: SearchData(train, validation))

def altered(split, **changes):
    return Split(*(tensor.clone() for tensor in split))._replace(**changes)

"""

BAD_TASKS = {
    "batches without a tensor": (
        "words = lambda size, order: DataLoader(['a', 'b'], 1)\n"
        "    return with_data(words, lambda size, order: DataLoader(['c'], 1))",
        r"the training split gives a batch that holds no tensor of samples: list",
    ),
    "no pairs": (
        "return with_data(Split({'x': part(0).inputs}), Split({'x': part(1).inputs}))",
        r"the training split must give pairs of inputs and targets \(a batch is a dict\); a task "
        r"whose batches are others needs step\(model, batch\) and evaluate\(model, batches\)",
    ),
    "no pairs, and a step alone": (
        "split = lambda seed: Split({'x': part(seed).inputs, 'y': part(seed).targets})\n"
        "    step = lambda m, b: functional.cross_entropy(m(b['x']), b['y'])\n"
        "    data = SearchData(split(0), split(1))\n"
        "    return task(load_search_data=lambda data_dir: data, step=step)",
        r"the validation split must give pairs .*; a task whose batches are others needs "
        r"evaluate\(model, batches\)$",
    ),
    "a factory that raises": (
        "raise KeyError('no such column')",
        r"make_task\(\) raised KeyError: 'no such column'",
    ),
    "a factory that returns something else": (
        "return nn.Linear(5, 3)",
        r"make_task\(\) must return a study.task.Task, not Linear",
    ),
    "data that cannot be loaded": (
        "return task(load_search_data=lambda data_dir: open('/nowhere/x.csv'))",
        r"load_search_data\(data_dir\) raised FileNotFoundError: .*'/nowhere/x.csv'",
    ),
    "data that are no splits": (
        "return task(load_search_data=lambda data_dir: (part(0), part(1)))",
        r"load_search_data\(data_dir\) must return a SearchData, not tuple",
    ),
    "labels out of range": (
        "return with_data(part(0), part(1, classes=4))",
        r"validation targets do not fit outputs of shape \(3,\): IndexError: Target 3 is out of",
    ),
    "an empty split": (
        "return with_data(part(0), Split(torch.zeros(0, 5), torch.zeros(0).long()))",
        r"the validation split is empty",
    ),
    "splits that overlap": (
        "whole = part(0, 500)\n    return with_data(*(Split(*(t[low:low + 300] for t in whole))"
        " for low in (0, 299)))",
        r"validation samples are among the training samples",
    ),
    "copies that overlap": (
        "return with_data(part(0), altered(part(0)))",
        r"validation samples are among the training samples",
    ),
    "inputs without targets": (
        "return with_data(part(0)._replace(targets=torch.zeros(7).long()), part(1))",
        r"the training split has 400 inputs but 7 targets",
    ),
    "NaN in the data": (
        "bad = part(1)\n    bad.inputs[17, 2] = float('nan')\n    return with_data(part(0), bad)",
        r"validation inputs hold NaN or infinity, first in sample 17",
    ),
    "arrays instead of tensors": (
        "return with_data(part(0)._replace(inputs=[[1.0]] * 400), part(1))",
        r"training inputs must be a tensor of samples, not list",
    ),
    "a model that is none": (
        "return task(make_model=lambda seed: functional.relu)",
        r"make_model\(seed\) must return a torch.nn.Module with parameters",
    ),
    "a model that takes no seed": (
        "return task(make_model=lambda: nn.Linear(5, 3))",
        r"make_model\(seed\) raised TypeError: .*takes 0 positional arguments but 1 was given",
    ),
    "a model whose input does not fit": (
        "return task(make_model=lambda seed: nn.Linear(6, 3))",
        r"the model of make_model\(seed\) raised RuntimeError: .*shapes cannot be multiplied",
    ),
    "a model whose output does not fit": (
        "return task(make_model=lambda seed: nn.Sequential(nn.Linear(5, 3), nn.Flatten(0)))",
        r"must put out a tensor with a row for each of 128 inputs, not \(384,\)",
    ),
    "an output that does not fit the targets": (
        "return task(loss=functional.mse_loss)",
        r"loss\(outputs, targets\) raised",
    ),
    "a loss that is no scalar": (
        "return task(loss=lambda o, t: functional.cross_entropy(o, t, reduction='none'))",
        r"loss\(outputs, targets\) must be a scalar tensor, not \(128,\)",
    ),
    "a loss that is no number": (
        "return task(loss=lambda o, t: functional.cross_entropy(o, t) * float('inf'))",
        r"loss\(outputs, targets\) of a fresh model is inf",
    ),
    "a loss without a gradient": (
        "return task(loss=lambda o, t: functional.cross_entropy(o, t).detach())",
        r"the backward pass of loss\(outputs, targets\) raised RuntimeError",
    ),
    "a loss of no parameter": (
        "return task(loss=lambda o, t: torch.tensor(1.0, requires_grad=True))",
        r"no parameter of make_model\(seed\)'s model gets a gradient",
    ),
    "a metric that is a function": (
        "return task(metric=lambda outputs, targets: 0.5)",
        r"make_task\(\) raised TypeError: metric must be a study.task.Metric, not <function",
    ),
    "a metric that is infinite": (
        "return task(metric=Metric('x', 'maximize', compute=lambda o, t: o.sum() * 1e99))",
        r"metric.compute\(outputs, targets\) of a fresh model is -?inf",
    ),
    "a gradient that is no number": (
        "return task(loss=lambda o, t: functional.cross_entropy(o, t) + (o * 0).sum().sqrt())",
        r"the gradient of loss\(outputs, targets\) is not finite for a fresh model",
    ),
    "one model for all trials": (
        "model = nn.Linear(5, 3)\n    return task(make_model=lambda seed: model)",
        r"gives something else each time under the same seed; .* make everything anew",
    ),
    "a loader that raises": (
        "return with_data(lambda size, order: open('/nowhere/x'), part(1))",
        r"the training split raised FileNotFoundError",
    ),
    "a loader of nothing": (
        "return with_data(part(0), lambda size, order: torch.utils.data.DataLoader([]))",
        r"the validation split has no batch",
    ),
    "a number instead of targets": (
        "return with_data(part(0)._replace(targets=torch.tensor(1)), part(1))",
        r"training targets must be a tensor of samples, not one number",
    ),
    "a metric that raises": (
        "return task(metric=RMSE)",
        r"metric.compute\(outputs, targets\) raised ValueError: outputs \(400, 3\) against",
    ),
    "a metric that is no scalar": (
        "return task(metric=Metric('x', 'maximize', compute=lambda o, t: o))",
        r"float\(\) of metric.compute\(outputs, targets\) raised",
    ),
    "a metric without a direction": (
        "return task(metric=Metric('x', 'up', compute=lambda o, t: o.mean()))",
        r"raised ValueError: the direction of metric 'x' must be maximize or minimize, not 'up'",
    ),
    "a metric that is called as the loss is": (
        "return task(metric=Metric('loss', 'minimize', compute=lambda o, t: o.mean()))",
        r"raised ValueError: a metric beside the loss cannot be called 'loss' too; rename it",
    ),
    "a transform that loses samples": (
        "return task(transform=lambda inputs, targets: (inputs[1:], targets))",
        r"transform must give inputs and targets as tensors of one length",
    ),
    "a transform that forgets the targets": (
        "return task(transform=lambda inputs, targets: inputs)",
        r"transform must give pairs of inputs and targets",
    ),
    "weights that no seed decides": (
        "import os\n    def make_model(seed):\n"
        "        torch.manual_seed(int.from_bytes(os.urandom(4)))\n"
        "        return nn.Linear(5, 3)\n    return task(make_model=make_model)",
        r"make_model\(seed\) gives something else each time under the same seed",
    ),
    "lazy modules": (
        "return task(make_model=lambda seed: nn.LazyLinear(3))",
        r"a model whose sizes are known, not one with lazy modules",
    ),
    "sparse gradients": (
        "part_of = lambda seed: Split(part(seed).inputs.sign().long() + 1, part(seed).targets)\n"
        "    model = lambda seed: nn.Sequential(nn.Embedding(3, 2, sparse=True), nn.Flatten(),"
        " nn.Linear(10, 3))\n"
        "    data = SearchData(part_of(0), part_of(1))\n"
        "    return task(load_search_data=lambda data_dir: data, make_model=model,"
        " samples_recur=True)",
        r"gives sparse gradients, which the optimizer does not take .*; make its layers",
    ),
    "complex outputs": (
        "split = lambda seed: Split(*[torch.randn(400, 5, dtype=torch.complex64)] * 2)\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 5, dtype=torch.complex64),"
        " loss=lambda o, t: (o - t).abs().mean())",
        r"must put out real floating-point numbers, also in eval\(\), not torch.complex64",
    ),
    "decisions instead of outputs when it is evaluated": (
        "class Decides(nn.Linear):\n"
        "        def forward(self, x):\n"
        "            return super().forward(x) if self.training else super().forward(x) > 0\n"
        "    return task(make_model=lambda seed: Decides(5, 3))",
        r"must put out real floating-point numbers, also in eval\(\), not torch.bool",
    ),
    "one logit, ranked by accuracy": (
        "split = lambda seed: part(seed)._replace(targets=(part(seed).targets % 2.0)[:, None])\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 1),"
        " loss=functional.binary_cross_entropy_with_logits)",
        r"accuracy needs class numbers, whole numbers, as targets, not torch.float32",
    ),
    "one output, ranked by accuracy": (
        "return task(make_model=lambda seed: nn.Linear(5, 1), loss=lambda o, t: (o[:, 0] - t).abs()"
        ".mean())",
        r"an output for each of at least 2 classes along dimension 1, outputs \(400, 1\) against",
    ),
    "targets of another shape, ranked by accuracy": (
        "split = lambda seed: part(seed)._replace(targets=part(seed).targets[:, None])\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " loss=lambda o, t: functional.cross_entropy(o, t[:, 0]))",
        r"one target for each choice, outputs \(400, 3\) against targets \(400, 1\)",
    ),
    "accuracy of what the loss ignores": (
        "return task(loss=nn.CrossEntropyLoss(ignore_index=0))",
        r"accuracy leaves out targets of -100, and the loss those of 0, of which",
    ),
    "a metric that counts on": (
        "seen = []\n"
        "    def compute(o, t):\n"
        "        seen.append((o.argmax(1) == t).double())\n"
        "        return torch.cat(seen).mean()\n"
        "    return task(metric=Metric('running', 'maximize', compute=compute))",
        r"metric.compute\(outputs, targets\) is .* and then .* for the same outputs and targets",
    ),
    "a loss of all pairs": (
        "split = lambda seed: part(seed)._replace(targets=part(seed).inputs.sum(1))\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 1), metric=RMSE,"
        " loss=lambda o, t: (o - t).square().mean())",
        r"loss\(outputs, targets\) does not depend on which target belongs .* \(128, 1\) and "
        r"targets \(128,\) are stretched",
    ),
    "absolute errors of all pairs": (
        "split = lambda seed: part(seed)._replace(targets=100 + part(seed).inputs.sum(1))\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 1), metric=RMSE,"
        " loss=lambda o, t: (o - t).abs().mean())",
        r"loss\(outputs, targets\) does not depend on which target belongs",
    ),
    "a metric of all pairs": (
        "split = lambda seed: part(seed)._replace(targets=part(seed).inputs.sum(1))\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 1),"
        " metric=Metric('MSE', 'minimize', compute=lambda o, t: (o - t).square().mean()),"
        " loss=lambda o, t: functional.mse_loss(o[:, 0], t))",
        r"metric.compute\(outputs, targets\) does not depend on which target belongs",
    ),
    "something kept between steps": (
        "class Drifts(nn.Linear):\n"
        "        steps = 0\n"
        "        def forward(self, x):\n"
        "            self.steps += self.training\n"
        "            return super().forward(x) * (1 + self.steps)\n"
        "    return task(make_model=lambda seed: Drifts(5, 3))",
        r"the second training step is another one after a resume \(loss .*\): something is kept",
    ),
    "a graph kept between steps": (
        "class Carries(nn.Linear):\n"
        "        kept = 0.0\n"
        "        def forward(self, x):\n"
        "            self.kept = super().forward(x).mean() + self.kept\n"
        "            return super().forward(x) + self.kept\n"
        "    return task(make_model=lambda seed: Carries(5, 3))",
        r"the second training step raised RuntimeError: .*backward through the graph a second time",
    ),
    "state that no checkpoint takes": (
        "class Remembers(nn.Linear):\n"
        "        def get_extra_state(self):\n"
        "            return range(3)\n"
        "        def set_extra_state(self, state):\n"
        "            pass\n"
        "    return task(make_model=lambda seed: Remembers(5, 3))",
        r"state_dict\(\) of make_model\(seed\)'s model holds .*range, which torch.load",
    ),
    "a last batch of one sample": (
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "    def loader(size, order):\n"
        "        whole = TensorDataset(*part(0, 257))\n"
        "        return DataLoader(whole, size, order is not None, generator=order)\n"
        "    model = lambda seed: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))\n"
        "    return task(load_search_data=lambda data_dir: SearchData(loader, part(1)),"
        " make_model=model)",
        r"Expected more than 1 value per channel .* last batch \(samples: 1\); drop_last=True",
    ),
    "workers that stay": (
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "    def loader(size, order):\n"
        "        return DataLoader(TensorDataset(*part(0)), size, order is not None,"
        " generator=order, drop_last=True, num_workers=1, persistent_workers=True)\n"
        "    return task(load_search_data=lambda data_dir: SearchData(loader, part(1)))",
        r"the second training step is another one after a resume .* without persistent_workers",
    ),
    "samples that are too many to be equal by nature": (
        "low, high = part(0, 300), part(1, 700)\n"
        "    mixed = Split(*(torch.cat(pair) for pair in zip(low, part(2, 300))))\n"
        "    return with_data(Split(*(torch.cat(pair) for pair in zip(low, high))), mixed)",
        r"300 of 600 are equal to one \(50%; within the training split 0% .*samples_recur=True",
    ),
    "a range of rates that is none": (
        "return task(peak_lr=(0.1, 0.01))",
        r"make_task\(\) raised ValueError: peak_lr must be two rates, 0 < low < high",
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_bad_task_is_one_line_that_names_the_function(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, message = BAD_TASKS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"{HEAD}def make_task():\n    {body}\n")
    with pytest.raises(InputError, match=message) as caught:
        main(["--task", "mine.py:make_task", "--epochs", "5", "--dry-run"])
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"], "nothing was begun"


GOOD_TASKS = {
    "the task beside the bad ones": "return task()",
    "samples that recur by nature": (
        "parts = [torch.randint(2, (400, 5)).float() for _ in range(2)]\n"
        "    return with_data(*(Split(x, x[:, 0].long()) for x in parts))"
    ),
    "samples that recur by nature, but seldom": (
        "parts = [torch.randint(55_000, (n, 1)) for n in (8_000, 1_500)]\n"
        "    bits = [(x >> torch.arange(16)).bitwise_and(1).float() for x in parts]\n"
        "    model = lambda seed: nn.Linear(16, 3)\n"
        "    data = SearchData(*(Split(x, x[:, 0].long()) for x in bits))\n"
        "    return task(load_search_data=lambda data_dir: data, make_model=model)"
    ),
    "samples that are said to recur": (
        "same = part(0)\n    data = SearchData(same, Split(*(x.clone() for x in same)))\n"
        "    return task(load_search_data=lambda data_dir: data, samples_recur=True)"
    ),
    "images with their channels last": (
        "images = [torch.rand(400, 4, 4, 3).permute(0, 3, 1, 2) for _ in range(2)]\n"
        "    model = lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(48, 3))\n"
        "    data = SearchData(*(Split(x, part(0).targets) for x in images))\n"
        "    return task(load_search_data=lambda data_dir: data, make_model=model)"
    ),
    "inputs and targets that are views": (
        "split = lambda seed: Split(torch.randn(619).unfold(0, 5, 1)[:400],"
        " torch.stack([part(seed).targets] * 2, 1)[:, 0])\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)))"
    ),
    "a transposed set, cut into splits": (
        "whole = Split(torch.randn(5, 800).t(), torch.arange(800) % 3)\n"
        "    return with_data(*(Split(*(x[k:k + 400] for x in whole)) for k in (0, 400)))"
    ),
    "a function in TorchScript": (
        "script = torch.jit.CompilationUnit('def f(x, w):\\n  return torch.relu(x @ w)\\n')\n"
        "    class Scripted(nn.Linear):\n"
        "        def forward(self, x):\n"
        "            return script.f(x, self.weight.t())\n"
        "    return task(make_model=lambda seed: Scripted(5, 3))"
    ),
    "a loss that makes the shapes equal itself": (
        "split = lambda seed: part(seed)._replace(targets=part(seed).inputs.sum(1))\n"
        "    equal = lambda o, t: functional.mse_loss(o[:, 0], t)\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 1), loss=equal,"
        " metric=Metric('MSE', 'minimize', compute=equal))"
    ),
    "absolute errors of targets that lie above all outputs": (
        "split = lambda seed: part(seed)._replace(targets=100 + part(seed).inputs.sum(1))\n"
        "    equal = lambda o, t: functional.l1_loss(o[:, 0], t)\n"
        "    return task(load_search_data=lambda data_dir: SearchData(split(0), split(1)),"
        " make_model=lambda seed: nn.Linear(5, 1), loss=equal,"
        " metric=Metric('MAE', 'minimize', compute=equal))"
    ),
    "a state in a buffer": (
        "class Counts(nn.Linear):\n"
        "        def __init__(self):\n"
        "            super().__init__(5, 3)\n"
        "            self.register_buffer('steps', torch.zeros(()))\n"
        "        def forward(self, x):\n"
        "            self.steps += self.training\n"
        "            return super().forward(x) * (1 + self.steps)\n"
        "    return task(make_model=lambda seed: Counts())"
    ),
    "a loss that zeros do not suit": (
        "class Spread(nn.Linear):\n"
        "        def forward(self, x):\n"
        "            return functional.softplus(super().forward(x))\n"
        "    def loss(o, t):\n"
        "        return -torch.distributions.Normal(o[:, 0], o[:, 1]).log_prob(t).mean()\n"
        "    metric = Metric('mean', 'minimize', compute=lambda o, t: o.mean())\n"
        "    return task(loss=loss, make_model=lambda seed: Spread(5, 2), metric=metric)"
    ),
    "a metric that constant outputs do not suit": (
        "def make_model(seed):\n"
        "        model = nn.Linear(5, 3)\n"
        "        nn.init.zeros_(model.weight)\n"
        "        return model\n"
        "    correlation = Metric('r', 'maximize', compute=lambda o, t: o.std() / o.std(0).sum())\n"
        "    return task(make_model=make_model, metric=correlation)"
    ),
    "a frozen part whose train() returns nothing": (
        "class Frozen(nn.Linear):\n"
        "        def train(self, mode=True):\n"
        "            super().train(False)\n"
        "    return task(make_model=lambda seed: Frozen(5, 3))"
    ),
}


@pytest.mark.parametrize("name", GOOD_TASKS)
def test_a_good_task_passes(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{HEAD}def make_task():\n    {GOOD_TASKS[name]}\n")
    task = TaskSource.read(f"{tmp_path}/mine.py:make_task", ()).make()
    data = load_search_data(task, tmp_path)
    check_task(task, data, 128, "cpu")
    check_resume(task, data, TRIAL, "cpu")


WRONG_PLACES = [
    ("mine", r"unknown task 'mine'.*path/to/file.py:function"),
    ("mine.py", r"names no function; add it, as in mine.py:make_task"),
    ("nowhere.py:make_task", r"there is no file 'nowhere.py' here"),
    ("nowhere:make_task", r"'nowhere' cannot be read: no module named 'nowhere'"),
    ("mine.py:make_tusk", r"has no function 'make_tusk' \(did you mean 'make_task'\?\)"),
    ("mine.py:Task", r"has no function 'Task'"),
    ("syntax.py:make_task", r"cannot be imported: SyntaxError: .*syntax.py, line 1"),
    ("folder.py:make_task", r"'folder.py' cannot be read"),
]


@pytest.mark.parametrize(("spec", "message"), WRONG_PLACES)
def test_a_task_that_is_not_there_is_named(
    spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"{HEAD}def make_task():\n    return task()\n")
    (tmp_path / "syntax.py").write_text("def make_task(:\n")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(InputError, match=message):
        main(["--task", spec])


ARGUMENTS = "def make_task(need: int, name: str = 'x', flag: bool = False, share: float = 0.5):"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("need=3",), (3, "x", False, 0.5)),
        (("need=3", "name=a=b", "flag=True", "share=1e-3"), (3, "a=b", True, 0.001)),
        ((), "Missing from task .*--need INT"),
        (("need=x",), "--need: must be a whole number, not 'x'"),
        (("need=1", "flag=maybe"), "flag"),
        (("need=1", "sahre=1"), r"takes no 'sahre' \(did you mean 'share'\?\); arguments: need,"),
        (("need",), "--task-args must be key=value, not 'need'"),
    ],
)
def test_arguments_are_held_against_the_signature(
    arguments: tuple[str, ...], expected: Any, tmp_path: Path
) -> None:
    body = "return task(name=repr((need, name, flag, share)))"
    (tmp_path / "mine.py").write_text(f"{HEAD}{ARGUMENTS}\n    {body}\n")
    source = TaskSource.read(f"{tmp_path}/mine.py:make_task", arguments)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            source.make()
    else:
        assert source.make().name == repr(expected)


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("NAME = 'from next door'\n")
    body = "from neighbour_of_mine import NAME\n    return task(name=NAME)"
    (tmp_path / "mine.py").write_text(f"{HEAD}def make_task():\n    {body}\n")
    assert TaskSource.read(f"{tmp_path}/mine.py:make_task", ()).make().name == "from next door"


def test_data_drawn_in_the_file_are_the_same_everywhere(tmp_path: Path) -> None:
    body = "split = Split(torch.randn(9, 5), torch.arange(9))\n\ndef make_task():\n"
    body += "    return with_data(split, split)\n"
    (tmp_path / "mine.py").write_text(HEAD + body)
    source = TaskSource.read(f"{tmp_path}/mine.py:make_task", ())
    first, again = (source.make().load_search_data(tmp_path).train for _ in range(2))
    assert torch.equal(tensors(first).inputs, tensors(again).inputs)


def test_a_worker_needs_no_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{HEAD}def make_task():\n    return task()\n")
    source = TaskSource.read(f"{path}:make_task", ())
    path.unlink()
    assert source.make().name == "mine"


def test_a_factory_need_not_be_a_plain_function(tmp_path: Path) -> None:
    body = "import functools\n\nmake_task = functools.partial(task, name='partial')\n"
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbf" + (HEAD + body).encode())
    assert TaskSource.read(f"{tmp_path}/mine.py:make_task", ()).make().name == "partial"


def test_a_changed_task_is_refused_with_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("a = 1\nb = 2\n")
    source = TaskSource.read(f"{path}:make_task", ())
    before = source.text
    source.check_unchanged(before, False)
    path.write_text("a = 1\nb = 3\n")
    with pytest.raises(InputError, match="line 2 was 'b = 2' and is 'b = 3'"):
        TaskSource.read(f"{path}:make_task", ()).check_unchanged(before, False)
    path.write_text("a = 1\n")
    with pytest.raises(InputError, match="line 2 was 'b = 2' and is 'nothing'"):
        TaskSource.read(f"{path}:make_task", ()).check_unchanged(before, False)


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_the_tasks_with_a_name_pass_their_own_checks(name: str, data_dir: Path) -> None:
    task = TaskSource.read(name, ()).make()
    assert task.name == name
    data = load_search_data(task, data_dir)
    check_task(task, data, 128, "cpu")
    test = tensors(task.load_test_data(data_dir))
    assert len(test.inputs) == len(test.targets) > 0
    seen = {(x.numpy().tobytes(), int(y)) for x, y in zip(*tensors(data.train), strict=True)}
    unseen = [(x.numpy().tobytes(), int(y)) not in seen for x, y in zip(*test, strict=True)]
    assert sum(unseen) > 0.99 * len(unseen), "the test split is another one"


def test_every_name_leads_to_a_task() -> None:
    assert {TaskSource.read(name, ()).make().name for name in TASKS} == set(TASKS)


# Data that is given a batch at a time


def shuffled(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DIGITS = digits.load_search_data(Path())


def loader(size: int, order: torch.Generator | None) -> DataLoader[Any]:
    data = Samples(tensors(DIGITS.train))
    return DataLoader(data, size, order is not None, generator=order, drop_last=order is not None)


@pytest.mark.parametrize("data", [DIGITS.train, Samples(tensors(DIGITS.train)), loader])
def test_an_epoch_is_the_same_however_the_split_comes(data: Any) -> None:
    train = tensors(DIGITS.train)
    ordered = list(batches(data, 100, None))
    assert torch.equal(torch.cat([inputs for inputs, _ in ordered]), train.inputs)
    assert len(ordered) == len(batches(data, 100, None)) == 12
    assert len(list(batches(data, 700, None))) == 2, "the incomplete last batch is part of it"
    first, again = batches(data, 100, shuffled(1)), batches(data, 100, shuffled(1))
    one, two = (torch.cat([targets for _, targets in epoch]) for epoch in (first, again))
    assert torch.equal(one, two), "the generator decides the order"
    other = torch.cat([targets for _, targets in first])
    assert not torch.equal(one, other), "every epoch has another"
    assert torch.equal(one.sort().values, train.targets.sort().values)
    assert [len(inputs) for inputs, _ in batches(data, 700, shuffled(1))] == [700]


WITH_WORKERS = """
from torch.utils.data import DataLoader, Dataset

DRAWN = torch.randn(40, 5)

class Drawn(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        return DRAWN[index], index % 3

def make_task(context: str):
    def loader(size, order):
        return DataLoader(Drawn(), size, generator=order, num_workers=1,
            multiprocessing_context=context)
    return with_data(loader, part(1))
"""


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_a_loaders_workers_find_its_classes_and_draw_what_the_file_draws(
    context: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(HEAD + WITH_WORKERS)
    task = TaskSource.read(f"{tmp_path}/mine.py:make_task", (f"context={context}",)).make()
    ((inputs, _),) = batches(task.load_search_data(tmp_path).train, 40, None)
    torch.manual_seed(0)
    assert torch.equal(inputs, torch.randn(40, 5))


def test_the_working_directory_stays_wherever_a_task_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(
        f"import os\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\n{HEAD}"
        "open('mine.py').close()\n\ndef load(data_dir):\n    os.chdir('/')\n"
        "    return SearchData(part(0), part(1))\n\n"
        "def make_task():\n    os.chdir('/')\n    return task(load_search_data=load)\n"
    )
    monkeypatch.chdir(tmp_path)
    source = TaskSource.read("sub/mine.py:make_task", ())
    for _ in range(2):  # as the driver and as a worker make it
        load_search_data(source.make(), tmp_path)
        assert Path.cwd() == tmp_path


BEFORE = "def make_task():\n    return task(load_test_data=lambda data_dir: part(2, 7))\n"
MENDED = {
    "an argument": BEFORE.replace("part(2, 7)", "part(2)"),
    "a function": BEFORE.replace("lambda data_dir: part(2, 7)", "load_test_data"),
    "the model too": BEFORE.replace("part(2, 7)", "part(2)").replace("task(", "other("),
}
FUNCTION = "def opened(data_dir):\n    return {}\n\nmake_task = task(load_test_data=opened)\n"


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (BEFORE, MENDED["an argument"], True),
        (BEFORE, MENDED["a function"], True),
        (BEFORE, MENDED["the model too"], False),
        (FUNCTION.format("part(2, 7)"), FUNCTION.format("part(2)"), True),
        (FUNCTION.format("part(2)"), FUNCTION.format("part(2)").replace("task", "other"), False),
        ("def (", "def", False),
    ],
)
def test_what_loads_the_test_split_may_be_mended_where_it_was_refused(
    before: str, now: str, same: bool
) -> None:
    def check(*checked: bool) -> None:
        openings = [Opening(2, checked=one) for one in checked]
        record = a_record(test_split=openings)
        source = TaskSource("mine.py:make_task", (), now)
        source.check_unchanged(before, record.refused_test_split)

    if same:
        check(False)
    else:
        with pytest.raises(InputError, match="line"):
            check(False)
    for openings in ([], [False, True]):
        with pytest.raises(InputError, match="has changed since this study began: line"):
            check(*openings)  # never opened, or measured


TRACED = {
    "another file of data": ("DATA", "2.0", "the training inputs: other values"),
    "one more sample": ("COUNT", "401", r"the shape was \[400, 5\] and is \[401, 5\]"),
    "another kind of number": ("KIND", "float64", "the type was float32 and is float64"),
    "another order of the classes": ("CLASSES", "[2, 0, 1]", "the training targets: other values"),
    "another neighbour": ("WIDTH", "7", r"make_model\(seed\): the shape was \[48\] and is \[66\]"),
    "other weights": ("SCALE", "1.1", r"make_model\(seed\): other values"),
    "another loss next door": ("FACTOR", "3.0", r"loss\(outputs, targets\): other values"),
    "another metric next door": ("POWER", "2", r"metric.compute\(outputs, targets\): other"),
    "other validation samples": ("VALID", "2", "the validation inputs: other values"),
}
ABOUT = {"DATA": "1.0", "COUNT": "400", "KIND": "float32", "CLASSES": "[0, 1, 2]", "WIDTH": "5"}
ABOUT |= {"SCALE": "1.0", "FACTOR": "1.0", "POWER": "1", "VALID": "1"}
DESCRIBED = f"""{HEAD}
import neighbour_of_traced as near

def data(seed, count=400):
    inputs, targets = part(seed, count)
    inputs = (inputs * near.DATA).to(getattr(torch, near.KIND))
    return Split(inputs, torch.tensor(near.CLASSES)[targets])

def make_model(seed):
    model = nn.Sequential(nn.Linear(5, near.WIDTH), nn.Linear(near.WIDTH, 3))
    model[0].weight.data *= near.SCALE
    return model.to(getattr(torch, near.KIND))

def make_task():
    return task(
        load_search_data=lambda data_dir: SearchData(data(0, near.COUNT), data(near.VALID)),
        make_model=make_model,
        loss=lambda o, t: functional.cross_entropy(o, t) * near.FACTOR,
        metric=Metric('x', 'maximize', compute=lambda o, t: (o.argmax(1) == t).double().mean()
            ** near.POWER),
    )
"""


def traced(folder: Path, **changes: str) -> tuple[Task, dict[str, Any]]:
    """The task beside that neighbour, and the description of what it trains on, as JSON has it."""
    sys.modules.pop("neighbour_of_traced", None)
    folder.mkdir()
    lines = [f"{name} = {value!r}" if name == "KIND" else f"{name} = {value}"
             for name, value in (ABOUT | changes).items()]  # fmt: skip
    (folder / "neighbour_of_traced.py").write_text("\n".join(lines))
    (folder / "traced.py").write_text(DESCRIBED)
    path = sys.path.copy()
    task = TaskSource.read(f"{folder}/traced.py:make_task", ()).make()
    sys.path[:] = path
    data = load_search_data(task, folder)
    return task, json.loads(json.dumps(check_task(task, data, 128, "cpu")))


@pytest.mark.parametrize("name", TRACED)
def test_what_a_study_trains_on_must_be_what_it_began_with(name: str, tmp_path: Path) -> None:
    """The task's file stays as it is: what it reads and imports changes."""
    constant, value, message = TRACED[name]
    task, before = traced(tmp_path / "before")
    refuse_other(task, before, traced(tmp_path / "again")[1])
    _, now = traced(tmp_path / "now", **{constant: value})
    with pytest.raises(ChangedTaskError, match=f"does not train on .* began with: .*{message}"):
        refuse_other(task, before, now)
    for damaged in ({}, {"device": "cpu"}, {**before, "given": {"make_model(seed)": 1}}, 3):
        with pytest.raises(InputError, match=r"study.json is damaged: trace"):
            refuse_other(task, damaged, now)  # type: ignore[arg-type]


def test_a_dataset_without_a_length_is_refused() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield from ()

    message = "the training split has no length; give a function that makes a loader"
    with pytest.raises(InputError, match=message):
        load_search_data(mine(SearchData(Endless(), DIGITS.validation)), Path())


WHOLE = Samples(tensors(DIGITS.train))
HALVES: Any = torch.split(torch.randperm(100), 50)
SUBSETS = {
    "lists": (Subset(WHOLE, [1, 2]), Subset(WHOLE, [2]), Subset(WHOLE, [3])),
    "tensors": tuple(Subset(WHOLE, part) for part in (HALVES[0], HALVES[0][:9], HALVES[1])),
    "a part of a part": (
        Subset(Subset(WHOLE, [5, 6, 7]), [0, 1]),
        Subset(WHOLE, [6]),
        Subset(Subset(WHOLE, [5, 6, 7]), [2]),
    ),
    "all and a part": (WHOLE, Subset(WHOLE, [2]), Samples(tensors(DIGITS.validation))),
    "the same": (WHOLE, WHOLE, Samples(tensors(DIGITS.train))),
}


@pytest.mark.parametrize("name", SUBSETS)
def test_subsets_that_overlap_are_refused(name: str) -> None:
    train, overlapping, apart = SUBSETS[name]
    load_search_data(mine(SearchData(train, apart)), Path())
    with pytest.raises(
        InputError, match=r"are among the training samples: \d+ of them are the same"
    ):
        load_search_data(mine(SearchData(train, overlapping)), Path())


def test_a_few_equal_samples_are_an_accident() -> None:
    train, validation = map(tensors, DIGITS)
    twice = Split(*(torch.cat([v, t[:20]]) for v, t in zip(validation, train, strict=True)))
    load_search_data(mine(SearchData(train, twice)), Path())


def mine(data: SearchData, **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "name": "mine",
        "load_search_data": lambda data_dir: data,
        "load_test_data": lambda data_dir: data.validation,
        "make_model": lambda seed: nn.Linear(64, 10),
    }
    return Task(**fields | changes)


def test_equal_shapes_are_not_stretched_into_each_other() -> None:
    """Torch only warns where (n,) meets (n, 1), and takes the mean over n x n differences."""
    targets = torch.randn(300)
    data = SearchData(*(Split(torch.randn(300, 64), targets) for _ in range(2)))
    task = mine(
        data, make_model=lambda seed: nn.Linear(64, 1), loss=functional.mse_loss, metric=RMSE
    )
    with pytest.raises(InputError, match=r"loss\(outputs, targets\) raised UserWarning: .*size"):
        check_task(task, data, 32, "cpu")


def test_rmse_is_the_published_formula() -> None:
    outputs, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [2.0]])
    assert float(rmse(outputs, targets)) == pytest.approx((5 / 2) ** 0.5)


def test_a_metric_sees_the_whole_split_at_once() -> None:
    seen: list[int] = []

    def count(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(len(outputs))
        return torch.tensor(float(len(targets)))

    task = mine(DIGITS, metric=Metric("count", "maximize", compute=count))
    check_task(task, DIGITS, 128, "cpu")
    assert set(seen) == {300}


MEGABYTE = 2**20
LARGE = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import Dataset
from study.training.batches import batches
from study.task import ACCURACY, SearchData, Split, Task
from study.training.training_run import TrainingRun
from study.training.history import RunConfig

path, samples, size, limit = Path(sys.argv[1]), *map(int, sys.argv[3:6])

class FromFile(Dataset):
    def __init__(self, first, count):
        self.first, self.count = first, count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        with path.open("rb") as file:
            file.seek((self.first + index) * size)
            content = bytearray(file.read(size))
        return torch.frombuffer(content, dtype=torch.float32), index % 2

def held(data):
    pairs = [data[k] for k in range(len(data))]
    return Split(torch.stack([x for x, _ in pairs]), torch.tensor([y for _, y in pairs]))

data = SearchData(FromFile(0, samples - 10), FromFile(samples - 10, 10))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
now = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (now + limit, now + limit))
if sys.argv[2] == "tensors":
    data = SearchData(*map(held, data))
task = Task("large", lambda _: data, lambda _: data.validation, lambda _: nn.Linear(size // 4, 2))
run = TrainingRun(task, data, RunConfig("constant", {"peak_lr": 0.1}, 0, 1, 10))
run.run_epoch()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(run.history.epochs[-1].step, peak - before)
"""


@pytest.mark.linux
@pytest.mark.parametrize("kind", ["dataset", "tensors"])
def test_a_dataset_larger_than_memory_is_not_held(kind: str, tmp_path: Path) -> None:
    """1 GiB of samples, of which a process that may take 256 MiB more trains an epoch."""
    samples, size, limit = 1024, MEGABYTE, 256 * MEGABYTE
    with (tmp_path / "samples").open("wb") as file:
        file.truncate(samples * size)  # zeros, which take no room on the disk
    arguments = map(str, (tmp_path / "samples", kind, samples, size, limit))
    done = subprocess.run(
        [sys.executable, "-c", LARGE, *arguments], capture_output=True, text=True, timeout=300
    )
    if kind == "tensors":
        assert done.returncode != 0, "the limit would be noticed"
        assert "memory" in done.stderr.lower()
        return
    assert done.returncode == 0, done.stderr
    steps, grown = map(int, done.stdout.split())
    assert steps == 101
    assert grown < limit
