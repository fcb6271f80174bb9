"""The machines that a study runs on: a Ray of its own, or a cluster of which every node is proved.

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import RayError
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.results.study_json import STUDY_JSON
from study.settings.study_config import StudyConfig
from study.storage.storage_path import Place, prove
from study.system.errors import CutShortError, InputError, StudyError, failed, said
from study.system.hardware import GPU_SHARE, describe_versions, usable_cpus, usable_gpus
from study.system.module import ROOT
from study.system.user_folders import may_be_made, private_folder

LOCAL = StudyConfig.address
SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""The longest path of a socket of Ray's, in its folder."""
ROOM = (103 if sys.platform == "darwin" else 107) - len(SOCKET)
PROOF_SECONDS = 120
"""That a node has to prove itself: its first worker imports torch."""
COMPARED = {"lr-schedule-study": "the project", "source": "the project's source"}
COMPARED |= {name: name for name in ("python", "torch", "ray")}
"""What has to be the same on every node, as study.json and as people call it."""
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


def connect(address: str, environment: Mapping[str, str]) -> Connection:
    """Start a Ray of our own, or join a cluster, whose workers get the environment.

    Raises:
        CutShortError: Ray does not start.
        InputError: there is no such cluster, or it does not take us in.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:  # else a stale address file makes this join somebody else's cluster
        quiet |= {"num_cpus": usable_cpus(), "num_gpus": usable_gpus()}
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
            f"--address {address}: no Ray cluster takes this process in ({said(error)}); start one "
            "by ray up or ray start --head, with the same token if it has one, or leave it out"
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
        reason = failed(error) if isinstance(error, OSError) else f"{said(error)}; {_remedy()}"
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


def fitted(config: StudyConfig) -> StudyConfig:
    """The configuration with the share of a GPU that trials get on the cluster that was joined.

    Raises:
        InputError: no node has room for a trial, and none is waited for.
    """
    nodes = _rooms()
    if config.gpus_per_trial is None:
        gpus = config.require_gpu or any(room.get("GPU") for room in nodes)
        config = replace(config, gpus_per_trial=GPU_SHARE if gpus else 0.0)
    if not config.max_concurrent and not slots(config):
        raise InputError(
            f"no node of the cluster has room for a trial of {config.cpus_per_trial} CPUs and "
            f"{config.gpu_share:g} GPUs; ask for less, or give --max-concurrent to wait for nodes "
            "that the cluster starts"
        )
    return config


def slots(config: StudyConfig) -> int:
    """Trials side by side. On a cluster, ``--max-concurrent`` is what nodes are started for.

    On a machine of our own, more at a time would only wait for room, and begin at a stop.
    """
    asked = config.max_concurrent
    if config.address != LOCAL and asked:
        return asked
    nodes = [{"CPU": usable_cpus(), "GPU": usable_gpus()}] if config.address == LOCAL else _rooms()
    room = sum(_fits(config, node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
    return min(asked or room, room)


def _fits(config: StudyConfig, cpus: float, gpus: float) -> int:
    share = config.gpu_share
    by_cpu = int(cpus // config.cpus_per_trial)
    if not share:
        return by_cpu
    by_gpu = int(gpus) * int(1 / share) if share < 1 else int(gpus // share)
    return min(by_cpu, by_gpu)


def _rooms() -> list[dict[str, float]]:
    return [node["Resources"] for node in _nodes() if node["Alive"]]


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


class Nodes:
    """The nodes of the cluster that was joined, each of which must prove itself once.

    Each writes and reads where the study lives, and has the versions that this process has.

    Args:
        place: where the study lives; its study.json is there.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._versions = describe_versions()
        self._known: set[str] = set()
        self._asked: dict[Any, dict[str, Any]] = {}

    def prove(self, wait: bool) -> None:
        """Ask the nodes that have come since the last time, and hear those that have answered.

        Args:
            wait: for all of them.

        Raises:
            StudyError: one of them is not fit, in one line.
        """
        for node in _nodes():
            if node["Alive"] and node["NodeID"] not in self._known:
                self._known.add(node["NodeID"])
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                proof = _proof.options(scheduling_strategy=there).remote(self._place)
                self._asked[proof] = node
        if not self._asked:
            return
        patience = PROOF_SECONDS if wait else 0
        ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=patience)
        for proof in ready:
            self._hear(proof, self._asked.pop(proof))
        if wait and self._asked:
            node = next(iter(self._asked.values()))
            raise _unfit(node, f"it has not answered for {PROOF_SECONDS} s")

    def _hear(self, proof: Any, node: Mapping[str, Any]) -> None:
        try:
            answer = ray.get(proof)
        except RayError as error:
            gone = {one["NodeID"] for one in _nodes() if not one["Alive"]}
            if node["NodeID"] in gone:  # it may come and go
                return
            raise _unfit(node, said(error)) from error
        if isinstance(answer, str):
            raise _unfit(node, answer)
        for package, name in COMPARED.items():
            here, there = self._versions[package], answer[package]
            if there != here:
                raise _unfit(node, f"{name} is {there} there, and {here} where the study runs")


@ray.remote(num_cpus=0, max_retries=0)
def _proof(place: Place) -> dict[str, str] | str:
    """The versions on a node, or what is wrong with it."""
    try:
        if not (place / STUDY_JSON).exists():
            return (
                f"it does not see the study in {str(place)!r}; --storage must be one for all nodes"
            )
        prove(place)
    except (InputError, OSError) as error:
        return str(error)
    return describe_versions()


def _unfit(node: Mapping[str, Any], reason: str) -> StudyError:
    name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return StudyError(f"node {name} ({address}) is not fit for this study: {reason}; mend that")
