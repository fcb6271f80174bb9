"""On what, and with which versions, a study ran."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib

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
    kind = accelerator()
    return {
        "node": platform.node(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": usable_cpus(),
        "gpus": [device_name(kind, k) for k in range(usable_gpus(kind))],
    }


def usable_cpus() -> int:
    """The processors that this process may use, a container's quota of them considered."""
    return int(joblib.cpu_count())


def accelerator() -> str:
    """Type of the accelerator that this build of torch knows: cuda, mps, xpu, or none: cpu."""
    import torch  # here, not above: --help and bad input do not wait for it

    found = torch.accelerator.current_accelerator()
    return "cpu" if found is None else found.type


def usable_gpus(kind: str) -> int:
    """The GPUs of a type, ``cuda`` (ROCm's name too), ``mps`` or ``xpu``, that torch can use."""
    import torch

    return torch.accelerator.device_count() if accelerator() == kind else 0


def device_name(kind: str, index: int = 0) -> str:
    """The name of a GPU, or of a device that has none its type."""
    import torch

    named = getattr(torch.get_device_module(kind), "get_device_name", None)
    return str(named(index)) if named and usable_gpus(kind) else kind


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
