"""The ways a study ends that are nobody's bug; each is printed as one line, no traceback."""


class InputError(Exception):
    """What the user gave cannot be used: the value, the rule, what to do. Exit status 2."""


class StudyError(Exception):
    """The study cannot go on: why, and what to type next. Exit status 1."""


class CutShortError(StudyError):
    """What runs the trials ended before its time; with what to type next, it is a StudyError."""


def said(error: BaseException) -> str:
    """An error's kind and the last line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
