"""The answer in words: at most seven lines and a command, from the numbers alone."""

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.findings.forgiveness import CONTROL
from analysis.findings.ranks import far_off
from analysis.load import Results
from analysis.page.free_shape import against_free
from analysis.page.words import between, brief, counted, joined, spread
from analysis.scale import Scale
from search_spaces.family import ADAMW_WEIGHT_DECAY, WEIGHT_DECAY
from study.results.parameters import PREFIX
from study.results.sequential import LOOKS
from study.results.stored_ranges import searched_count, stored_peak_range
from study.results.study_record import last_plan

FIRST = "First of all: "
EDGE = 0.05
"""Share of the searched peak rates, by their logarithm, that is their edge."""
NEIGHBOURS = {1.0: "its own", 2.0: "twice its", 0.5: "half its"}
"""Factors of a peak rate that somebody may choose instead."""


class Verdict(NamedTuple):
    """The verdict in words, a line each; empty where there is nothing to say."""

    doubt: str
    """All that may make it invalid."""
    claim: str
    """The winner, or why there is none."""
    configuration: str
    result: str
    """The result on the test split, beside those of the control and the default."""
    forgiving: str
    """The cost of a badly chosen peak rate."""
    beware: str
    free: str
    """The distance of a free shape."""
    command: str
    """The command for the code; empty where no trial has completed."""

    @property
    def lines(self) -> list[str]:
        """At most seven lines and the command, in the order in which they are read."""
        lines = [f"{FIRST}{self.doubt}." if self.doubt else "", *self[1:-1]]
        command = f"Code: {self.command}" if self.command else ""
        return [line for line in (*lines, command) if line]

    @property
    def answer(self) -> str:
        """The claim and what to train with, behind what may make it invalid."""
        return " ".join(self.lines[: 1 + bool(self.doubt) + bool(self.configuration)])


def verdict(found: Findings, location: str | Path) -> Verdict:
    """The verdict on a study.

    Args:
        found: in it.
        location: where it lives, for the commands.
    """
    comparison, best = found.comparison, found.best
    where = shlex.quote(str(location))
    if best is None:
        return Verdict("", *_without_trials(found.results), "", "", "", "", "")
    command = f"python -m study.export {where} --trial {best['trial']}"
    free = against_free(found)
    if not comparison:
        claim, next_step = _without_finalists(found, best, where)
        forgiving = _how_forgiving(found, best["trial"], best["family"])
        return Verdict("", claim, next_step, "", forgiving, "", free, command)
    return Verdict(
        _doubt(comparison, found),
        _who(comparison, found.results.scale, where),
        _configuration(comparison, found),
        _how_good(comparison, found.results.scale),
        _how_forgiving(found, best["trial"], comparison.recommended),
        _beware(comparison, found.results),
        free,
        command,
    )


def _without_trials(results: Results) -> tuple[str, str]:
    """The claim that no trial has completed, and what to do where none will."""
    trials = results.trials
    if not results.study["ended"]:
        return "No trial has completed yet.", ""
    counts = trials["status"].value_counts().to_dict()
    claim = f"No trial has completed: {joined([f'{n} {status}' for status, n in counts.items()])}."
    rates = trials.loc[trials["status"] == "diverged", "peak_lr"]
    if rates.empty:
        return claim, ""
    return claim, (
        f"Those that diverged had peak rates of {spread(rates.min(), rates.max())}: lower them by "
        "--peak-lr LOW,HIGH, or have them found by --peak-lr auto, in a study of another name."
    )


