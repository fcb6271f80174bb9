"""A study, and what follows from it: computed once where it is needed, drawn and written."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.findings.allocation import fairness
from analysis.findings.early_stopping import wrongly_pruned
from analysis.findings.finalists import Comparison, compare_finalists
from analysis.findings.forgiveness import forgiveness
from analysis.findings.importance import importances
from analysis.findings.overview import Overview, overview
from analysis.findings.ranks import with_cost
from analysis.findings.shapes import log_rates, same_curves
from analysis.findings.tuning import best_by_trials
from analysis.load import Results


@dataclass(frozen=True)
class Findings:
    """All that follows from a study, whose tables may be empty; described where it is made."""

    results: Results

    @cached_property
    def comparison(self) -> Comparison | None:
        """:func:`analysis.findings.finalists.compare_finalists`."""
        return compare_finalists(self.results)

    @cached_property
    def overview(self) -> Overview:
        """:func:`analysis.findings.overview.overview`."""
        return overview(self.results.trials, self.results.scale, self.comparison)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """:func:`analysis.findings.shapes.log_rates`."""
        return log_rates(self.results.schedules)

    @cached_property
    def alike(self) -> pd.DataFrame:
        """:func:`analysis.findings.shapes.same_curves`."""
        return same_curves(self.rates, self.results.trials, self.results.scale)

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """:func:`analysis.findings.tuning.best_by_trials`."""
        return best_by_trials(self.results.trials, self.results.scale)

    @cached_property
    def forgiveness(self) -> pd.DataFrame:
        """:func:`analysis.findings.forgiveness.forgiveness`."""
        return forgiveness(self.results.forgiveness, self.results.scale)

    @cached_property
    def importances(self) -> pd.DataFrame:
        """:func:`analysis.findings.importance.importances`."""
        space = self.results.study["search_space"]
        return importances(self.results.trials, space, self.results.scale)

    @cached_property
    def deciding(self) -> pd.DataFrame:
        """:attr:`importances` of the families in which a parameter exceeds chance."""
        exceeds = self.importances["distance"] > self.importances["chance"]
        families = self.importances["family"]
        return self.importances[families.isin(families[exceeds])]

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """:func:`analysis.findings.allocation.fairness`."""
        return fairness(self.results.trials, self.results.study["search_space"])

    @cached_property
    def pruned(self) -> pd.DataFrame:
        """:func:`analysis.findings.early_stopping.wrongly_pruned`."""
        return wrongly_pruned(self.results.trials, self.results.scale)

    @property
    def completed(self) -> bool:
        """True if there is anything to draw."""
        return bool((self.results.trials["status"] == "completed").any())

    @cached_property
    def best(self) -> dict[str, Any] | None:
        """The row of the trial that is recommended; without a comparison, of the best."""
        trials, comparison = self.results.trials, self.comparison
        chosen = with_cost(trials, self.results.scale).sort_values(["cost", "trial"])
        if comparison:
            named = comparison.finalists.set_index("finalist")["trial"]
            chosen = trials[trials["trial"] == named[comparison.recommended]]
        for row in chosen.to_dict("records"):
            return {str(name): value for name, value in row.items()}
        return None
