"""The set-up of the Makefile: which interpreter, and which torch, a machine gets."""

import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
ON_LINUX = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="elsewhere torch has no other build",
)


def make(*arguments: object, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run make, with programs that go before those of the machine."""
    search = os.pathsep.join(filter(None, [str(programs or ""), os.environ["PATH"]]))
    return subprocess.run(
        ["make", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": search},
    )


def program(folder: Path, name: str, lines: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def interpreter(folder: Path, name: str, version: tuple[int, ...]) -> None:
    """One that says it is of another version."""
    program(folder, name, f'{sys.executable} -c "import sys; sys.version_info = {version}; $2"')


def test_help_names_every_target() -> None:
    targets = re.findall(r"^([a-z-]+):.*  ## (.*)$", (ROOT / "Makefile").read_text(), re.M)
    shown = make("help").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in shown] == [list(one) for one in targets]
    assert len({line.index(line.split(maxsplit=1)[1]) for line in shown}) == 1, "in one column"


def test_the_newest_interpreter_that_fits_is_taken(tmp_path: Path) -> None:
    for minor, patch in ((14, 1), (13, 5), (12, 9)):
        interpreter(tmp_path / "bin", f"python3.{minor}", (3, minor, patch))
    chosen = f"{{}} -m venv {tmp_path}/venv\n"
    setup = ("--dry-run", "setup", f"VENV={tmp_path}/venv")
    assert chosen.format("python3.13") in make(*setup, programs=tmp_path / "bin").stdout
    interpreter(tmp_path / "bin", "python3.14", (3, 14, 2))
    assert chosen.format("python3.14") in make(*setup, programs=tmp_path / "bin").stdout


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 14, 1), (3, 15, 0)])
def test_an_interpreter_that_does_not_fit_is_refused(
    version: tuple[int, ...], tmp_path: Path
) -> None:
    interpreter(tmp_path / "bin", "python", version)
    done = make("setup", f"VENV={tmp_path}/venv", f"PYTHON={tmp_path}/bin/python")
    assert done.returncode == 2
    assert "Python 3.11 to 3.14 is needed, " in done.stdout
    assert "make PYTHON=python3.12 setup" in done.stdout
    assert not (tmp_path / "venv").exists()


def wheel(folder: Path, name: str, version: str) -> None:
    """A package with nothing in it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")


@ON_LINUX
@pytest.mark.parametrize(
    ("gpu", "index", "said", "installed"),
    [
        (False, True, "No NVIDIA GPU is found: torch is installed without CUDA.\n", True),
        (False, False, "No NVIDIA GPU is found, but torch without CUDA cannot be had", False),
        (True, True, "", False),
    ],
)
def test_a_machine_without_a_gpu_gets_no_cuda_where_that_can_be_had(
    gpu: bool, index: bool, said: str, installed: bool, tmp_path: Path
) -> None:
    program(tmp_path / "bin", "nvidia-smi", f"exit {0 if gpu else 1}")
    if index:
        for name in ("torch", "torchvision"):
            folder = tmp_path / "index" / name
            version = f"{PINNED[name]}+cpu"
            wheel(folder, name, version)
            link = f'<a href="{name}-{version}-py3-none-any.whl">{name}</a>'
            (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    made = tmp_path / "venv" / ".made"
    where = (
        f"VENV={made.parent}",
        f"PYTHON={sys.executable}",
        f"CPU_TORCH=file://{tmp_path}/index",
    )
    done = make(made, *where, programs=tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert said or "GPU" not in done.stdout.replace("nvidia-smi", "")
    without_cuda = [*made.parent.glob("lib/python3*/site-packages/torch*+cpu.dist-info")]
    assert len(without_cuda) == 2 * installed
    assert make(made, *where).stdout == f"make: '{made}' is up to date.\n"
