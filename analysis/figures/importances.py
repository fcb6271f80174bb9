"""The parameters that decide."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import INK, LOST, family_panels, short


def importances(found: pd.DataFrame) -> Figure:
    """The distance of the good trials' values of each parameter from the others', a panel a family.

    ``found`` as :func:`~analysis.findings.importance.importances` makes it; what chance
    could have given is grey, and the tick is how far chance came.
    """
    families = list(dict.fromkeys(found["family"]))
    most = int(found.groupby("family").size().max())
    figure, panels = family_panels(families, 0.3 + 0.16 * most)
    for family, axes in panels.items():
        own = found[found["family"] == family]
        colours = [INK if sure else LOST for sure in own["distance"] > own["chance"]]
        axes.barh(range(len(own)), own["distance"], color=colours, alpha=0.55, height=0.7)
        axes.plot(own["chance"], range(len(own)), "|", color="0.3", ms=6)
        for position, name in enumerate(own["parameter"]):
            axes.annotate(name, (0.015, position), va="center", size="small")
        axes.set_title(f"{short(family)} ({own['trials'].iloc[0]} trials)")
        axes.set_yticks([])
    first = next(iter(panels.values()))
    first.set(xlim=(0, 1), ylim=(most - 0.5, -0.5))
    first.xaxis.set(major_locator=MaxNLocator(2))
    figure.supxlabel(
        "distance of the best quarter from the others (0: alike, 1: apart)", size="medium"
    )
    return figure
