"""Structures of tensors, which batches are: tuples, lists, dicts, dataclasses, one in another.

A Mapping of any kind is taken as a dict is, Hugging Face's BatchEncoding too. All else in them,
numbers and strings say, is left as it is.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def mapped(function: Callable[[Any], Any], structure: T, kind: type = Tensor) -> T:
    """A structure like this, with what a function makes of each tensor.

    Args:
        function: from a tensor to what comes in its place.
        structure: left as it is.
        kind: what to map if not tensors, NumPy's arrays say.
    """
    if isinstance(structure, kind):
        whole: T = function(structure)
        return whole
    parts = {key: mapped(function, part, kind) for key, part in _parts(structure).items()}
    changed: T = _rebuilt(structure, parts) if parts else structure
    return changed


def named_tensors(structure: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor, in order, behind its place: ``inputs.ids`` for ``{"inputs": {"ids": ...}}``."""
    if isinstance(structure, Tensor):
        yield name, structure
    for key, part in _parts(structure).items():
        yield from named_tensors(part, f"{name}.{key}" if name else str(key))


def sample_count(structure: Any) -> int:
    """Samples of a batch: the length of its first tensor that has one.

    Raises:
        ValueError: there is none.
    """
    for _, tensor in named_tensors(structure):
        if tensor.dim():
            return len(tensor)
    raise ValueError(f"a {type(structure).__name__} that holds no tensor of samples")


def _parts(structure: Any) -> Mapping[Any, Any]:
    """Parts by key, index or field; nothing for what has none."""
    if isinstance(structure, Mapping):
        return structure
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return dict(zip(structure._fields, structure, strict=True))
    if isinstance(structure, tuple | list):
        return dict(enumerate(structure))
    if dataclasses.is_dataclass(structure) and not isinstance(structure, type):
        return {
            field.name: getattr(structure, field.name) for field in dataclasses.fields(structure)
        }
    return {}


def _rebuilt(structure: Any, parts: Mapping[Any, Any]) -> Any:
    """A structure of the same type with other parts."""
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*parts.values())
    if isinstance(structure, tuple | list):
        return type(structure)(parts.values())
    changed = copy.copy(structure)  # with whatever else it holds
    for key, part in parts.items():
        if isinstance(structure, Mapping):
            changed[key] = part
        else:
            object.__setattr__(changed, key, part)  # frozen ones too
    return changed
