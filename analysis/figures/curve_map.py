"""The curves in the plane."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import cost_axis
from analysis.figures.parts import colour_bar
from analysis.figures.placement import GLYPH, place_curves
from analysis.figures.style import (
    COLORMAP,
    WIDTH,
)
from analysis.findings.ranks import ACCURACY
from analysis.findings.shapes import FRACTIONS, CurveMap
from analysis.scale import Scale


def curve_map(found: CurveMap, rates: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """Trials placed by their curves, coloured by their final metric, with some curves drawn there.

    ``found`` and ``rates`` as :func:`~analysis.findings.shapes.curve_map` and
    :func:`~analysis.findings.shapes.log_rates` make them. Each family's best is drawn
    and named, beside its place if that is taken; then others, as far as there is room.
    """
    points = found.points.sort_values(["cost", "trial"])
    norm = cost_axis.norm(scale, points["cost"])
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    style: dict[str, Any] = {"cmap": COLORMAP, "norm": norm, "lw": 0}
    axes.scatter(points["x"], points["y"], c=points["cost"], s=7, alpha=0.8, **style)
    axes.margins(0.06, 0.1)
    axes.set(xticks=[], yticks=[])
    for name, label, share in zip("xy", ("first", "second"), found.explained, strict=True):
        axes.set(
            **{f"{name}label": f"{label} component of the curves ({share:.0%} of their variance)"}
        )
    colour_bar(figure, [axes], norm, scale)
    figure.draw_without_rendering()  # so that places are known
    figure.set_layout_engine("none")  # and stay
    places = axes.transAxes.inverted().transform(axes.transData.transform(points[["x", "y"]]))
    colours = plt.get_cmap(COLORMAP)(norm(points["cost"].to_numpy()))
    low, high = float(rates.min().min()), float(rates.max().max())
    for k, name, (x, y) in place_curves(points, places):
        axes.plot(
            *zip(places[k], (x, y), strict=True), color="0.8", transform=axes.transAxes, lw=0.6
        )
        glyph = axes.inset_axes((x - GLYPH[0] / 2, y - GLYPH[1] / 2, *GLYPH))
        curve = rates.loc[points["trial"].iloc[k]]
        glyph.plot(FRACTIONS, curve, color=colours[k], lw=1.4 if name else 1)
        glyph.set(xlim=(-0.03, 1.03), ylim=(low - 0.1, high + 0.1), xticks=[], yticks=[])
        for spine in glyph.spines.values():
            spine.set(visible=True, color="0.85")
        title = glyph.set_title(name, size="small", pad=2, loc="center")
        # No outline, which would turn letters into curves.
        title.set_bbox({"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 0.5})
    return figure