def _without_finalists(found: Findings, best: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The best trial, and what its finalists say or what to do to know."""
    results, scale = found.results, found.results.scale
    plan, runs = last_plan(results.study), results.finalists
    if plan and len(runs):
        runs = runs[runs["replicate"] >= plan.first]
    claim = (
        f"Best of {counted(len(results.trials), 'trial')}: {best['family']}, "
        f"{scale.written(best[scale.column])} validation {scale.name} in one run; the next "
        "best may be as good."
    )
    if plan and plan.looks_at and not plan.looks:
        return claim, (
            f"The finalists are first looked at after {plan.looks_at[0]} seeds; to go on: "
            f"python -m study.run --resume {where}"
        )
    if len(runs):
        statuses = runs["status"].value_counts()
        counts = joined([f"{count} {status}" for status, count in statuses.items()])
        return claim, f"The finalists on fresh seeds say nothing: {counts}."
    if results.study["ended"]:
        again = f"python -m study.confirm {where}"
        return claim, f"To know, train the best again on fresh seeds: {again}"
    return claim, ""


def _who(comparison: Comparison, scale: Scale, where: str) -> str:
    names, tied, seeds = list(comparison.finalists["finalist"]), comparison.tied, comparison.seeds
    if len(names) == 1:
        return f"{names[0]} is the only finalist left: there is nothing to compare it with."
    if not comparison.plan.looks:
        return (
            f"No winner: {names[0]} has the best mean, but {counted(seeds, 'seed')} can tell "
            f"nothing apart. It takes {LOOKS[0]} or more: python -m study.confirm {where}"
        )
    if comparison.winner:
        others = f"{names[1]},"
        if len(names) > 2:
            others = f"every other finalist. It is ahead of {names[1]}, the next,"
        ahead = _apart(pair_of(comparison, *names[:2]), scale)
        return f"{names[0]} wins: after {seeds} seeds it was found better than {others} by {ahead}."
    beaten = [name for name in names if name not in tied]
    standing = (
        f"{seeds} seeds cannot tell {tied[0]} from {joined(tied[1:], 'or')}"
        f"{f'; found worse: {joined(beaten)}' if beaten else ''}."
    )
    take = comparison.recommended
    other = take if take != tied[0] else tied[1]
    if pair := pair_of(comparison, tied[0], other):
        ahead = f"{pair['better']} is ahead of {pair['worse']}"
        standing += f" In the mean {ahead} by {_apart(pair, scale)}."
    if comparison.is_decided:
        return f"No single winner: {standing}"
    following = min(look for look in comparison.plan.looks_at if look > seeds)
    return (
        f"Undecided yet: {standing} To go on to the next look, after {following} seeds: "
        f"python -m study.run --resume {where}"
    )


class Reason(NamedTuple):
    """The reason for the finalist that is recommended where no winner is, in two places."""

    clause: str
    """The one after ``Take X,``."""
    of_several: str
    """The one after ``of 3 that cannot be told apart,``."""


def reason(comparison: Comparison, found: Findings) -> Reason:
    """The reason by :func:`study.results.best_trials.recommended`: it is the simplest of several.

    Or the only one than which none was found better.
    """
    if comparison.is_alone:
        unbeaten = "than which none was found better"
        return Reason(unbeaten, unbeaten)
    space = found.results.study["search_space"]["parameters"]
    families = dict(comparison.finalists[["finalist", "family"]].to_numpy().tolist())
    counts = {name: searched_count(space, families[name]) for name in comparison.tied}
    own = counts.pop(comparison.recommended)
    if own < min(counts.values()):
        fewest = "the fewest parameters to tune"
        return Reason(f"which has {fewest}", f"the one with {fewest}")
    return Reason("the simplest of them", "the simplest")


def _configuration(comparison: Comparison, found: Findings) -> str:
    """The parameters of the finalist that is recommended, and how many trials it is from."""
    take, tied, best = comparison.recommended, comparison.tied, found.best
    assert best
    row = row_of(comparison, take)
    named = {"peak rate": best["peak_lr"]} | {
        name.removeprefix(PREFIX): value
        for name, value in best.items()
        if name.startswith(PREFIX) and pd.notna(value)
    }
    values = [
        f"{name} {value if isinstance(value, str) else brief(value)}"
        for name, value in named.items()
    ]
    whose = "Its configuration"
    if comparison.plan.looks and len(tied) > 1:
        why = reason(comparison, found).clause
        whose = f"{'Take' if comparison.is_decided else 'Until then take'} {take}, {why}"
    place = f"{'the default, one' if row['is_default'] else 'the best'} of"
    return (
        f"{whose}: {', '.join(values)} (trial {row['trial']}, {place} "
        f"{counted(row['trials'], 'trial')})."
    )


def row_of(comparison: Comparison, name: str) -> dict[Any, Any]:
    """A finalist as it is described."""
    finalists = comparison.finalists
    return finalists[finalists["finalist"] == name].to_dict("records")[0]


def pair_of(comparison: Comparison, one: str, other: str) -> dict[Any, Any] | None:
    """Two finalists as they compare, whichever is better; None where they share no seed."""
    pairs = comparison.pairs.to_dict("records")
    return next((pair for pair in pairs if {pair["better"], pair["worse"]} == {one, other}), None)


def _how_good(comparison: Comparison, scale: Scale) -> str:
    """The result of the recommended finalist, and how it compares with control and default."""
    name = comparison.recommended
    best = row_of(comparison, name)
    interval = _interval(best["low"], best["high"], scale.written)
    line = (
        f"Test {scale.name} of {name}: {scale.written(best['mean'])}, the mean "
        f"of {counted(best['seeds'], 'seed')} on this test split{interval}"
    )
    words = {CONTROL: "the constant rate", f"{best['family']} (default)": "its own default"}
    others = list(comparison.finalists["finalist"])
    for other in others[2:] if comparison.winner else others:  # how far it is ahead is said
        if other in words and (pair := pair_of(comparison, name, other)):
            which = "better" if pair["better"] == name else "worse"
            line += f"; {scale.difference(pair['difference'])} {which} than {words[other]}"
            line += _interval(pair["low"], pair["high"], scale.difference)
    most = math.ceil(100 * (1 - 0.05 ** (1 / best["seeds"])))
    return (
        f"{line}. None of them diverged: with 95% confidence, fewer than {most}% of seeds do."
        f"{_ensemble(comparison, scale)}"
    )


def _ensemble(comparison: Comparison, scale: Scale) -> str:
    ensemble = comparison.ensemble
    if not ensemble:
        return ""
    best, gain = comparison.finalists["finalist"].iloc[0], ensemble.better
    return (
        f" But the {ensemble.snapshots} snapshots of {ensemble.finalist} together were found "
        f"better than every single model, than {best} by {scale.difference(gain.mean)}"
        f"{_interval(gain.low, gain.high, scale.difference)}, at {ensemble.snapshots} times the "
        "cost of inference."
    )


def _apart(pair: Mapping[Any, Any] | None, scale: Scale) -> str:
    """By how much two finalists differ, if that is known."""
    if not pair:
        return ""
    interval = _interval(pair["low"], pair["high"], scale.difference)
    return f"{scale.difference(pair['difference'])} in test {scale.name}{interval}"


def _interval(low: float, high: float, text: Callable[[float], str]) -> str:
    """Words in brackets, or none."""
    ends = between(low, high, text)
    return f" (95% interval {ends})" if ends else ""


def _how_forgiving(found: Findings, trial: int, name: str) -> str:
    """The cost of a peak rate that is off by a factor of two, where that was measured."""
    table, scale = found.forgiveness, found.results.scale
    rates = table[table["trial"] == trial]
    by_factor = {one["factor"]: one for one in rates.to_dict("records")}
    costs = [
        f"{cost} at {words} peak rate"
        for factor, words in NEIGHBOURS.items()
        if factor in by_factor and (cost := _cost(by_factor[factor], scale))
    ]
    if not costs:
        return ""
    return (
        f"Forgiveness: {name} {joined(costs)} (validation {scale.name}, means of "
        f"{rates['seeds'].max()} seeds)."
    )


def _cost(rate: Mapping[Any, Any], scale: Scale) -> str:
    """Empty where it is not known."""
    if rate["diverged"]:
        return f"diverges under {rate['diverged']} of {rate['seeds']} seeds"
    if pd.isna(rate["worse"]):
        return ""
    return f"{'loses' if rate['worse'] >= 0 else 'gains'} {scale.difference(abs(rate['worse']))}"


def _doubt(comparison: Comparison, found: Findings) -> str:
    """Doubts that it is a verdict on the schedules at all, which therefore stand before it."""
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
    return "; ".join(doubts)


def _moved(comparison: Comparison, results: Results) -> list[str]:
    """Doubts about what only some finalists did, by the rates and momenta that were really used."""
    schedules = dict(list(results.schedules.groupby("trial")))
    rises, moves = [], []
    for one in comparison.finalists.to_dict("records"):
        if (own := schedules.get(one["trial"])) is None:
            return []  # its curve is lost, and who knows
        if own["lr"].iloc[0] < own["lr"].max() / 2:
            rises.append(one["finalist"])
        if own["momentum"].nunique() > 1:
            moves.append(one["finalist"])
    doubts, count = [], len(comparison.finalists)
    if 0 < len(rises) < count and "warmup_fraction" not in results.study["search_space"]["extras"]:
        doubts.append(f"only {joined(rises)} warmed up (--warmup search lets all)")
    if 0 < len(moves) < count:
        doubts.append(
            f"only {joined(moves)} moved the momentum too, so not the rates alone are compared"
        )
    return doubts


def _beware(comparison: Comparison, results: Results) -> str:
    """All else that weakens the verdict, the worst first."""
    doubts = [f"{name} {why} and is out" for name, why in comparison.lost.items()]
    doubts += _far_off(comparison, results)
    if failed := int((comparison.runs["status"] == "failed").sum()):
        doubts.append(f"{counted(failed, 'run')} failed, which says nothing")
    if (plans := len(results.study["plans"])) > 1:
        doubts.append(
            f"this is plan {plans}, which rests on its own seeds alone, and each plan may name a "
            "winner wrongly in 5 of 100 studies"
        )
    finalists = comparison.finalists
    if few := sorted(set(finalists.loc[finalists["trials"] < 2, "family"])):
        doubts.append(f"{joined(few)} had no more than one trial")
    if CONTROL not in set(results.finalists["family"]):
        doubts.append("no constant rate stands beside the finalists as a control")
    doubts.append(f"this holds for {_setting(results.study)}")
    return f"Beware: {'; '.join(doubts)}."


def _setting(study: Mapping[str, Any]) -> str:
    """All that was the same for every finalist: the optimizer's own numbers, and the recipe."""
    config, recipe = study["config"], study["recipe"]
    decay = ADAMW_WEIGHT_DECAY if config["optimizer"] == "adamw" else WEIGHT_DECAY
    words = {"search": "as it was searched", "default": brief(decay)}
    momentum, decays = (words.get(config[one], config[one]) for one in ("momentum", "weight_decay"))
    optimizer = {
        "study": f"{config['optimizer']},",
        "parameter_groups": f"{config['optimizer']} on the task's parameter groups,",
        "make_optimizer": "the task's own optimizer, called with",  # which may not heed them
    }[recipe["optimizer"]]
    task = study["task"]
    arguments = f" ({', '.join(task['arguments'])})" if task["arguments"] else ""
    parts = [
        f"{task['name']}{arguments}, {counted(config['epochs'], 'epoch')} in batches of "
        f"{config['batch_size']} with {optimizer} momentum {momentum} and weight decay {decays}"
    ]
    if recipe["clip_norm"] is not None:
        parts.append(f"gradients clipped to a norm of {brief(recipe['clip_norm'])}")
    if recipe["accumulate"] > 1:
        parts.append(f"{recipe['accumulate']} batches a step")
    if recipe["precision"] != "fp32":
        parts.append(recipe["precision"])
    if recipe["average"] != "none":
        parts.append(f"averaged weights ({recipe['average']})")
    return ", ".join(parts)


def _at_the_edge(found: Findings) -> list[str]:
    """The doubt that a better peak rate lies outside of those searched."""
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
        f"{name} came to {joined([scale.written(one) for one in sorted(values)])} under "
        f"{'one of its seeds' if len(values) == 1 else 'some of its seeds'}"
        for name, values in off.groupby("finalist")[scale.test_column]
    ]
