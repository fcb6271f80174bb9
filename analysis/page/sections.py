"""The sections of a report, in its order: each one's figure, tables and remarks."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis import figures
from analysis.figures.style import PANELS
from analysis.findings.allocation import unfair
from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.findings.importance import LEAST_TRIALS
from analysis.findings.tuning import leaders
from analysis.page.words import date, intervals, joined
from study.results.sequential import LOOKS


class Section(NamedTuple):
    """A part of the report below its pictures, folded. Words in braces are the metric's."""

    name: str
    """Name of its figure's files."""
    title: str
    caption: str
    draw: Callable[[Findings], Figure] | None = None
    tables: Callable[[Findings], list[pd.DataFrame]] = lambda found: []
    remarks: Callable[[Findings], list[str]] = lambda found: []
    shown: Callable[[Findings], bool] = lambda found: found.completed
    is_open: bool = False


def _compared(found: Findings) -> Comparison:
    assert found.comparison, "the section is not shown without"
    return found.comparison


def _finalist_tables(found: Findings) -> list[pd.DataFrame]:
    comparison, scale = _compared(found), found.results.scale
    text, difference = scale.written, scale.difference
    finalists, pairs = comparison.finalists, comparison.pairs
    described = pd.DataFrame(
        {
            "finalist": finalists["finalist"],
            "trial": finalists["trial"].astype(str),
            "trials of its family": finalists["trials"].astype(str),
            "seeds": finalists["seeds"].astype(str),
            f"mean test {scale.name}": finalists["mean"].map(text),
            "95% interval, this test split": intervals(finalists, text),
        }
    )
    runs, column = comparison.runs, scale.ensemble_column
    if column in runs and runs[column].notna().any():
        means = runs.groupby("finalist")[column].mean().reindex(finalists["finalist"])
        described["its snapshots together"] = (
            means.map(text, na_action="ignore").fillna("").to_numpy()
        )
    compared = pd.DataFrame(
        {
            "better": pairs["better"],
            "worse": pairs["worse"],
            "difference found": pairs["found"].map({True: "yes", False: "no"}),
            "seeds": pairs["seeds"].astype(str),
            "difference": pairs["difference"].map(difference),
            "95% interval, this test split": intervals(pairs, difference),
            "mean": pairs["mean"].map(difference),
        }
    )
    return [described, compared] if len(pairs) else [described]


def _finalist_remarks(found: Findings) -> list[str]:
    comparison = _compared(found)
    plan, openings = comparison.plan, found.results.study["test_split"]
    times = ", ".join(date(one["opened"]) for one in openings)
    often = "once" if len(openings) == 1 else f"{len(openings)} times"
    looks = joined([str(look.seeds) for look in plan.looks])
    return [
        f"The test split was opened {often}: {times}.",
        f"The plan, declared {date(plan.declared)}: at most {plan.replicates} seeds each, looks "
        f"after {joined(list(map(str, plan.looks_at)))}. Looked at: after {looks}."
        if looks
        else f"Fewer than {LOOKS[0]} seeds tell nothing apart: differences are means, with 95% t "
        "intervals.",
    ]


def _cut(found: Findings, table: pd.DataFrame | None = None) -> list[str]:
    """A remark where not all families of a table, or of the study, are drawn."""
    count = (found.results.trials if table is None else table)["family"].nunique()
    return [f"Drawn are the best {PANELS} of {count} families."] if count > PANELS else []


def _leads(found: Findings) -> list[str]:
    remarks = _cut(found, found.tuning)
    kinds = {"expected": "the expected best of draws", "best so far": "the best so far"}
    for kind, name in kinds.items():
        best = found.tuning[found.tuning["kind"] == kind]
        changes = leaders(best)
        if changes:
            first, *others = changes
            crossings = "".join(f", {family} from {k} on" for k, family in others)
            plural = "s" * (first[0] > 1)
            remarks.append(
                f"By {name}, among the {best['family'].nunique()} families that have it, "
                f"{first[1]} leads after {first[0]} trial{plural} of each{crossings}."
            )
    return remarks


