"""The answer in words: at most five lines, from the numbers alone."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.findings.forgiveness import CONTROL
from analysis.findings.ranks import far_off
from analysis.load import Results
from analysis.scale import Scale
from study.results.stored_ranges import stored_peak_range

EDGE = 0.05
"""Share of the searched peak rates, by their logarithm, that is their edge."""
NEIGHBOURS = {1.0: "its own", 2.0: "twice its", 0.5: "half its"}
"""Factors of a peak rate that somebody may choose instead."""


def verdict(found: Findings, location: str | Path) -> list[str]:
    """The verdict: who wins or why nobody does, how good that is, how forgiving, what to beware of.

    Args:
        found: in a study.
        location: where it lives, for the commands.
    """
    comparison, results, best = found.comparison, found.results, found.best
    where = shlex.quote(str(location))
    if best is None:
        return ["No trial has completed yet."]
    lines = [*_without_finalists(found, best, where), _how_forgiving(found, best)]
    if comparison:
        lines = [
            _who(comparison, results, where),
            _how_good(comparison, results),
            _how_forgiving(found, best),
            _beware(comparison, found),
        ]
    code = f"Code: python -m study.export {where} --trial {best['trial']}"
    return [line for line in (*lines, code) if line]


def joined(names: Sequence[str], word: str = "and") -> str:
    """``a, b and c``."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _without_finalists(found: Findings, best: Mapping[str, Any], where: str) -> list[str]:
    results, scale = found.results, found.results.scale
    lines = [
        f"Best of {len(results.trials)} trials: {best['family']}, "
        f"{_metric(best[scale.column], results)} validation {scale.name} in one run; the next best "
        "may be as good."
    ]
    if len(results.finalists):
        statuses = results.finalists["status"].value_counts()
        counts = joined([f"{count} {status}" for status, count in statuses.items()])
        lines.append(f"The finalists on fresh seeds say nothing: {counts}.")
    elif results.study["ended"]:
        lines.append(
            f"To know, train the best again on fresh seeds: python -m study.confirm {where}"
        )
    return lines


def _who(comparison: Comparison, results: Results, where: str) -> str:
    scale, replicates = results.scale, comparison.replicates
    names = list(comparison.families["family"])
    if len(names) == 1:
        return f"{names[0]} is the only finalist left, with nothing to be compared with."
    if not comparison.in_reach:
        more = comparison.needed - replicates
        return (
            f"No winner can be named: {names[0]} has the best mean, but with {replicates} seeds of "
            f"{len(names)} families significance is out of reach. It takes {comparison.needed}: "
            f"python -m study.confirm {where} --replicates {more}"
        )
    if comparison.winner:
        nearest = comparison.pairs[comparison.pairs["better"] == names[0]].iloc[0]
        others = "" if len(names) == 2 else ", and it beats every other finalist too"
        return (
            f"{names[0]} wins: its test {scale.name} is {_better(nearest, results)} than that of "
            f"{nearest['worse']}, the next{others}."
        )
    of_best = [group for group in comparison.groups if names[0] in group]
    tied = [name for name in names if any(name in group for group in of_best)]
    beaten = [name for name in names if name not in tied]
    rest = f", but it beats {joined(beaten)}" if beaten else ""
    return (
        f"No single winner: {replicates} seeds cannot tell {names[0]} from {joined(tied[1:], 'or')}"
        f"{rest}. A difference of about {scale.difference(comparison.detectable)} between the two "
        "best would have been found with 80% chance."
    )


def _how_good(comparison: Comparison, results: Results) -> str:
    families, scale = comparison.families, results.scale
    best = families.iloc[0]
    error = scale.ranking.percent and scale.higher_is_better
    values = [1 - best[name] if error else best[name] for name in ("mean", "low", "high")]
    mean, low, high = (_metric(value, results) for value in (values[0], *sorted(values[1:])))
    line = (
        f"Test {'error' if error else scale.name} of {best['family']}: {mean} (95% interval {low} "
        f"to {high}), mean of {comparison.replicates} seeds on this test split"
    )
    against = comparison.pairs[
        (comparison.pairs["better"] == best["family"]) & (comparison.pairs["worse"] == CONTROL)
    ]
    if len(against):
        line += f"; {_better(against.iloc[0], results)} than the constant rate"
    return f"{line}.{_ensemble(comparison, results)}"


