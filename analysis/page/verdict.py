"""The answer in words: at most five lines, from the numbers alone."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.findings.forgiveness import CONTROL
from analysis.findings.ranks import far_off
from analysis.load import Results
from analysis.scale import Scale
from study.results.parameters import PREFIX
from study.results.sequential import LOOKS
from study.results.stored_ranges import stored_peak_range

EDGE = 0.05
"""Share of the searched peak rates, by their logarithm, that is their edge."""
NEIGHBOURS = {1.0: "its own", 2.0: "twice its", 0.5: "half its"}
"""Factors of a peak rate that somebody may choose instead."""


def verdict(found: Findings, location: str | Path) -> list[str]:
    """The verdict: what makes it invalid, who wins or why nobody does, and what to beware of.

    Then how good that is, and how forgiving, and the command for the code.

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
            _first_of_all(comparison, found),
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
    names, seeds = list(comparison.finalists["finalist"]), comparison.seeds
    if len(names) == 1:
        return f"{names[0]} is the only finalist left, with nothing to be compared with."
    if not comparison.plan.looks:
        return (
            f"No winner can be named: {names[0]} has the best mean, but {seeds} seeds tell nothing "
            f"apart, and nor do any fewer than {LOOKS[0]}: python -m study.confirm {where}"
        )
    nearest = comparison.pairs[comparison.pairs["better"] == names[0]].iloc[0]
    if comparison.winner:
        others = "" if len(names) == 2 else ", and it was found better than every other finalist"
        return (
            f"{names[0]} wins, {_configured(comparison, names[0], results)}: after {seeds} seeds, "
            f"its test {results.scale.name} is {_better(nearest, results)} than that of "
            f"{nearest['worse']}, the next{others}."
        )
    tied, take = comparison.unbeaten, comparison.recommended
    beaten = [name for name in names if name not in tied]
    rest = f"; beaten: {joined(beaten)}" if beaten else ""
    apart = f"{seeds} seeds cannot tell {tied[0]} from {joined(tied[1:], 'or')}{rest}"
    if not comparison.is_decided:
        return f"Undecided yet: {apart}. More seeds: python -m study.run --resume {where}"
    why = ", the simplest of them" if take != tied[0] else ", the simplest of them and the best"
    return (
        f"No single winner: {apart}. The two best differ by {_apart(nearest, results)}. Take "
        f"{take}{why}: {_configured(comparison, take, results)}."
    )


def _configured(comparison: Comparison, name: str, results: Results) -> str:
    """A finalist's parameters, and how many trials it was chosen from."""
    one = _described(comparison, name)
    row = results.trials.set_index("trial").loc[one["trial"]]
    named = {"peak_lr": row["peak_lr"]} | {
        str(column).removeprefix(PREFIX): row[column]
        for column in row.index
        if str(column).startswith(PREFIX) and pd.notna(row[column])
    }
    values = [
        f"{parameter} {value if isinstance(value, str) else format(value, '.3g')}"
        for parameter, value in named.items()
    ]
    return f"with {', '.join(values)}, of {one['trials']} trials"


def _described(comparison: Comparison, name: str) -> dict[Any, Any]:
    """The row of a finalist."""
    finalists = comparison.finalists
    return finalists[finalists["finalist"] == name].to_dict("records")[0]


def _how_good(comparison: Comparison, results: Results) -> str:
    """What the recommended finalist comes to, and how much more than control and default."""
    scale = results.scale
    name = comparison.recommended
    best = _described(comparison, name)
    error = scale.ranking.percent and scale.higher_is_better
    values = [1 - best[one] if error else best[one] for one in ("mean", "low", "high")]
    mean, low, high = (_metric(value, results) for value in (values[0], *sorted(values[1:])))
    line = (
        f"Test {'error' if error else scale.name} of {name}: {mean} (95% interval {low} to {high}),"
        f" mean of {best['seeds']} seeds on this test split"
    )
    pairs = comparison.pairs[comparison.pairs["better"] == name].to_dict("records")
    words = {CONTROL: "the constant rate", f"{best['family']} (default)": "its own default"}
    for pair in pairs:
        if pair["worse"] in words:
            line += f"; {_better(pair, results)} than {words[pair['worse']]}"
    most = binomtest(0, int(best["seeds"]), alternative="less").proportion_ci(0.95).high
    return (
        f"{line}. It diverged under none of these seeds: with 95% confidence, it does under fewer "
        f"than {most:.0%}.{_ensemble(comparison, results)}"
    )


