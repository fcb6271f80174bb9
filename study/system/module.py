"""Runs a module of this project: ``python -P study/system/module.py analysis.report results/NAME``.

As ``python -m`` does, but our packages are those that lie beside this one: what is called so in
the working directory, an ``analysis.py`` of the user's, say, is not taken for them. All else is
looked for there too, and last.
"""

import runpy
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder of our packages: a checkout, or where pip has put them."""
PACKAGES = ("search_spaces", "study", "analysis")


class Ours:
    """Finds our packages, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module, as Python's import asks for it."""
        return PathFinder.find_spec(name, [str(ROOT)]) if name in PACKAGES else None


if __name__ == "__main__":
    sys.meta_path.insert(0, Ours)
    sys.path.append("")
    sys.argv[:2], module = ["-m"], sys.argv[1]  # as long as it is imported, like Python's own
    runpy.run_module(module, run_name="__main__", alter_sys=True)
