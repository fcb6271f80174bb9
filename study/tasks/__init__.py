"""The tasks that can be chosen by name. A new one is one module and one line here."""

from search_spaces import nearest
from study.errors import InputError
from study.task import Task
from study.tasks.mnist import MNIST

TASKS: dict[str, Task] = {task.name: task for task in (MNIST,)}


def task_named(name: str) -> Task:
    """The task of this name.

    Raises:
        InputError: there is none, with the nearest that is.
    """
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise InputError(f"unknown task {name!r}{nearest(name, TASKS)}; tasks: {known}")
    return TASKS[name]
