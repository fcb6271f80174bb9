"""The source of a task: a name, a file or a module, and the function in it that makes the task.

A task is full of functions, which do not survive pickling, so what travels to the workers is its
source; each of them makes the task for itself.
"""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import itertools
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import tyro

from search_spaces import nearest
from study.system.command_line import parse
from study.system.errors import InputError, StudyError, summary
from study.system.seeding import seed_everything
from study.tasks.gradients import GradientNorms
from study.tasks.task import Task
from study.tasks.task_name import origin_and_function


@dataclass(frozen=True)
class TaskSource:
    """A task as it was typed, and the text of the file that it stands in."""

    spec: str
    """``mnist``, ``path/to/file.py:function`` or ``package.module:function``."""
    arguments: tuple[str, ...]
    """Arguments of the function, each ``key=value``."""
    text: str
    file: str = ""
    """Its absolute path, which a worker may not have."""
    module: str = ""
    """File of a module that runs the text of a task which is no module yet."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the task that were typed as flags, by their names."""
    trace: Mapping[str, Any] | None = None
    """Fingerprint of what the task trains on, as study.json has it: a worker's must equal it."""
    gradients: GradientNorms | None = None
    """Gradient norms that were measured of the task, for the family ``refined``."""

    @classmethod
    def read(cls, spec: str, arguments: tuple[str, ...]) -> "TaskSource":
        """Find the file.

        Raises:
            InputError: there is none.
        """
        origin, _ = origin_and_function(spec)
        try:
            with contextlib.chdir(os.curdir):
                path = Path(origin) if origin.endswith(".py") else _module_file(origin)
            file, text = str(path.absolute()), importlib.util.decode_source(path.read_bytes())
            module = _as_module(file, text) if origin.endswith(".py") else ""
            return cls(spec, arguments, text, file, module)
        except FileNotFoundError as error:
            raise InputError(f"--task {spec!r}: there is no file {origin!r} here") from error
        except Exception as error:  # importing a module's package runs the user's code
            raise InputError(f"--task {spec!r}: {origin!r} cannot be read: {error}") from error

    def make(self) -> Task:
        """The task. Wherever its file and function go, the working directory stays as it was.

        Raises:
            InputError: the file, the function or its arguments are wrong; or what the function
                raised, in one line.
        """
        with contextlib.chdir(os.curdir):
            return replace(self._made(), **self.overrides)

    def _made(self) -> Task:
        origin, name = origin_and_function(self.spec)
        seed_everything(0)  # what the file draws for its data is then the same in every worker
        try:
            module = self._imported(origin)
        except (Exception, SystemExit) as error:
            why = summary(error)
            raise InputError(f"--task {self.spec!r} cannot be imported: {why}") from error
        function = getattr(module, name, None)
        if not callable(function) or inspect.isclass(function):
            functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            hint = nearest(name, functions)
            raise InputError(f"--task {self.spec!r}: {origin!r} has no function {name!r}{hint}")
        arguments = _parsed(function, self.spec, self.arguments)
        try:
            task = function(**arguments)
        except (InputError, StudyError):
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"--task {self.spec!r}: {name}() raised {summary(error)}") from error
        if not isinstance(task, Task):
            what = f"{name}() must return a study.task.Task, not {type(task).__name__}"
            raise InputError(f"--task {self.spec!r}: {what}")
        return task

    def check_unchanged(self, before: str, but_test_data: bool) -> None:
        """Hold the file against that of the study that is to be resumed.

        Args:
            before: its text when the study began.
            but_test_data: what loads the test split may have been mended.

        Raises:
            InputError: it has changed, with the first line that has.
        """
        if but_test_data and _without_test_data(before) == _without_test_data(self.text):
            return
        lines = (text.splitlines() for text in (before, self.text))
        pairs = enumerate(itertools.zip_longest(*lines, fillvalue="nothing"), start=1)
        changed = ((number, *pair) for number, pair in pairs if pair[0] != pair[1])
        first = next(changed, None)
        if first is None:  # but for the ends of lines
            return
        number, was, is_ = map(str, first)
        raise InputError(
            f"task {self.spec!r} has changed since this study began: line {number} was "
            f"{was.strip()!r} and is {is_.strip()!r}; put it back (study.json holds its text), or "
            "start another study with another --name"
        )

    def _imported(self, origin: str) -> ModuleType:
        """The module; one that is a file is made from its text, which a worker has in any case."""
        if not origin.endswith(".py"):
            return importlib.import_module(origin)
        module = Path(self.module)
        if not module.exists():
            module = Path(_as_module(self.file, self.text))
        # As if it were a script: its neighbours can be imported.
        for folder in (Path(self.file).parent, module.parent):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        sys.modules.pop(module.stem, None)  # what it draws and counts begins anew
        importlib.invalidate_caches()
        return importlib.import_module(module.stem)


@functools.cache
def _as_module(file: str, text: str) -> str:
    """The path of a module that runs the text of a task as the file in which it stands.

    A loader's workers may be processes that begin with nothing (spawn, forkserver): they import the
    module to find the classes in it, on the path of the process that starts them. What it draws is
    seeded there as here.
    """
    digest = hashlib.sha256(f"{file}\n{text}".encode()).hexdigest()[:12]
    stem = re.sub(r"\W", "_", Path(file).stem)
    lines = (
        f"__file__ = {file!r}",
        "from study.training.training_run import seed_everything",
        "seed_everything(0)",
        f"exec(compile({text!r}, __file__, 'exec'))",
    )
    path = Path(_modules().name, f"task_file_{stem}_{digest}.py")
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@functools.cache
def _modules() -> "TemporaryDirectory[str]":
    """The folder of this process's modules, which is removed when the process ends."""
    return TemporaryDirectory(prefix="lr-schedule-study-", ignore_cleanup_errors=True)


def _without_test_data(text: str) -> str:
    """The code of a task but for what loads its test split; all of it if it is no code."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    name = "load_test_data"
    nodes = list(ast.walk(tree))
    given = [node for node in nodes if isinstance(node, ast.keyword) and node.arg == name]
    names = {name, *(node.value.id for node in given if isinstance(node.value, ast.Name))}
    for argument in given:
        argument.value = ast.Constant(None)
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            node.body = []
    return ast.dump(tree)


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
        raise InputError(
            f"--task {spec!r}: its signature cannot be read: {summary(error)}"
        ) from error