def _forgiveness_table(found: Findings) -> list[pd.DataFrame]:
    table, scale = found.forgiveness, found.results.scale
    return [
        pd.DataFrame(
            {
                "configuration": table["family"],
                "trial": table["trial"].astype(str),
                "times its own": table["factor"].map(Fraction).astype(str),
                "peak rate": table["peak_lr"].map("{:.3g}".format),
                f"mean validation {scale.name}": _written(table["mean"], scale.written),
                "95% interval": intervals(table, scale.written),
                "worse than at its own": _written(table["worse"], scale.difference),
                "diverged": [
                    f"{diverged} of {seeds}"
                    for diverged, seeds in zip(table["diverged"], table["seeds"], strict=True)
                ],
            }
        )
    ]


def _written(values: "pd.Series[float]", text: Callable[[float], str]) -> "pd.Series[str]":
    """Nothing where a value is not known."""
    return values.map(text, na_action="ignore").fillna("")


def _ledger_table(found: Findings) -> list[pd.DataFrame]:
    table = found.ledger.assign(seconds=found.ledger["seconds"].map("{:.0f}".format))
    return [table.rename(columns={"dimensions": "searched parameters"}).astype(str)]


def _pruned_remarks(found: Findings) -> list[str]:
    total = found.pruned[["spared", "wrong", "epochs_saved"]].sum()
    epochs = int(found.results.trials["epochs"].sum())
    return [
        f"{total['epochs_saved']} epochs were saved, where {epochs} were trained. Of "
        f"{total['spared']} pruned trials that ran to their end all the same, {total['wrong']} "
        "ended in the better half of their family: these were pruned wrongly."
    ]


def alike(found: Findings) -> list[str]:
    """Which families' best trials are the same schedule under two names."""
    pairs = [
        f"{row['family']} and {row['other']} ({10 ** row['decades'] - 1:.0%})"
        for row in found.alike.to_dict("records")
    ]
    shown = [*pairs[:5], f"{len(pairs) - 5} more pairs"] if len(pairs) > 5 else pairs
    if not pairs:
        return []
    return [
        f"Nearly the same curve in the best trials of {joined(shown)}: so far are their rates "
        "apart (root mean square)."
    ]


def _importance_remarks(found: Findings) -> list[str]:
    trials = found.results.trials
    families = trials.groupby("family").size()
    few = sorted(set(families.index) - set(found.importances["family"]))
    none = sorted(set(found.importances["family"]) - set(found.deciding["family"]))
    remarks = [f"Not shown, with fewer than {LEAST_TRIALS} trials: {joined(few)}."] if few else []
    return remarks + ([f"Nothing comes further than chance in {joined(none)}."] if none else [])


def _draw(figure: Callable[..., Figure], *tables: str) -> Callable[[Findings], Figure]:
    """A figure of some of the study's tables."""

    def draw(found: Findings) -> Figure:
        arguments: list[Any] = [getattr(found.results, table) for table in tables]
        return figure(*arguments, found.results.scale)

    return draw


