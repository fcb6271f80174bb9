"""Any model of timm, on scikit-learn's digits: no weight decay on norms and biases, an EMA.

lr-study run --task examples/vision.py:make_task --optimizer adamw --average ema:0.95 \
    --batch-size 32
"""

from pathlib import Path
from typing import Any

import timm
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import nn
from torch.nn import functional

from study.task import Data, SearchData, Split, Task
from study.tasks.builtin import digits

PIXELS = 32


def larger(split: Data) -> Split:
    """The digits' 8 x 8 pixels as 32 x 32."""
    assert isinstance(split, Split)
    images = split.inputs.view(-1, 1, 8, 8)
    return Split(functional.interpolate(images, PIXELS, mode="bilinear"), split.targets)


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Norms and biases without decay; all others with that of the study."""
    groups: list[dict[str, Any]] = param_groups_weight_decay(model, weight_decay=1.0)
    for group in groups:
        if group["weight_decay"]:
            del group["weight_decay"]
    return groups


def make_task(model: str = "test_resnet") -> Task:
    """The task; ``model`` is any name that ``timm.create_model`` takes."""

    def make_model(seed: int) -> nn.Module:
        made: nn.Module = timm.create_model(model, num_classes=10, in_chans=1)
        return made

    def load_search_data(data_dir: Path) -> SearchData:
        return SearchData(*map(larger, digits.load_search_data(data_dir)))

    return Task(
        name="vision",
        load_search_data=load_search_data,
        load_test_data=lambda data_dir: larger(digits.load_test_data(data_dir)),
        make_model=make_model,
        parameter_groups=parameter_groups,
        adamw_peak_lr=(3e-4, 3e-2),
        samples_recur=True,
    )
