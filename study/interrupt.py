"""Ctrl-C, counted."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Counts the interruptions: after one, running epochs are finished; after two, nothing is."""

    count = 0

    @contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Answer SIGINT and SIGTERM with counting, as long as the block runs."""
        signals = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: signal.signal(number, self._count) for number in signals}
        try:
            yield self
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _count(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1:  # written past Python's buffers, which a handler must not enter
            os.write(2, b"\nfinishing the running epochs; once more stops at once\n")
