"""Every node of a cluster, checked before it trains."""

from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.execution.capacity import ray_nodes
from study.results.study_record import STUDY_JSON
from study.storage.storage_path import StoragePath, check_usable
from study.system.errors import InputError, StudyError, summary
from study.system.hardware import describe_versions

CHECK_SECONDS = 120
"""That the check of a node may take: its first worker imports torch."""
COMPARED = {"lr-schedule-study": "the project", "source": "the project's source"}
COMPARED |= {name: name for name in ("python", "torch", "ray")}
"""Versions that have to be the same on every node, as study.json and as people call it."""


class Nodes:
    """The nodes of the cluster that was joined, each of which is checked once.

    Each writes and reads where the study lives, and has the versions that this process has.

    Args:
        where: where the study lives; its study.json is there.
    """

    def __init__(self, where: StoragePath) -> None:
        self._where = where
        self._versions = describe_versions()
        self._known: set[str] = set()
        self._asked: dict[Any, dict[str, Any]] = {}

    def check(self, wait: bool) -> None:
        """Ask the nodes that have come since the last time, and hear those that have answered.

        Args:
            wait: for all of them.

        Raises:
            StudyError: one of them is not fit, in one line.
        """
        for node in ray_nodes():
            if node["Alive"] and node["NodeID"] not in self._known:
                self._known.add(node["NodeID"])
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                check = _versions_there.options(scheduling_strategy=there).remote(self._where)
                self._asked[check] = node
        if not self._asked:
            return
        patience = CHECK_SECONDS if wait else 0
        ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=patience)
        for check in ready:
            self._hear(check, self._asked.pop(check))
        if wait and self._asked:
            node = next(iter(self._asked.values()))
            raise _unfit(node, f"it has not answered for {CHECK_SECONDS} s")

    def _hear(self, check: Any, node: Mapping[str, Any]) -> None:
        try:
            answer = ray.get(check)
        except RayError as error:
            gone = {one["NodeID"] for one in ray_nodes() if not one["Alive"]}
            if node["NodeID"] in gone:  # it may come and go
                return
            raise _unfit(node, summary(error)) from error
        if isinstance(answer, str):
            raise _unfit(node, answer)
        for package, name in COMPARED.items():
            here, there = self._versions[package], answer[package]
            if there != here:
                raise _unfit(node, f"{name} is {there} there, and {here} where the study runs")


@ray.remote(num_cpus=0, max_retries=0)
def _versions_there(where: StoragePath) -> dict[str, str] | str:
    """The versions on a node, or what is wrong with it."""
    try:
        if not (where / STUDY_JSON).exists():
            return (
                f"it does not see the study in {str(where)!r}; --storage must be one for all nodes"
            )
        check_usable(where)
    except (InputError, OSError) as error:
        return str(error)
    return describe_versions()


def _unfit(node: Mapping[str, Any], reason: str) -> StudyError:
    name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return StudyError(f"node {name} ({address}) is not fit for this study: {reason}; mend that")
