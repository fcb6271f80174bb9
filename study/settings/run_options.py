"""The options of where and how a study is run."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from study.settings.choices import Device, Logger, check_choices
from study.settings.database_url import check_url
from study.settings.values import at_least, seconds
from study.storage.storage_path import StoragePath
from study.storage.urls import below, is_url
from study.system.command_line import Folder, Location
from study.system.errors import InputError
from study.system.hardware import GPU_SHARE, usable_gpus
from study.system.user_folders import cache_folder


@dataclass(frozen=True)
class LocationOptions:
    """Location of the study, where one that is resumed is already."""

    name: str = ""
    """Name of the study: its results go to <out>/<name>. Default: task and time."""
    out: Folder = Path("results")
    """Folder of all studies."""
    storage: Location | None = None
    """Where the study lives instead of <out>, e.g. s3://bucket/prefix: a URL or a mounted path that
    every node of a cluster reaches."""
    optuna_storage: str | None = None
    """Database of the Optuna study instead of a journal file, e.g. postgresql://user@host/database;
    the password comes from the environment (PGPASSWORD)."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the first value that cannot be."""
        if self.storage is not None and not is_url(self.storage):
            object.__setattr__(self, "out", Path(self.storage))
            object.__setattr__(self, "storage", None)
        if self.name and (Path(self.name).name != self.name or self.name.startswith(".")):
            raise InputError(f"--name must be a plain folder name, not {self.name!r}")
        check_url(self.optuna_storage)

    @property
    def where(self) -> str:
        """Folder or URL that the study lives in, as it is typed."""
        return str(self.folder) if self.storage is None else below(self.storage, self.name)

    def open(self) -> StoragePath:
        """The place, to be read and written, by a client of its own.

        Raises:
            InputError: no such storage, or it cannot be reached.
        """
        return StoragePath.of(self.where)

    @property
    def folder(self) -> Path:
        """Folder that this process writes: the study's own, or that which is copied to its URL."""
        return self.out / self.name


@dataclass(frozen=True)
class MachineOptions:
    """Options of the machine: they may be others whenever the study is resumed."""

    data_dir: Folder = field(default_factory=lambda: cache_folder() / "data")
    """Folder of the data sets; they are fetched if they are not there."""
    max_concurrent: int | None = None
    """Trials at a time. Default: as many as the machine has room for."""
    cpus_per_trial: int = 1
    """CPU threads a trial. One is best for small models."""
    gpus_per_trial: float | Literal["auto"] | None = None
    """GPUs a trial, a fraction to share one; auto measures how many trials a GPU takes. Default: a
    quarter where there is a GPU."""
    max_failures: int = 3
    """Times that a trial whose worker died resumes from its checkpoint. Errors in the code of a
    task would come again and are not retried."""
    logger: Logger = "none"
    """Log the search's trials, epoch by epoch, to this tool too, into <out>/<name>/logs."""
    address: str = "local"
    """Ray cluster to train on: local is one of the study's own, on this machine; auto the one that
    this machine belongs to."""
    device: Device = "auto"
    """Device to train on. auto: a GPU with CUDA or ROCm where there is one, else the CPU."""
    require_gpu: bool = False
    """Never train on a CPU: end with an error where there is no GPU."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the first value that cannot be."""
        check_choices(self)
        at_least("max_concurrent", self.max_concurrent, 1)
        at_least("cpus_per_trial", self.cpus_per_trial, 1)
        at_least("max_failures", self.max_failures, 0)
        asked = self.gpus_per_trial
        share = 0.0 if asked is None or asked == "auto" else asked
        at_least("gpus_per_trial", share, 0)
        if share != round(share, 4):
            raise InputError(
                f"--gpus-per-trial must be a share of a GPU with at most four digits, not {share:g}"
            )
        if share > 1:
            raise InputError(
                f"--gpus-per-trial must be at most 1: a trial trains on one GPU, not on {share:g}"
            )
        if self.needs_gpu and asked == 0:
            raise InputError(f"{self.gpu_flag} and --gpus-per-trial 0 contradict each other")
        if self.device == "cpu" and (self.require_gpu or asked):
            flag = self.gpu_flag if self.require_gpu else f"--gpus-per-trial {asked}"
            raise InputError(f"--device cpu and {flag} contradict each other")
        if self.accelerator != "cuda" and asked == "auto":
            raise InputError(
                "--gpus-per-trial auto measures the kernels of CUDA and ROCm; give a number with "
                f"--device {self.device}"
            )
        if not re.fullmatch(r"local|auto|[\w.-]+:\d+", self.address):
            raise InputError(
                "--address must be local, auto, or HOST:PORT of a cluster that this machine is "
                f"part of, not {self.address!r}; start the study on the cluster itself"
            )

    @property
    def gpu_share(self) -> float:
        """GPUs that a trial gets; until the machine is known, or ``auto`` measured, the default."""
        if self.gpus_per_trial is None or self.gpus_per_trial == "auto":
            if self.device == "cpu":
                return 0.0
            return GPU_SHARE if self.needs_gpu or usable_gpus(self.accelerator) else 0.0
        return self.gpus_per_trial

    @property
    def needs_gpu(self) -> bool:
        """True if the CPU would not do."""
        return self.require_gpu or self.device not in ("auto", "cpu")

    @property
    def gpu_flag(self) -> str:
        """The flag by which a GPU is asked for, as it is typed."""
        return "--require-gpu" if self.require_gpu else f"--device {self.device}"

    @property
    def accelerator(self) -> str:
        """Type of the GPUs that are meant."""
        return "cuda" if self.device in ("auto", "cpu") else self.device

    @property
    def device_type(self) -> str:
        """Type of the device that trials run on."""
        return self.accelerator if self.gpu_share else "cpu"

    @property
    def device_here(self) -> str:
        """Device on which this process tries things out: its machine may have no GPU."""
        return self.device_type if usable_gpus(self.accelerator) else "cpu"


@dataclass(frozen=True)
class InvocationOptions:
    """Options of one run of the command, which are not kept."""

    time_budget: str = "none"
    """Ends the study after so long, e.g. 30m or 1h30m: running epochs are finished, a report is
    written, and --resume continues it."""
    resume: Location | None = None
    """Folder or URL of an interrupted study to resume; its own settings hold."""
    replay: Location | None = None
    """Folder or URL of a study whose settings and proposals are run again, in the same order."""
    dry_run: bool = False
    """Check everything, say what would be done, and stop."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the first value that cannot be."""
        self.budget_seconds()

    def budget_seconds(self) -> float | None:
        """The time budget, or None without one.

        Raises:
            InputError: it is no time.
        """
        return seconds(self.time_budget)
