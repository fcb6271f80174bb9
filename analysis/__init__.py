"""Reading it: the result tables as DataFrames, figures, the report."""

import study  # noqa: F401  # first, since it answers Ctrl-C while the rest is imported
from analysis.load import Results, load

__all__ = ["Results", "load"]
