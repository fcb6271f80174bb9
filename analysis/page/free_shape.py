"""The free shape beside the named ones: whether one of these is good enough, in words."""

from typing import Any

from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.findings.ranks import family_ranking
from analysis.page.words import between
from analysis.scale import Scale
from search_spaces import GROUPS

FREE = "free"
UNNAMED = {FREE, *GROUPS["adaptive"], *GROUPS["averaging"]}
"""Families whose shape follows from the run, or which also average the weights."""


def against_free(found: Findings) -> str:
    """The distance of the best named shape from the free one, in words; empty without a free one.

    On fresh seeds where both are finalists, else by their best trials.
    """
    scale, comparison = found.results.scale, found.comparison
    pair = _seeds(comparison) if comparison else None
    return _of_pair(pair, scale) if pair else _of_trials(found)


def _seeds(comparison: Comparison) -> dict[Any, Any] | None:
    """The free finalist beside the best that has a named shape: the first of such pairs."""
    finalists = comparison.finalists
    families = dict(zip(finalists["finalist"], finalists["family"], strict=True))
    for pair in comparison.pairs.to_dict("records"):
        others = [name for name in (pair["better"], pair["worse"]) if name != FREE]
        if len(others) == 1 and families[others[0]] not in UNNAMED:
            return pair
    return None


def _of_pair(pair: dict[Any, Any], scale: Scale) -> str:
    named = pair["worse"] if pair["better"] == FREE else pair["better"]
    side = "behind" if pair["better"] == FREE else "ahead of"
    interval = between(pair["low"], pair["high"], scale.difference)
    return (
        f"The best named shape, {named}, lies {scale.difference(pair['difference'])} {side} the "
        f"free one in test {scale.name} (95% interval {interval})."
    )


def _of_trials(found: Findings) -> str:
    scale = found.results.scale
    best = family_ranking(found.results.trials, scale).dropna(subset="best_cost")
    costs = dict(zip(best["family"], best["best_cost"], strict=True))
    named = [name for name in costs if name not in UNNAMED]
    if FREE not in costs or not named:
        return ""
    return (
        f"The best named shape, {named[0]}, came to {scale.text(costs[named[0]])} in its best "
        f"trial, and the free one to {scale.text(costs[FREE])}: one run each."
    )
