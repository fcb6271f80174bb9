"""Reasons to stop: Ctrl-C, counted, and a budget of time."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Counts the interruptions: after one, running epochs are finished; after two, nothing is."""

    count = 0

    def __init__(self, budget: float | None = None) -> None:
        """``budget``: seconds from now after which no trial and no epoch begins any more."""
        self._deadline = time.monotonic() + budget if budget is not None else math.inf

    @property
    def stopping(self) -> bool:
        """True if nothing new is to begin."""
        return self.count > 0 or time.monotonic() >= self._deadline

    @contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Answer SIGINT and SIGTERM with counting, as long as the block runs.

        In another thread than the main one, where Python takes no handlers, nothing is answered.
        """
        in_main = threading.current_thread() is threading.main_thread()
        signals = (signal.SIGINT, signal.SIGTERM) if in_main else ()
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
