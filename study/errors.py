"""The ways a study ends that are nobody's bug; each is printed as one line, no traceback."""


class InputError(Exception):
    """What the user gave cannot be used: the value, the rule, what to do. Exit status 2."""


class StudyError(Exception):
    """The study cannot go on: why, and what to type next. Exit status 1."""
