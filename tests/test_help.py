"""A help text and a complaint come at once: nothing heavy is imported before them.

Seconds differ from machine to machine, so what is counted are modules.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from study.__main__ import COMMANDS

HEAVY = {"torch", "torchvision", "ray", "matplotlib", "seaborn", "sklearn", "schedulefree"}
HEAVY |= {"sqlalchemy", "IPython", "transformers", "scipy.stats", "optuna_dashboard"}
MOST = 1_250
"""Modules; torch alone brings 1,300 more."""
BAD_INPUT = [
    ["run", "--epochs", "0"],
    ["run", "--epochs", "many"],
    ["run", "--task", "minst"],
    ["run", "--families", "cosin"],
    ["run", "--device", "mps", "--gpus-per-trial", "0"],
    ["run", "--resume", "nowhere"],
    ["sweep", "--epochs", "0"],
    *([name, "nowhere"] for name in ("confirm", "forgiveness", "export", "report", "dashboard")),
    ["compare", "nowhere", "there"],
    ["gallery", "--out", "x", "--family", "cosin"],
]


def imported(*arguments: str, cwd: Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """A command that has ended, and the modules that it has imported."""
    command = [sys.executable, "-X", "importtime", "-m", "study", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return done, set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_at_once(command: str, tmp_path: Path) -> None:
    done, modules = imported(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"usage: lr-study {command} " in done.stdout
    assert "study.system.command_line" in modules
    assert not modules & HEAVY
    assert len(modules) < MOST


@pytest.mark.parametrize("arguments", BAD_INPUT, ids=" ".join)
def test_bad_input_is_refused_at_once(arguments: list[str], tmp_path: Path) -> None:
    done, modules = imported(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not modules & HEAVY
    assert len(modules) < MOST


def test_the_commands_are_listed_and_others_refused(tmp_path: Path) -> None:
    done, _ = imported("--help", cwd=tmp_path)
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout == imported(cwd=tmp_path)[0].stdout
    done, _ = imported("rnu", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: unknown command 'rnu' (did you mean 'run'?); commands: run, " in done.stderr
    assert imported("--version", cwd=tmp_path)[0].stdout.startswith("lr-study 0.")
