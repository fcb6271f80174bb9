"""What the schedules are famous for, measured again: ``python -m reproductions.NAME``."""

import study  # noqa: F401  # first, since it answers Ctrl-C while the rest is imported
