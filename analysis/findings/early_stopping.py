"""Early stopping: what it saved, and what it cost."""

import pandas as pd

from analysis.scale import Scale


def wrongly_pruned(trials: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """A row a family that had pruned trials: what early stopping saved, and what it cost.

    Columns ``family``, ``pruned``, ``spared`` (pruned, but let run), ``wrong`` (spared and no
    worse in the end than the median of the family's trials that completed unpruned; none if
    there are no such), ``epochs_saved`` (of the longest trial's, those that stopped ones lack).
    """
    columns = ["family", "pruned", "spared", "wrong", "epochs_saved"]
    rows = []
    if "pruned" in trials:
        costs = scale.cost(trials[scale.column]).where(trials["status"] == "completed")
        for family, pruned in trials[trials["pruned"].notna()].groupby("family"):
            others = costs[(trials["family"] == family) & trials["pruned"].isna()]
            stopped = pruned["status"] == "stopped"
            wrong = (costs[pruned.index] <= others.dropna().median()).sum()
            saved = (trials["epochs"].max() - pruned.loc[stopped, "epochs"]).sum()
            rows.append((family, len(pruned), int((~stopped).sum()), int(wrong), int(saved)))
    return pd.DataFrame(rows, columns=columns)
