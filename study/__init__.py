"""Trying it: training, the search, checkpoints and the result tables. `python -m study.run`."""
