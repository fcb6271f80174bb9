"""The number of trials that run side by side, and the share of a GPU that each gets."""

from dataclasses import replace
from typing import Any

import ray

from study.settings.run_options import MachineOptions
from study.system.errors import InputError
from study.system.hardware import GPU_SHARE, usable_cpus, usable_gpus

LOCAL = MachineOptions.address


def fit_to_cluster(machine: MachineOptions) -> MachineOptions:
    """The options with the share of a GPU that trials get on the cluster that was joined.

    Raises:
        InputError: no node has room for a trial, and none is waited for.
    """
    nodes = _rooms()
    if machine.gpus_per_trial is None:
        gpus = machine.needs_gpu or any(room.get("GPU") for room in nodes)
        machine = replace(machine, gpus_per_trial=GPU_SHARE if gpus else 0.0)
    if not machine.max_concurrent and not max_parallel(machine):
        raise InputError(
            f"no node of the cluster has room for a trial of {machine.cpus_per_trial} CPUs and "
            f"{machine.gpu_share:g} GPUs; ask for less, or give --max-concurrent to wait for nodes "
            "that the cluster starts"
        )
    return machine


def max_parallel(machine: MachineOptions) -> int:
    """Trials side by side. On a cluster, ``--max-concurrent`` is what nodes are started for.

    On a machine of our own, more at a time would only wait for room, and start at an interruption.
    """
    asked, local = machine.max_concurrent, machine.address == LOCAL
    if asked and not local:
        return asked
    nodes = [{"CPU": usable_cpus(), "GPU": usable_gpus(machine.accelerator)}] if local else _rooms()
    room = sum(_fits(machine, node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
    return min(asked or room, room)


def _fits(machine: MachineOptions, cpus: float, gpus: float) -> int:
    share = machine.gpu_share
    by_cpu = int(cpus // machine.cpus_per_trial)
    if not share:
        return by_cpu
    by_gpu = int(gpus) * int(1 / share)
    return min(by_cpu, by_gpu)


def _rooms() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray_nodes() if node["Alive"]]


def ray_nodes() -> list[dict[str, Any]]:
    """The nodes of the Ray that was joined, those that have died included."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
