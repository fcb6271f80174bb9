"""The machines that a study runs on: a Ray of its own, or a cluster of which every node is proved.

What would go wrong on one node in the middle of a study is found out before its first trial, and
on a node that comes later once it is there.
"""

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import GPU_SHARE, StudyConfig
from study.errors import CutShortError, InputError, StudyError, said
from study.hardware import describe_versions, usable_cpus, usable_gpus
from study.results import STUDY_JSON
from study.storage import Place, prove

LOCAL = StudyConfig.address
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
        others = _children()
        try:
            context = ray.init(address=LOCAL, include_dashboard=False, **quiet)
        except Exception as error:  # a machine that is too busy, a folder that cannot be written
            raise CutShortError(
                f"Ray does not start on this machine ({said(error)}); see what keeps it busy, or "
                "its logs in the folder ray under RAY_TMPDIR or /tmp"
            ) from error
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