def _ensemble(comparison: Comparison, results: Results) -> str:
    ensemble = comparison.ensemble
    if not ensemble:
        return ""
    best, gain = comparison.families["family"].iloc[0], ensemble.better
    better = _better({"difference": gain.mean, "low": gain.low, "high": gain.high}, results)
    return (
        f" But the {ensemble.snapshots} snapshots of {ensemble.family} together beat every single "
        f"model: {better} than {best}, the best of them, at {ensemble.snapshots} times the cost of "
        "inference."
    )


def _how_forgiving(found: Findings, best: Mapping[str, Any]) -> str:
    """The cost of a peak rate that is off by a factor of two, where that was measured."""
    table, scale = found.forgiveness, found.results.scale
    rates = table[table["trial"] == best["trial"]].set_index("factor")
    costs = [
        f"{cost} at {words} peak rate"
        for factor, words in NEIGHBOURS.items()
        if factor in rates.index and (cost := _cost(rates.loc[factor], scale))
    ]
    if not costs:
        return ""
    return (
        f"Forgiveness: {best['family']} {joined(costs)} (validation {scale.name}, means of "
        f"{rates['seeds'].max()} seeds)."
    )


def _cost(rate: "pd.Series[Any]", scale: Scale) -> str:
    """Empty where it is not known."""
    if rate["diverged"]:
        return f"diverges under {rate['diverged']} of {rate['seeds']} seeds"
    if pd.isna(rate["worse"]):
        return ""
    return f"{'loses' if rate['worse'] >= 0 else 'gains'} {scale.difference(abs(rate['worse']))}"


def _beware(comparison: Comparison, found: Findings) -> str:
    """All that weakens the verdict, the worst first."""
    results, counts = found.results, found.ledger["trials"]
    doubts = [f"{family} {why} and is out" for family, why in comparison.lost.items()]
    doubts += _far_off(comparison, results)
    looks = len({opening["replicates"] for opening in results.study.get("test_split", [])})
    if looks > 1:
        doubts.append(f"the test split was looked at {looks} times, for which no p-value allows")
    if counts.max() - counts.min() > 1:
        doubts.append(f"families had {counts.min()} to {counts.max()} trials")
    elif counts.min() < 2:
        few = (counts < 2).sum()
        doubts.append(f"{few} of {len(counts)} families had no more than one trial")
    doubts += _at_the_edge(found)
    if CONTROL not in set(results.finalists["family"]):
        doubts.append("no constant rate stands beside the finalists as a control")
    return f"Beware: {'; '.join(doubts)}." if doubts else ""


def _at_the_edge(found: Findings) -> list[str]:
    """True if a better peak rate may lie outside of what was searched."""
    assert found.best
    space, rate = found.results.study["search_space"], found.best["peak_lr"]
    low, high = stored_peak_range(space["parameters"], found.best["family"])
    given = tuple(space["peak_lr"])
    # A family's own range may be a multiple of what is typed.
    now = "" if given == (low, high) else f", now {given[0]:g},{given[1]:g},"
    place = math.log(rate / low) / math.log(high / low)
    if EDGE <= place <= 1 - EDGE:
        return []
    return [
        f"the best peak rate, {rate:.3g}, lies at the edge of those searched ({low:g} to {high:g}; "
        f"--peak-lr LOW,HIGH{now} widens them)"
    ]


def _far_off(comparison: Comparison, results: Results) -> list[str]:
    """Replicates that came to far worse than the rest, on which means and intervals then hang."""
    finalists, scale = results.finalists, results.scale
    compared = finalists[finalists["family"].isin(comparison.families["family"])]
    compared = compared.dropna(subset=scale.test_column)
    off = compared[far_off(scale.cost(compared[scale.test_column]), compared["family"])]
    return [
        f"{family} came to {joined([_metric(one, results) for one in sorted(values)])} under "
        f"{'one of its seeds' if len(values) == 1 else 'some of its seeds'}"
        for family, values in off.groupby("family")[scale.test_column]
    ]


def _better(pair: "pd.Series[float] | Mapping[str, float]", results: Results) -> str:
    scale = results.scale
    low, high = scale.difference(pair["low"]), scale.difference(pair["high"])
    return (
        f"{scale.difference(pair['difference'])} better "
        f"(95% interval {low.removesuffix(' points')} to {high.removesuffix(' points')})"
    )


def _metric(value: float, results: Results) -> str:
    return results.scale.ranking.text(value)