def _ensemble(comparison: Comparison, results: Results) -> str:
    ensemble = comparison.ensemble
    if not ensemble:
        return ""
    best, gain = comparison.finalists["finalist"].iloc[0], ensemble.better
    better = _better({"difference": gain.mean, "low": gain.low, "high": gain.high}, results)
    return (
        f" But the {ensemble.snapshots} snapshots of {ensemble.finalist} together beat every "
        f"single model: {better} than {best}, the best of them, at {ensemble.snapshots} times the "
        "cost of inference."
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


def _first_of_all(comparison: Comparison, found: Findings) -> str:
    """What may make the verdict that of something else than the schedules: before all claims."""
    finalists = comparison.finalists
    trials = finalists.groupby("family")["trials"].first()
    doubts = []
    if trials.max() - trials.min() > 1:
        doubts.append(
            f"the finalists were tuned unequally ({trials.idxmax()} with {trials.max()} trials, "
            f"{trials.idxmin()} with {trials.min()})"
        )
    doubts += _moved(comparison, found.results)
    doubts += _at_the_edge(found)
    return f"First of all: {'; '.join(doubts)}." if doubts else ""


def _moved(comparison: Comparison, results: Results) -> list[str]:
    """What only some finalists did beside their shapes, by what their optimizers really used."""
    schedules = results.schedules.groupby("trial")
    rises, moves = [], []
    for one in comparison.finalists.to_dict("records"):
        own = schedules.get_group(one["trial"])
        if own["lr"].iloc[0] < own["lr"].max() / 2:
            rises.append(one["finalist"])
        if own["momentum"].nunique() > 1:
            moves.append(one["finalist"])
    doubts, count = [], len(comparison.finalists)
    if 0 < len(rises) < count and "warmup_fraction" not in results.study["search_space"]["extras"]:
        doubts.append(f"of the finalists only {joined(rises)} warmed up; --warmup search lets all")
    if 0 < len(moves) < count:
        doubts.append(f"of the finalists only {joined(moves)} moved the momentum as well")
    return doubts


def _beware(comparison: Comparison, found: Findings) -> str:
    """All else that weakens the verdict, the worst first."""
    results, plans = found.results, found.results.study["plans"]
    doubts = [f"{family} {why} and is out" for family, why in comparison.lost.items()]
    doubts += _far_off(comparison, results)
    if len(plans) > 1:
        doubts.append(
            f"this is plan {len(plans)}, and each may name a winner wrongly in 5 of 100 studies"
        )
    finalists = comparison.finalists
    if few := sorted(set(finalists.loc[finalists["trials"] < 2, "family"])):
        doubts.append(f"{joined(few)} had no more than one trial")
    if CONTROL not in set(results.finalists["family"]):
        doubts.append("no constant rate stands beside the finalists as a control")
    config = results.study["config"]
    doubts.append(
        f"it holds for {config['epochs']} epochs with {config['optimizer']}, momentum "
        f"{config['momentum']} and weight decay {config['weight_decay']}"
    )
    return f"Beware: {'; '.join(doubts)}."


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
    """Replicates that came to far worse than the rest, on which means then hang."""
    runs, scale = comparison.runs, results.scale
    compared = runs[runs["finalist"].isin(comparison.finalists["finalist"])]
    compared = compared.dropna(subset=scale.test_column)
    off = compared[far_off(scale.cost(compared[scale.test_column]), compared["finalist"])]
    return [
        f"{name} came to {joined([_metric(one, results) for one in sorted(values)])} under "
        f"{'one of its seeds' if len(values) == 1 else 'some of its seeds'}"
        for name, values in off.groupby("finalist")[scale.test_column]
    ]


def _better(pair: "pd.Series[float] | Mapping[Any, Any]", results: Results) -> str:
    scale = results.scale
    low, high = scale.difference(pair["low"]), scale.difference(pair["high"])
    return (
        f"{scale.difference(pair['difference'])} better "
        f"(95% interval {low.removesuffix(' points')} to {high.removesuffix(' points')})"
    )


def _apart(pair: "pd.Series[Any]", results: Results) -> str:
    return _better(pair, results).replace(" better", "")


def _metric(value: float, results: Results) -> str:
    return results.scale.ranking.text(value)
