"""The card: what to train with, how sure that is, and what to type."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.findings.forgiveness import CONTROL
from analysis.page.trials import Code
from analysis.page.verdict import Verdict, pair_of, reason, row_of
from analysis.page.words import BLOCKS, between, brief, counted
from analysis.scale import Scale

SPARKLINE = 56
"""Characters of a curve in a terminal."""
OTHERS = 3
"""Curves beside the own one that can be told apart by their dashes."""
LINES = 14
"""Lines of code for which a terminal has room; of more, there is the command."""


class Tile(NamedTuple):
    """A number that is read at a glance."""

    value: str
    label: str
    note: str


class Card(NamedTuple):
    """The answer of a study, for a page and for a terminal."""

    headline: str
    verdict: Verdict
    tiles: list[Tile]
    family: str
    """The family of the trial that is recommended; empty where there is none, as are others."""
    curve: pd.DataFrame
    """``step`` and ``lr`` of that trial."""
    peak: float
    """The peak rate of that trial."""
    others: dict[str, pd.DataFrame]
    """Curves of the finalists that cannot be told from the best, by their names."""
    code: Code
    """The code of that trial."""

    @property
    def lines(self) -> list[str]:
        """The lines of a terminal: the verdict, the curve in block characters, the code."""
        lines, code = self.verdict.lines, self.code.text.splitlines()
        if len(self.curve):
            lines += ["", f"rate, peak {brief(self.peak)}: {sparkline(self.curve)}"]
        if 0 < len(code) <= LINES:
            lines += ["", *(f"    {line}".rstrip() for line in code), ""]
        return lines


def card(found: Findings, verdict: Verdict, code: Code) -> Card:
    """The card of a study.

    Args:
        found: in it.
        verdict: on it.
        code: of the trial that is recommended.
    """
    best, comparison, scale = found.best, found.comparison, found.results.scale
    if best is None:
        return Card(verdict.claim, verdict, [], "", pd.DataFrame(), math.nan, {}, Code(""))
    return Card(
        _headline(comparison, found)
        if comparison
        else f"Best so far: {best['family']}, in one run",
        verdict,
        _tiles(comparison, scale) if comparison else [_one_run(best, scale)],
        best["family"],
        _curve(found, best["trial"]),
        float(best["peak_lr"]),
        _others(found, comparison) if comparison else {},
        code,
    )


def _headline(comparison: Comparison, found: Findings) -> str:
    take, tied = comparison.recommended, comparison.tied
    if comparison.winner:
        return f"Train with {take}"
    if not comparison.is_decided or len(tied) == 1:
        return f"Until more is known, train with {take}"
    why = reason(comparison, found)
    if comparison.is_alone:
        return f"Train with {take}, {why.clause}"
    return f"Train with {take}: of {len(tied)} that cannot be told apart, {why.of_several}"


def _tiles(comparison: Comparison, scale: Scale) -> list[Tile]:
    """The test result, and how far it is from the next and from the constant rate."""
    take = comparison.recommended
    own = row_of(comparison, take)
    seeds = f"mean of {counted(own['seeds'], 'fresh seed')}"
    ends = between(own["low"], own["high"], scale.written)
    note = f"{seeds}; 95%: {ends}" if ends else seeds
    tiles = [Tile(scale.written(own["mean"]), f"test {scale.name}", note)]
    others = [name for name in comparison.finalists["finalist"] if name != take]
    named = dict.fromkeys([*others[:1], CONTROL])
    pairs = {other: pair for other in named if (pair := pair_of(comparison, take, other))}
    untested = "" if comparison.plan.looks else "too few seeds to tell"
    return tiles + [_against(pair, other, untested, scale) for other, pair in pairs.items()]


def _against(pair: Mapping[Any, Any], other: str, untested: str, scale: Scale) -> Tile:
    """The lead over another finalist, and why it is not tested."""
    side = "behind" if pair["better"] == other else "ahead of"
    name = "the constant rate" if other == CONTROL else other
    told = untested or "no difference found"
    if pair["found"]:
        told = "found worse" if pair["better"] == other else "found better"
    ends = between(pair["low"], pair["high"], scale.difference)
    note = f"{told}; 95%: {ends}" if ends else told
    return Tile(scale.difference(pair["difference"]), f"{side} {name}", note)


def _one_run(best: dict[str, Any], scale: Scale) -> Tile:
    return Tile(scale.written(best[scale.column]), f"validation {scale.name}", "one run, one seed")


def _curve(found: Findings, trial: int) -> pd.DataFrame:
    schedules = found.results.schedules
    return schedules.loc[schedules["trial"] == trial, ["step", "lr"]].reset_index(drop=True)


def _others(found: Findings, comparison: Comparison) -> dict[str, pd.DataFrame]:
    trials = dict(zip(comparison.finalists["finalist"], comparison.finalists["trial"], strict=True))
    names = [name for name in comparison.tied if name != comparison.recommended]
    curves = {name: _curve(found, trials[name]) for name in names if comparison.plan.looks}
    return {name: curve for name, curve in curves.items() if len(curve)}


def sparkline(curve: pd.DataFrame) -> str:
    """A curve of rates in block characters, as shares of its highest, and how many steps it has.

    Args:
        curve: ``step`` and ``lr``.
    """
    last, peak = int(curve["step"].iloc[-1]), float(curve["lr"].max())
    steps = np.linspace(curve["step"].iloc[0], last, SPARKLINE)
    shares = np.interp(steps, curve["step"], curve["lr"]) / (peak or 1)
    heights = np.round(shares * (len(BLOCKS) - 1)).astype(int)
    drawn = "".join(BLOCKS[height] for height in heights)
    return f"{drawn} {last + 1:,} steps"


def card_picture(made: Card) -> dict[str, Any] | None:
    """The curve of a card, over real steps, and those of the finalists that are as good."""
    if made.curve.empty:
        return None
    others = dict(list(made.others.items())[:OTHERS])
    curves = [made.curve, *others.values()]
    top, last = max(own["lr"].max() for own in curves), max(own["step"].max() for own in curves)
    line, *lines = [_steps(own, top, max(1, last)) for own in curves]
    return {
        "line": line,
        "name": made.family,
        "others": dict(zip(others, lines, strict=True)),
        "left": len(made.others) - len(others),
        "first": brief(made.curve["lr"].iloc[0]),
        "last": brief(made.curve["lr"].iloc[-1]),
        "peak": brief(made.peak),
        "top": brief(top),
        "steps": f"{last + 1:,}",
    }


def _steps(curve: pd.DataFrame, peak: float, last: int) -> str:
    points = zip(100 * curve["step"] / last, 100 - 100 * curve["lr"] / (peak or 1), strict=True)
    return "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in points)
