"""Optuna's part: trials to try next, and how they ended."""
