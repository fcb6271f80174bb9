"""One training run, in plain torch."""
