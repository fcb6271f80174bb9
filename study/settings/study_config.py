"""The configuration of a study, which is also its command line."""

import datetime as dt
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces import PeakRange, select
from study.settings.choices import (
    Allocation,
    Logger,
    Optimizer,
    Sampler,
    TrialScheduler,
    check_choices,
    families_help,
    task_help,
)
from study.settings.database_url import check_url
from study.settings.values import ranged, rates, seconds
from study.storage.storage_path import Place, place
from study.storage.urls import below, is_url
from study.system.command_line import Folder, Location
from study.system.errors import InputError
from study.system.hardware import GPU_SHARE, usable_gpus
from study.system.user_folders import cache_folder


@dataclass(frozen=True)
class StudyConfig:
    """Find out which learning-rate schedule to train with: Optuna proposes, Ray Tune trains."""

    name: str = ""
    """Name of the study: its results go to <out>/<name>. Default: task and time."""
    task: Annotated[Location, tyro.conf.arg(help=task_help())] = "mnist"
    """What to train."""
    task_args: tuple[str, ...] = ()
    """Arguments of the task's function, each key=value."""
    num_trials: int = 40
    """Trials in all, a resumed study's earlier ones included."""
    epochs: int = 3
    """Epochs a trial: the budget that the schedule is chosen for."""
    batch_size: int = 128
    """Samples a step."""
    families: Annotated[str, tyro.conf.arg(help=families_help())] = "classic"
    allocation: Allocation = "joint"
    """Who gets the trials: the families that the sampler likes, or all the same number."""
    sampler: Sampler = "tpe"
    """Optuna's TPE, or random draws."""
    trial_scheduler: TrialScheduler = "fifo"
    """Let every trial end, or stop those that fall behind their own family's."""
    finalists: int = 4
    """Families trained again when the search is done, the constant rate among them; 0 for none."""
    replicates: int = 10
    """Fresh seeds for each finalist."""
    warmup: str = "none"
    """Warm-up before families that have none: search, none, or a fraction of the run."""
    optimizer: Optimizer = "sgd"
    """SGD with Nesterov momentum, or AdamW."""
    momentum: str = "0.9"
    """Momentum, or the first beta of AdamW: search, or a number."""
    weight_decay: str = "default"
    """Weight decay: search, a number, or default (0.0005 for SGD, 0.01 for AdamW)."""
    peak_lr: str = "task"
    """Peak rates to search: those of the task, auto (a learning-rate range test), or LOW,HIGH."""
    seed: int = 0
    """Of everything random. Repeats a study exactly with --max-concurrent 1."""
    out: Folder = Path("results")
    """Folder of all studies."""
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
    """Times that a trial whose worker died goes on from its checkpoint. Errors in the code of a
    task would come again and are not retried."""
    time_budget: str = "none"
    """Ends the study after so long, e.g. 30m or 1h30m: running epochs are finished, a report is
    written, and --resume goes on."""
    logger: Logger = "none"
    """Log the search's trials, epoch by epoch, to this tool too, into <out>/<name>/logs."""
    address: str = "local"
    """Ray cluster to train on: local is one of the study's own, on this machine; auto the one that
    this machine belongs to."""
    storage: Location | None = None
    """Where the study lives instead of <out>, e.g. s3://bucket/prefix: a URL or a mounted path that
    every node of a cluster reaches."""
    optuna_storage: str | None = None
    """Database of the Optuna study instead of a journal file, e.g. postgresql://user@host/database;
    the password comes from the environment (PGPASSWORD)."""
    require_gpu: bool = False
    """Never train on a CPU: end with an error where there is no GPU."""
    resume: Location | None = None
    """Folder or URL of an interrupted study to go on with; its own settings hold."""
    replay: Location | None = None
    """Folder or URL of a study whose settings and proposals are run again, in the same order."""
    dry_run: bool = False
    """Check everything, say what would be done, and stop."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: naming the first that cannot be.
        """
        if not self.name:
            kind = Path(self.task.rpartition(":")[0] or self.task).stem
            time = dt.datetime.now().strftime("%Y%m%d-%H%M%S")
            object.__setattr__(self, "name", f"{kind}-{time}")
        if Path(self.name).name != self.name or self.name.startswith("."):
            raise InputError(f"--name must be a plain folder name, not {self.name!r}")
        check_choices(self)
        for flag in ("num_trials", "epochs", "batch_size", "max_concurrent", "cpus_per_trial"):
            _at_least(flag, getattr(self, flag), 1)
        _at_least("replicates", self.replicates, 2)
        if self.finalists != 0 and self.finalists < 2:
            raise InputError(f"--finalists must be 0, or at least 2, not {self.finalists}")
        _at_least("seed", self.seed, 0)
        if self.seed >= 2**32:
            raise InputError(f"--seed must be below 2**32, not {self.seed}")
        asked = self.gpus_per_trial
        share = 0.0 if asked is None or asked == "auto" else asked
        _at_least("gpus_per_trial", share, 0)
        if share != round(share, 4) or (share > 1 and share % 1 != 0):
            raise InputError(
                f"--gpus-per-trial must be a whole number or a share of one GPU with at most four "
                f"digits, not {share:g}"
            )
        _at_least("max_failures", self.max_failures, 0)
        self._settle_machines()
        check_url(self.optuna_storage)
        self.extras()
        self.peak_range()
        self.budget_seconds()
        try:
            select(self.families)
        except ValueError as error:
            raise InputError(str(error)) from error

    def _settle_machines(self) -> None:
        if self.storage is not None and not is_url(self.storage):
            object.__setattr__(self, "out", Path(self.storage))
            object.__setattr__(self, "storage", None)
        if not re.fullmatch(r"local|auto|[\w.-]+:\d+", self.address):
            raise InputError(
                "--address must be local, auto, or HOST:PORT of a cluster that this machine is "
                f"part of, not {self.address!r}; start the study on the cluster itself"
            )
        if self.require_gpu and self.gpus_per_trial == 0:
            raise InputError("--require-gpu and --gpus-per-trial 0 contradict each other")

    def extras(self) -> dict[str, BaseDistribution]:
        """The ranges of what is searched, or fixed otherwise than by default, beside the shapes.

        Raises:
            InputError: a value that is neither a word nor a number within its bounds.
        """
        ranges: dict[str, BaseDistribution | None] = {
            "warmup_fraction": ranged("--warmup", self.warmup, "none", (0.01, 0.2), (1e-6, 0.9)),
            "momentum": ranged("--momentum", self.momentum, "0.9", (0.8, 0.99), (0.0, 0.9999)),
            "weight_decay": ranged(
                "--weight-decay", self.weight_decay, "default", (1e-5, 1e-1), (0.0, 1.0)
            ),
            "optimizer": CategoricalDistribution(("adamw",)) if self.optimizer != "sgd" else None,
        }
        return {name: range_ for name, range_ in ranges.items() if range_ is not None}

    def budget_seconds(self) -> float | None:
        """The time budget, or None without one.

        Raises:
            InputError: it is no time.
        """
        return seconds(self.time_budget)

    def peak_range(self) -> PeakRange | None:
        """The peak rates that were typed, or None where ``peak_lr`` is a word.

        Raises:
            InputError: neither.
        """
        return None if self.peak_lr in ("task", "auto") else rates(self.peak_lr)

    @property
    def gpu_share(self) -> float:
        """GPUs that a trial gets; until the machine is known, or ``auto`` measured, the default."""
        if self.gpus_per_trial is None or self.gpus_per_trial == "auto":
            return GPU_SHARE if usable_gpus() or self.require_gpu else 0.0
        return self.gpus_per_trial

    @property
    def device(self) -> str:
        """Type of the device that trials run on."""
        return "cuda" if self.gpu_share else "cpu"

    @property
    def device_here(self) -> str:
        """Device on which this process tries things out: its machine may have no GPU."""
        return self.device if usable_gpus() else "cpu"

    @property
    def location(self) -> str:
        """Folder or URL that the study lives in, as it is typed."""
        return str(self.out / self.name) if self.storage is None else below(self.storage, self.name)

    @property
    def place(self) -> Place:
        """The same, to be read and written.

        Raises:
            InputError: no such storage, or it cannot be reached.
        """
        return place(self.location)

    @property
    def folder(self) -> Path:
        """Folder that this process writes: the study's own, or that which is copied to its URL."""
        return self.out / self.name


# What may differ when a study is resumed: what it runs on, not what it is.
MACHINE = (
    "data_dir",
    "max_concurrent",
    "cpus_per_trial",
    "gpus_per_trial",
    "max_failures",
    "logger",
    "address",
    "require_gpu",
)
# What is about one run of the command, and not kept.
OF_ONE_RUN = ("time_budget", "resume", "replay", "dry_run")


def _at_least(flag: str, value: float | None, low: int) -> None:
    if value is not None and not value >= low:
        raise InputError(f"--{flag.replace('_', '-')} must be at least {low}, not {value}")
