"""A small BERT that tells which of two words a sentence has more of: dict batches with a mask.

lr-study run --task examples/text.py:make_task --optimizer adamw --clip-norm 1
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from study.task import SearchData, Split, Task

WORDS, LENGTH, PADDING = 50, 24, 0


def sentences(count: int, seed: int) -> Split:
    """Sentences of unequal length, as a tokenizer gives them, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randint, size=(count, LENGTH), generator=generator)
    often = torch.rand(count, LENGTH, generator=generator) < 0.5
    ids = draw(1, 3).where(often, draw(3, WORDS))
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (count, 1), generator=generator)
    mask = torch.arange(LENGTH) < lengths
    ids = ids.where(mask, PADDING)
    labels = ((ids == 1).sum(1) > (ids == 2).sum(1)).long()
    return Split({"input_ids": ids, "attention_mask": mask.long(), "labels": labels})


def make_model(seed: int) -> nn.Module:
    """A BERT from its configuration: nothing is downloaded."""
    config = BertConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=64)
    config.num_hidden_layers, config.num_attention_heads = 2, 4
    return BertForSequenceClassification(config)


def evaluate(model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, Any]:
    """The share of sentences that are told right."""
    right = [model(**batch).logits.argmax(1) == batch["labels"] for batch in batches]
    return {"accuracy": torch.cat(right).double().mean()}


def make_task(samples: int = 4_000) -> Task:
    """The task."""

    def load_search_data(data_dir: Path) -> SearchData:
        return SearchData(sentences(samples, seed=0), sentences(1_000, seed=1))

    return Task(
        name="text",
        load_search_data=load_search_data,
        load_test_data=lambda data_dir: sentences(1_000, seed=2),
        make_model=make_model,
        step=lambda model, batch: model(**batch).loss,
        evaluate=evaluate,
    )
