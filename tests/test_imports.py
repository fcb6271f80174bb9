"""The rooms of the house stand in one line, and nothing runs back up."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("search_spaces", "study", "analysis")
FORBIDDEN = {
    "search_spaces": {"study", "analysis", "reproductions", "ray", "pathlib", "os"},
    "study": {"analysis", "reproductions", "seaborn", "matplotlib"},
    "analysis": {"reproductions", "ray", "torch"},
    "reproductions": {"ray", "optuna"},
}
FOLDERS = {
    "study": (
        "system",
        "tasks",
        "training",
        "storage",
        "settings",
        "search",
        "results",
        "execution",
        "stages",
    ),
    "analysis": ("statistics", "scale", "load", "findings", "figures", "page"),
}
"""From the left to the right: each imports itself and those on its left."""
MAY_IMPORT_OPTUNA = {"analysis/findings/importance.py"}


def imported(source: str) -> set[str]:
    """Dotted names of all that a module imports, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test sees them"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(package: str) -> Iterator[tuple[str, set[str]]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), imported(path.read_text())


def knowing(package: str, library: str) -> set[str]:
    """The modules of a package that import a library."""
    return {
        module
        for module, names in modules(package)
        if any(name.split(".")[0] == library for name in names)
    }


def test_nothing_runs_back_up() -> None:
    for package, forbidden in FORBIDDEN.items():
        for module, names in modules(package):
            wrong = {name for name in names if name.split(".")[0] in forbidden}
            assert not wrong, f"{module} imports {wrong}"


def test_ray_is_known_to_one_folder() -> None:
    assert {module.split("/")[1] for module in knowing("study", "ray")} == {"execution"}


def test_of_the_analysis_only_one_file_knows_optuna() -> None:
    assert knowing("analysis", "optuna") == MAY_IMPORT_OPTUNA


def folder(name: str) -> int:
    """Which folder of its package a module lies in, counted from the left; commands come last."""
    package, _, rest = name.partition(".")
    folders, first = FOLDERS[package], rest.split(".")[0]
    return folders.index(first) if first in folders else len(folders)


@pytest.mark.parametrize("package", FOLDERS)
def test_a_folder_knows_only_those_on_its_left(package: str) -> None:
    for module, names in modules(package):
        own = folder(module.removesuffix(".py").replace("/", "."))
        for name in names:
            if name.startswith(f"{package}."):
                assert folder(name) <= own, f"{module} imports {name}"


def test_training_knows_no_search() -> None:
    for module, names in modules("study/training"):
        assert not {name.split(".")[0] for name in names} & {"ray", "optuna", "pathlib", "os"}, (
            module
        )


def test_figures_read_no_files() -> None:
    readers = ("study.results", "study.storage", "analysis.load", "analysis.findings.findings")
    for module, names in modules("analysis/figures"):
        assert not {name for name in names if name.startswith(readers)}, module


def test_the_walk_sees_imports_in_functions() -> None:
    assert imported("def f():\n    from study.run import main") == {"study.run", "study.run.main"}


def test_no_function_takes_more_than_five_parameters_and_no_file_is_long() -> None:
    for path in (ROOT / "study").rglob("*.py"):
        source = path.read_text()
        assert source.count("\n") <= 250, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                names = [one.arg for one in every if one.arg not in ("self", "cls")]
                assert len(names) <= 5, f"{path}: {node.name}({', '.join(names)})"


IMPORT_ALL = """
import importlib, pathlib, sys
wheel = pathlib.Path(sys.argv[1])
for path in sorted(wheel.rglob("*.py")):
    module = importlib.import_module(".".join(path.relative_to(wheel).with_suffix("").parts))
    assert pathlib.Path(module.__file__).is_relative_to(wheel), module
"""


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_all_that_it_reads(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"{sys.executable} -m pip wheel --quiet --no-deps --wheel-dir {tmp_path} {source}"
    subprocess.run(build.split(), check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "wheel")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (tmp_path / "wheel" / path.relative_to(ROOT)).exists(), path
    subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL, tmp_path / "wheel"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "wheel")},
        check=True,
    )
