"""On what, and with which versions, a study ran."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import torch

PACKAGES = ("lr-schedule-study", "torch", "torchvision", "ray", "optuna", "numpy")


def describe_versions() -> dict[str, str]:
    """Versions of Python, of the packages that decide results, and of this project's source."""
    versions = {"python": platform.python_version(), "git_commit": _git_commit()}
    versions["source"] = _source_digest()
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe_hardware() -> dict[str, str | int | list[str]]:
    """Description of the machine that this process runs on."""
    return {
        "node": platform.node(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": usable_cpus(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(usable_gpus())],
    }


def usable_cpus() -> int:
    """The processors that this process may use, a container's quota of them considered."""
    return int(joblib.cpu_count())


def usable_gpus() -> int:
    """The GPUs that torch can use."""
    return torch.cuda.device_count()


def _source_digest() -> str:
    """Digest of the code of search_spaces and study, as this process finds it."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(
        path for part in ("search_spaces", "study") for path in (root / part).rglob("*.py")
    ):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _git_commit() -> str:
    """Commit of the checkout that this file lies in, with ``-dirty`` where it was changed since."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


GPU_SHARE = 0.25
"""Share of a GPU for each trial: a small network leaves most of one idle."""
