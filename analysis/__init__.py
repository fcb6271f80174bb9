"""Reading it: the result tables as DataFrames, figures, the report."""

from analysis.load import Results, load

__all__ = ["Results", "load"]