SECTIONS = (
    Section(
        "finalists",
        "Finalists on fresh seeds",
        "The best trial of each of the best families, and the default of the best of them, "
        "trained again under new seeds, the same ones for all, and measured on this test split. "
        "Dots are seeds, bars the mean with its 95% t interval. Pairs are compared seed by seed by "
        "signed ranks, at looks that were fixed beforehand, until they are told apart or more "
        "seeds would hardly help; their differences are pseudo-medians, with 95% intervals that "
        "hold at every look. A winner was found better than every other finalist.",
        lambda found: figures.finalists(
            _compared(found).runs, _compared(found).finalists, found.results.scale
        ),
        _finalist_tables,
        _finalist_remarks,
        lambda found: found.comparison is not None,
    ),
    Section(
        "tuning",
        "What tuning brings",
        "The best validation {metric} of a family after so many of its trials; the other families "
        "in grey. Lines: expected of as many independent draws. Dashed: what the best of as many "
        "new ones comes to in four cases of five or more (80 to 93%, by the number of trials), "
        "whatever the distribution. Dotted: the best so far, in the order in which trials were "
        "run. What TPE proposes depends on what it saw before, and an estimate for independent "
        "draws would be wrong for it. Families without a curve had a single random trial.",
        lambda found: figures.tuning_budget(
            found.results.trials, found.tuning, found.results.scale
        ),
        remarks=_leads,
        shown=lambda found: found.completed and not found.tuning.empty,
    ),
    Section(
        "forgiveness",
        "What a badly chosen peak rate costs",
        "The best trial and the constant rate, its control (grey), trained again at a quarter to "
        "four times their own peak rates, all else equal, under a few fresh seeds, the same for "
        "all; validation {metric}. Dots are seeds, lines their means, crosses diverged. So few "
        "seeds show what a factor of two or four costs, and prove no small difference.",
        lambda found: figures.forgiveness(
            found.results.forgiveness, found.forgiveness, found.results.scale
        ),
        _forgiveness_table,
        shown=lambda found: not found.forgiveness.empty,
        is_open=True,
    ),
    Section(
        "peak_rates",
        "Final {metric} against the peak rate",
        "A family whose dots stay {good} over a wide range forgives a badly chosen rate.",
        _draw(figures.result_by_peak_lr, "trials"),
        remarks=_cut,
    ),
    Section(
        "learning_curves",
        "Learning curves",
        "Validation {metric} after each epoch, coloured by where it ended. A schedule that looks "
        "poor in the middle may be the best at the end.",
        _draw(figures.learning_curves, "trials", "epochs"),
        remarks=_cut,
        shown=lambda found: found.completed and found.results.epochs["epoch"].max() > 1,
    ),
    Section(
        "importances",
        "Which parameters decide",
        "How far the values of the best quarter of a family's trials lie from those of its others "
        "(Kolmogorov-Smirnov distance; of categories, the total variation). Ticks: what chance "
        "stays below in 19 of 20 shufflings of the results. What comes no further is grey: it may "
        "be nothing, or narrowed by TPE too soon to be seen. Of twenty bars, one comes further by "
        "chance.",
        lambda found: figures.importances(found.deciding),
        remarks=_importance_remarks,
        shown=lambda found: not found.deciding.empty,
    ),
    Section(
        "fairness",
        "What each family was given",
        "A family that got more trials had more chances to be lucky.",
        tables=_ledger_table,
        remarks=lambda found: unfair(found.ledger),
        shown=lambda found: True,
    ),
    Section(
        "pruned",
        "Early stopping",
        "Trials that fell behind their own family were pruned, and one in ten let run.",
        tables=lambda found: [
            found.pruned.rename(columns=lambda name: name.replace("_", " ")).astype(str)
        ],
        remarks=_pruned_remarks,
        shown=lambda found: not found.pruned.empty,
    ),
    Section(
        "range_test",
        "Which peak rates were searched",
        "The range test: three short runs whose rate rises exponentially from step to step. The "
        "shaded range ends where the training loss was lowest, and begins two decades below.",
        lambda found: figures.range_test(
            found.results.study["range_test"], found.results.study["search_space"]["peak_lr"]
        ),
        shown=lambda found: bool(found.results.study.get("range_test")),
    ),
    Section(
        "refined_schedule",
        "The schedule that the gradients ask for",
        "Norms of the gradient in one run with the straight line (dotted), and the schedule that "
        "follows from them: low where gradients are large, and towards the end. The trials of "
        "refined have their own smoothing and warm-up.",
        lambda found: figures.refined_schedule(found.results.study["gradient_norms"]),
        shown=lambda found: bool(found.results.study.get("gradient_norms")),
    ),
)
