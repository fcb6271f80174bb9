"""The house style: one geometry for a page and a two-column paper, one palette, one way to save.

Figures are as wide as both columns of a paper or as one, in small type. A page shows them larger,
in the size of its own text, so that what is readable here is readable there.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from study.system.atomic_files import write_atomically

WIDTH, COLUMN = 7.0, 3.4  # inches
PANEL_HEIGHT, MAX_COLUMNS = 1.35, 4
PANELS = 12
"""Families of which a figure of details has a panel: the best ones. Of more, nobody reads them."""
CROWD = 500
"""Marks of a panel beyond which they are pixels, also in a vector: thousands only take time."""
COLORMAP = "viridis"  # perceptually even, and safe for the colour-blind
TIERS = ("#440154", "#31688e", "#35b779", "#bdbdbd")
"""Colours of the tiers of results, the best first: viridis, and grey for the worse half."""
LOST = "0.7"  # of trials that did not complete
INK = "#31688e"  # of what carries no colour scale; from the same map
QUIET = "0.45"
DPI = 200
LONGEST = 24  # letters of a name, for which a panel has room


def house_style() -> dict[Any, Any]:
    """Seaborn's ticks style in the type of a paper, as matplotlib's rcParams.

    Figures are made and saved under it: ``with plt.rc_context(house_style())``, or, for the whole
    of a notebook, ``plt.rcParams.update(house_style())``.
    """
    return {
        **sns.axes_style("ticks"),
        **sns.plotting_context("paper", font_scale=0.75),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.titlelocation": "left",
        "axes.titlepad": 3,
        "axes.labelpad": 2.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.03,
        "figure.constrained_layout.h_pad": 0.03,
        "figure.dpi": 150,
        "legend.frameon": False,
        "text.parse_math": False,  # a name may have dollars in it
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "house",  # else its names of parts are drawn at random
        "pdf.fonttype": 42,  # TrueType, which publishers ask for
    }


def family_panels(
    families: Sequence[str], height: float = PANEL_HEIGHT
) -> tuple[Figure, dict[str, Axes]]:
    """A grid of small panels that share their axes, one a family, in the order given."""
    columns = min(MAX_COLUMNS, math.ceil(math.sqrt(len(families))))
    rows = math.ceil(len(families) / columns)
    width = WIDTH if columns > 1 else COLUMN
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width, height * rows + 0.35 + 0.65 * (rows == 1)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes in grid.flat[len(families) :]:
        axes.remove()
    for axes in grid.flat[max(0, len(families) - columns) : len(families)]:
        axes.tick_params(labelbottom=True)  # what stands above an empty place is at the bottom too
    return figure, dict(zip(families, grid.flat, strict=False))


def rows_figure(count: int, inches: float = 0.24) -> tuple[Figure, Axes]:
    """One column wide, with a row for each of so many."""
    figure, axes = plt.subplots(figsize=(COLUMN, inches * count + 0.6))
    axes.set_ylim(count - 0.5, -0.5)
    return figure, axes


def short(family: str) -> str:
    """A name for a panel: of a family with an import path, what follows it; the rest of it cut."""
    name = family.rpartition(":")[2]
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def beside(axes: Axes, position: float, text: str) -> None:
    """A remark to the right of a row."""
    axes.annotate(
        text,
        (1.02, position),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        color=QUIET,
        size="small",
    )


def scale_rates(axis: Axis, subs: Sequence[float] = (1,)) -> None:
    """An axis of rates or counts: logarithmic, at round numbers; ``subs`` of each decade."""
    axes = axis.axes
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set(
        major_locator=LogLocator(subs=subs),
        major_formatter=FuncFormatter(lambda rate, _: f"{rate:g}"),
        minor_locator=NullLocator(),
    )


def save(figure: Figure, stem: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write ``stem.png`` and so on, each whole or not at all; the figure is closed in any case.

    Raises:
        OSError: a file cannot be written.
    """
    # By the canvases themselves: savefig draws each figure once more, to look for a tight box.
    # Without the time, so that the same figure is the same file.
    canvases: dict[str, tuple[Any, dict[str, None]]] = {
        "png": (FigureCanvasAgg, {}),
        "svg": (FigureCanvasSVG, {"Date": None}),
        "pdf": (FigureCanvasPdf, {"CreationDate": None}),
    }
    paths = []
    try:
        for suffix in formats:
            drawn = io.BytesIO()
            figure.set_dpi(DPI)  # each time, since an SVG leaves its own
            canvas, metadata = canvases[suffix]
            # Made here, not above: a figure lays itself out by the canvas that was made last.
            getattr(canvas(figure), f"print_{suffix}")(drawn, metadata=metadata)
            figure.set_layout_engine("none")  # which took half of the time, and is done
            paths.append(stem.with_name(f"{stem.name}.{suffix}"))
            write_atomically(paths[-1], drawn.getvalue())
    finally:
        plt.close(figure)
    return paths
