"""Where a task comes from: a name, a file or a module, and the function in it that makes the task.

A task is full of functions, which do not survive pickling, so what travels to the workers is its
source; each of them makes the task for itself.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import tyro

from search_spaces import nearest
from study.cli import parse
from study.errors import InputError, StudyError, said
from study.task import Task
from study.tasks import TASKS
from study.training import seed_everything


@dataclass(frozen=True)
class TaskSource:
    """A task as it was typed, and the text of the file that it stands in."""

    spec: str
    """``mnist``, ``path/to/file.py:function`` or ``package.module:function``."""
    arguments: tuple[str, ...]
    """Of the function, each ``key=value``."""
    text: str

    @classmethod
    def read(cls, spec: str, arguments: tuple[str, ...]) -> "TaskSource":
        """Find the file.

        Raises:
            InputError: there is none.
        """
        place = _place(spec)[0]
        try:
            path = Path(place) if place.endswith(".py") else _module_file(place)
            return cls(spec, arguments, importlib.util.decode_source(path.read_bytes()))
        except FileNotFoundError as error:
            raise InputError(f"--task {spec!r}: there is no file {place!r} here") from error
        except Exception as error:  # importing a module's package runs the user's code
            raise InputError(f"--task {spec!r}: {place!r} cannot be read: {error}") from error

    def make(self) -> Task:
        """The task.

        Raises:
            InputError: the file, the function or its arguments are wrong; or what the function
                raised, in one line.
        """
        place, name = _place(self.spec)
        seed_everything(0)  # what the file draws for its data is then the same in every worker
        try:
            module = self._imported(place)
        except (Exception, SystemExit) as error:
            raise InputError(f"--task {self.spec!r} cannot be imported: {said(error)}") from error
        function = getattr(module, name, None)
        if not callable(function) or inspect.isclass(function):
            functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            hint = nearest(name, functions)
            raise InputError(f"--task {self.spec!r}: {place!r} has no function {name!r}{hint}")
        arguments = _parsed(function, self.spec, self.arguments)
        try:
            task = function(**arguments)
        except (InputError, StudyError):
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"--task {self.spec!r}: {name}() raised {said(error)}") from error
        if not isinstance(task, Task):
            raise InputError(
                f"--task {self.spec!r}: {name}() must return a study.task.Task, "
                f"not {type(task).__name__}"
            )
        return task

    def to_json(self) -> dict[str, Any]:
        """For study.json: what was trained, though the file may change."""
        return {
            "spec": self.spec,
            "arguments": list(self.arguments),
            "sha256": hashlib.sha256(self.text.encode()).hexdigest(),
            "text": self.text,
        }

    def check_unchanged(self, description: Mapping[str, Any]) -> None:
        """Hold the file against the study.json of the study that is to go on.

        Raises:
            InputError: it has changed, with the first line that has; or study.json is damaged.
        """
        try:
            text = description["task"]["text"]
            if text is None:  # the first version did not record it
                return
            before = str(text).splitlines()
        except (KeyError, TypeError) as error:
            raise InputError(f"study.json is damaged: task: {error}") from error
        now = self.text.splitlines()
        if before == now:
            return
        length = max(len(before), len(now))
        pairs = zip(
            *(lines + ["nothing"] * (length - len(lines)) for lines in (before, now)), strict=True
        )
        number, (was, is_) = next(
            (number, pair) for number, pair in enumerate(pairs, start=1) if pair[0] != pair[1]
        )
        raise InputError(
            f"task {self.spec!r} has changed since this study began: line {number} was "
            f"{was.strip()!r} and is {is_.strip()!r}; put it back (study.json holds its text), or "
            "start another study with another --name"
        )

    def _imported(self, place: str) -> ModuleType:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        # From the text, which a worker has where it may not have the file.
        module = ModuleType(f"task_file_{Path(place).stem}")
        module.__file__ = str(Path(place).absolute())
        folder = str(Path(module.__file__).parent)
        if folder not in sys.path:  # as if it were a script: its neighbours can be imported
            sys.path.insert(0, folder)
        sys.modules[module.__name__] = module
        exec(compile(self.text, module.__file__, "exec"), vars(module))
        return module


def _place(spec: str) -> tuple[str, str]:
    """The file or module, and the function."""
    place, colon, function = TASKS.get(spec, spec).rpartition(":")
    if not (colon and place and function):
        raise InputError(
            f"unknown task {spec!r}{nearest(spec, TASKS)}; tasks: {', '.join(TASKS)}, "
            "path/to/file.py:function or package.module:function"
        )
    return place, function


def _module_file(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no module named {name!r}")
    return Path(found.origin)


def _parsed(function: Callable[..., Task], spec: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """The arguments as the function's signature has them."""
    known = inspect.signature(function).parameters
    flags: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"--task-args must be key=value, not {argument!r}")
        if key not in known:
            offered = ", ".join(known) or "it takes none"
            raise InputError(
                f"--task-args: task {spec!r} takes no {key!r}{nearest(key, known)}; "
                f"arguments: {offered}"
            )
        flags.append(f"--{key}={value}")

    @tyro.conf.configure(tyro.conf.FlagConversionOff)  # a bool is written flag=True
    @functools.wraps(function)
    def keep(**values: Any) -> dict[str, Any]:
        return values

    try:
        return parse(keep, f"task {spec}", flags)
    except InputError as error:
        raise InputError(f"--task-args: {str(error).partition(' (see ')[0]}") from error
    except Exception as error:  # annotations that cannot be resolved
        raise InputError(f"--task {spec!r}: its signature cannot be read: {said(error)}") from error
