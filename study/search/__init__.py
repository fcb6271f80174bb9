"""What to try next, and how it ended, in Optuna."""
