"""Structures of tensors: mapped, named and counted, whatever they are made of."""

from collections import OrderedDict, UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BatchEncoding

from study.task import Split
from study.tasks.structure import mapped, named_tensors, sample_count
from study.training.batches import batches


class Pair(NamedTuple):
    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Frozen:
    ids: Tensor
    note: str
    mask: Tensor


IDS, MASK = torch.arange(12).view(6, 2), torch.ones(6, 2)
STRUCTURES: dict[str, tuple[Any, list[str]]] = {
    "a tensor": (IDS, [""]),
    "a tuple": ((IDS, MASK), ["0", "1"]),
    "a list": ([IDS, [MASK]], ["0", "1.0"]),
    "a named tuple": (Pair(IDS, MASK), ["ids", "mask"]),
    "a dict": ({"ids": IDS, "names": ["a"], "mask": MASK}, ["ids", "mask"]),
    "an ordered dict": (OrderedDict(ids=IDS, mask=MASK), ["ids", "mask"]),
    "a user's dict": (UserDict(ids=IDS, mask=MASK), ["ids", "mask"]),
    "a BatchEncoding": (BatchEncoding({"ids": IDS, "mask": MASK}), ["ids", "mask"]),
    "a frozen dataclass": (Frozen(IDS, "note", MASK), ["ids", "mask"]),
    "one in another": (({"ids": IDS}, Pair(IDS, MASK)), ["0.ids", "1.ids", "1.mask"]),
    "a split": (Split({"ids": IDS}, MASK), ["inputs.ids", "targets"]),
}
every_structure = pytest.mark.parametrize("name", STRUCTURES)


@every_structure
def test_a_mapped_structure_is_of_the_same_kind(name: str) -> None:
    structure, names = STRUCTURES[name]
    before = {place: tensor.clone() for place, tensor in named_tensors(structure)}
    twice = mapped(lambda tensor: 2 * tensor, structure)
    assert type(twice) is type(structure)
    assert [place for place, _ in named_tensors(twice)] == [*before] == names
    for place, tensor in named_tensors(twice):
        assert torch.equal(tensor, 2 * before[place])
    for place, tensor in named_tensors(structure):
        assert torch.equal(tensor, before[place]), "the structure itself stays as it was"
    assert sample_count(structure) == 6


def test_what_is_no_tensor_stays() -> None:
    rest = {"names": ["a", None], "count": 3}
    made = mapped(lambda tensor: tensor + 1, {**rest, "ids": IDS})
    assert torch.equal(cast("Tensor", made.pop("ids")), IDS + 1)
    assert made == rest
    arrays: list[Any] = [np.zeros(2)]
    assert isinstance(mapped(torch.from_numpy, arrays, np.ndarray)[0], Tensor)


@pytest.mark.parametrize("structure", ["text", 3, None, [], {"n": 1}, torch.tensor(1.0)])
def test_what_holds_no_samples_is_said(structure: Any) -> None:
    with pytest.raises(ValueError, match="that holds no tensor of samples"):
        sample_count(structure)


@every_structure
@pytest.mark.parametrize("shuffled", [True, False])
def test_batches_of_a_split_are_of_its_structure(name: str, shuffled: bool) -> None:
    """Every tensor by the same samples: all in order, or every whole batch in a random order."""
    structure, _ = STRUCTURES[name]
    split = structure if isinstance(structure, Split) else Split(structure)
    order = torch.Generator().manual_seed(0) if shuffled else None
    made = [*batches(split, 4, order)]
    assert [sample_count(batch) for batch in made] == ([4] if shuffled else [4, 2])
    for batch in made:
        assert type(batch) is type(split.batch)
        first, *others = (tensor for _, tensor in named_tensors(batch))
        rows = (first[:, 0] // 2).tolist()
        for (_, whole), part in zip(list(named_tensors(split.batch))[1:], others, strict=True):
            assert torch.equal(part, whole[rows])
    if not shuffled:
        whole = torch.cat([next(iter(named_tensors(batch)))[1] for batch in made])
        assert torch.equal(whole, IDS)
