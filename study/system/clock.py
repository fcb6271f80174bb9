"""The time, as files have it."""

import datetime as dt


def now() -> str:
    """The time, as ISO 8601 with the offset from UTC."""
    return dt.datetime.now().astimezone().isoformat(timespec="seconds")
