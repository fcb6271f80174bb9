"""``make dashboard`` shows a study while it runs and afterwards, and leaves it as it is."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import analysis
from tests.conftest import run_command

ROOT = Path(__file__).parents[2]
# With the environment that the tests run in, whether it is up to date or not.
MAKE = ["make", "--no-print-directory", "--assume-old=setup", f"BIN={Path(sys.executable).parent}"]


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """Its address, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*MAKE, "dashboard", f"NAME={folder.name}", f"OUT={folder.parent}", f"PORT={port}"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                if line == f"Listening on http://127.0.0.1:{port}/\n":
                    break
            while not listens(port):  # it says so just before it does
                assert process.poll() is None
            yield f"http://127.0.0.1:{port}/api"
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def finished(api: str) -> dict[int, float]:
    """The values of the complete trials that the dashboard shows."""
    trials = get(f"{api}/studies/0")["trials"]
    return {trial["number"]: trial["values"][0] for trial in trials if trial["state"] == "Complete"}


@pytest.mark.slow
def test_a_study_is_watched_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    flags = ["--task", "digits", "--epochs", "3", "--num-trials", "5000", "--finalists", "0"]
    command = [sys.executable, "-m", "study.run", *flags, "--out", str(tmp_path), "--name", "s"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as study:
        assert study.stdout
        try:
            while "] trial 0 " not in study.stdout.readline():
                assert study.poll() is None
            with dashboard(folder) as api:
                port = api.removesuffix("/api").rpartition(":")[2]
                taken = run_command("study.dashboard", folder, "--port", port)
                assert taken.returncode == 1
                assert f"error: --port {port} cannot be served: " in taken.stderr
                (summary,) = get(f"{api}/studies")["study_summaries"]
                assert summary["study_name"] == "s"
                first = finished(api)
                while len(finished(api)) <= len(first):
                    assert study.poll() is None, "it shows what came since"
                os.killpg(study.pid, signal.SIGINT)
                output = study.communicate(timeout=120)[0]
                assert study.returncode == 130, output
                journal = (folder / "optuna.journal").read_bytes()
                trials = analysis.load(folder).trials
                completed = trials[trials["status"] == "completed"].set_index("trial")
                assert finished(api) == completed["val_accuracy"].to_dict()
                assert len(completed) > len(first) > 0
        finally:
            study.kill()
    assert (folder / "optuna.journal").read_bytes() == journal, "nothing is written by looking"
    assert not list(folder.glob("optuna.journal.*")), "and no lock is left"


def test_a_study_must_be_named_and_be_there(tmp_path: Path) -> None:
    made = subprocess.run([*MAKE, "dashboard", "NAME="], cwd=ROOT, capture_output=True, text=True)
    assert (made.returncode, made.stdout, made.stderr.count("\n")) == (2, "", 1), made.stderr
    assert "NAME is missing; name a study: make dashboard NAME=first" in made.stderr
    for name in ("second", "no_study"):
        (tmp_path / name).mkdir()
    (tmp_path / "second" / "study.json").touch()
    done = run_command("study.dashboard", tmp_path / "first")
    assert done.returncode == 2
    why = f"error: '{tmp_path}/first' is no study: it has no study.json; choose one of: second\n"
    assert done.stderr == why
