"""The machines that a study runs on: a Ray of its own, or a cluster of which every node is checked.

What would go wrong on one node in the middle of a study is found out before its first trial, and
on a node that comes later once it is there.
"""

import contextlib
import logging
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.job_config import JobConfig

from study.execution.capacity import LOCAL
from study.system.errors import CutShortError, InputError, StudyError, failed, summary
from study.system.hardware import usable_cpus
from study.system.module import ROOT
from study.system.user_folders import may_be_made, private_folder

SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""The longest path of a socket of Ray's, in its folder."""
ROOM = (103 if sys.platform == "darwin" else 107) - len(SOCKET)
CORE = {"gcs_server", "raylet"}
"""The processes of a Ray of our own with any of which all of it is lost."""


@dataclass(frozen=True)
class Connection:
    """A Ray that was started or joined.

    Args:
        logs: where it writes its own, on this machine.
        core: by name, its processes without which it is lost, if it is our own.
    """

    logs: Path
    core: Mapping[str, psutil.Process] = field(default_factory=dict)

    def lost(self) -> str | None:
        """The name of a process of the core that has died, if one has."""
        return next((name for name, process in self.core.items() if not _is_alive(process)), None)


def connect(address: str, gpus: int, environment: Mapping[str, str]) -> Connection:
    """Start a Ray of our own, or join a cluster, whose workers get the environment.

    Args:
        address: ``local``, or a cluster's.
        gpus: of this machine, for a Ray of our own, which would count those that torch cannot use.
        environment: variables by their names.

    Raises:
        CutShortError: Ray does not start.
        InputError: there is no such cluster, or it does not take us in.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:  # else a stale address file makes this join somebody else's cluster
        quiet |= {"num_cpus": usable_cpus(), "num_gpus": gpus}
        # Ray has workers search the working directory first, but for a client's: ours goes before
        # it, since another package may be called so there.
        paths = [str(Path.cwd()), str(ROOT)]  # the last is searched first
        quiet["job_config"] = JobConfig(_client_job=True, _py_driver_sys_path=paths)
        others = _children()
        context = _start(quiet)
        started = {Path(one.name()).stem: one for one in _children() - others}
        return Connection(
            _logs(context), {name: one for name, one in started.items() if name in CORE}
        )
    try:
        if address != "auto":  # Ray itself would try for minutes, aloud
            socket.create_connection(address.split(":"), timeout=10).close()  # type: ignore[arg-type]
        context = ray.init(address=address, runtime_env={"env_vars": dict(environment)}, **quiet)
    except Exception as error:  # whatever a Ray of another version, or one with a token, does
        raise InputError(
            f"--address {address}: no Ray cluster takes this process in ({summary(error)}); start "
            "one by ray up or ray start --head, with the same token if it has one, or leave it out"
        ) from error
    return Connection(_logs(context))


def _logs(context: Any) -> Path:
    return Path(context.address_info["session_dir"]) / "logs"


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _start(options: Mapping[str, Any]) -> Any:
    """The context of a Ray of our own, which is started.

    Raises:
        CutShortError: it does not start.
        StudyError: there is no folder for it.
    """
    if not may_be_made(Path.home() / ".ray"):  # where Ray keeps a token for all of its clusters
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
    try:
        return ray.init(address=LOCAL, include_dashboard=False, _temp_dir=_folder(), **options)
    except Exception as error:  # whatever Ray makes of a machine that refuses it something
        reason = failed(error) if isinstance(error, OSError) else f"{summary(error)}; {_remedy()}"
        raise CutShortError(f"Ray cannot start on this machine: {reason}") from error


def _remedy() -> str:
    """Advice where Ray says no more than that a process of its own has not come up."""
    limits = []
    if sys.platform != "win32":
        import resource

        for what, kind, flag, enough in (
            ("processes", resource.RLIMIT_NPROC, "-u", 1024),
            ("open files", resource.RLIMIT_NOFILE, "-n", 1024),
            ("bytes a file", resource.RLIMIT_FSIZE, "-f", 2**62),
            ("bytes of memory", resource.RLIMIT_AS, "-v", 2**62),
        ):
            limit, _ = resource.getrlimit(kind)
            if limit != resource.RLIM_INFINITY and limit < enough:
                limits.append(f"{limit} {what} (ulimit {flag})")
    return f"it may have {' and '.join(limits)} here: raise that" if limits else "mend that"


def _folder() -> str | None:
    """Folder for Ray's files: a private one where its own is another user's, or too deep.

    Raises:
        StudyError: there is no folder that is shallow enough.
    """
    if not hasattr(socket, "AF_UNIX"):
        return None
    own = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    if _is_shallow(own) and may_be_made(own):
        return str(own)
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        with contextlib.suppress(OSError, InputError):
            folder = private_folder(Path(parent)) / "ray"
            if _is_shallow(folder):
                return str(folder)
    raise StudyError(
        f"Ray makes sockets in a folder whose path has at most {ROOM} bytes, and of {str(own)!r} "
        "and those beside it none is so short and may be written; name one by RAY_TMPDIR"
    )


def _is_shallow(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= ROOM


class RayLost(BaseException):
    """The Ray that runs the trials has died under them.

    Not an Exception: after one, Ray Tune would tidy up, and wait for what is gone.
    """
