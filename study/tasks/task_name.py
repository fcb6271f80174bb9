"""The names of tasks: one of :data:`~study.tasks.TASKS`, or a function of the user's."""

from search_spaces import nearest
from study.system.errors import InputError
from study.tasks import TASKS


def origin_and_function(spec: str) -> tuple[str, str]:
    """The file or module that a task is made in, and the function that makes it.

    Args:
        spec: a name, ``path/to/file.py:function`` or ``package.module:function``.

    Raises:
        InputError: it is none of these.
    """
    origin, colon, function = TASKS.get(spec, spec).rpartition(":")
    if not (colon and origin and function):
        if spec.endswith(".py"):
            raise InputError(f"--task {spec} names no function; add it, as in {spec}:make_task")
        raise InputError(
            f"unknown task {spec!r}{nearest(spec, TASKS)}; tasks: {', '.join(TASKS)}, "
            "path/to/file.py:function or package.module:function"
        )
    return origin, function
