"""What the study costs, beside what others' recipes cost: ``python -m benchmarks``."""
