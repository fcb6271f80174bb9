"""What the study costs, beside what others' recipes cost: ``python -m benchmarks``."""

import study  # noqa: F401  # first, since it answers Ctrl-C while the rest is imported
