"""A study, and what follows from it: computed once, then drawn and written in several places."""

from typing import Any, NamedTuple

import pandas as pd

from analysis.comparison import Comparison, compare
from analysis.curves import CurveMap, curve_map, log_rates, same_curves
from analysis.importance import importances
from analysis.load import Results
from analysis.outcomes import with_cost
from analysis.tuning import fairness, forgiveness, tuning_curves, wrongly_condemned


class Findings(NamedTuple):
    """All of it. The tables are described where they are made."""

    results: Results
    comparison: Comparison | None
    rates: pd.DataFrame
    """:func:`analysis.curves.log_rates`."""
    map: CurveMap
    alike: pd.DataFrame
    """:func:`analysis.curves.same_curves`."""
    curves: pd.DataFrame
    """:func:`analysis.tuning.tuning_curves`."""
    ranges: pd.DataFrame
    """:func:`analysis.tuning.forgiveness`; empty without finalists, whose seeds tell the noise."""
    importances: pd.DataFrame
    ledger: pd.DataFrame
    """:func:`analysis.tuning.fairness`."""
    condemned: pd.DataFrame

    @classmethod
    def of(cls, results: Results) -> "Findings":
        """What follows from a study, whose tables may be empty."""
        trials, scale = results.trials, results.scale
        space = results.study["search_space"]
        comparison = compare(results.finalists, scale)
        noise = comparison.noise if comparison else float("nan")
        return cls(
            results,
            comparison,
            rates := log_rates(results.schedules),
            curve_map(rates, trials, scale),
            same_curves(rates, trials, scale),
            tuning_curves(trials, scale),
            forgiveness(trials if noise >= 0 else trials[:0], noise, scale),
            importances(trials, space, scale),
            fairness(trials, space),
            wrongly_condemned(trials, scale),
        )

    @property
    def completed(self) -> bool:
        """Whether there is anything to draw."""
        return bool((self.results.trials["status"] == "completed").any())

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best trial: of the finalists on the test split, else in the search."""
        trials, scale = self.results.trials, self.results.scale
        if self.comparison:
            chosen = trials[trials["trial"] == self.comparison.families["trial"].iloc[0]]
        else:
            chosen = with_cost(trials, scale).sort_values(["cost", "trial"])
        return chosen.iloc[0].to_dict() if len(chosen) else None
