"""A worker that sleeps instead of training, and reports and checkpoints like one that trains.

It imports no torch, so that dozens of them start and fit on a machine that has two cores.
"""

import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from ray import tune

from study.storage.file_version import VERSION

POINTS = 512
STATE = b"x" * 1000


class Sleeper(tune.Trainable):
    """What :class:`study.execution.trainable.ScheduleTrial` looks like from the driver."""

    def setup(  # type: ignore[override]  # the rest comes by tune.with_parameters
        self, config: dict[str, Any], *, workers: int, seconds: float, meeting: Path
    ) -> None:
        """``meeting``: a folder in which workers wait for each other before they begin."""
        self._workers, self._seconds, self._meeting = workers, seconds, meeting
        self._arrived = False
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self._run: dict[str, Any] = new_config["run"]
        self._history: dict[str, Any] = {"status": "running", "epochs": [], "curve": []}
        self._history["node"] = str(os.getpid())
        return True

    def step(self) -> dict[str, Any]:
        """Sleep for an epoch. The first time, until all are there, so that they take turns."""
        if not self._arrived:
            self._arrived = True
            (self._meeting / str(os.getpid())).touch()
            while len(list(self._meeting.iterdir())) < self._workers:
                time.sleep(0.1)
            time.sleep(random.random() * self._seconds)
        total, epochs = self._run["epochs"], self._history["epochs"]
        time.sleep(self._seconds / total)
        epoch = len(epochs) + 1
        record = {"epoch": epoch, "step": 390 * epoch, "lr": 0.01, "seconds": self._seconds / total}
        record |= {"train_loss": 0.1, "val_loss": 0.1, "val_metric": random.random()}
        epochs.append(record)
        points = range(len(self._history["curve"]), POINTS * epoch // total)
        self._history["curve"] += [(3 * step, 0.1 * random.random(), 0.9) for step in points]
        done = epoch == total
        self._history["status"] = "completed" if done else "running"
        found = {"samples": 1, "epoch": epoch, "metric": record["val_metric"], "record": record}
        return found | {"status": self._history["status"], "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The files of a checkpoint, of which the state is tiny."""
        files = {"history.json": json.dumps(self._history).encode(), "state.pt": STATE}
        manifest: dict[str, Any] = {"version": VERSION, "files": {}}
        config = json.dumps(self._run, sort_keys=True).encode()
        manifest["config"] = hashlib.sha256(config).hexdigest()
        for name, content in files.items():
            Path(checkpoint_dir, name).write_bytes(content)
            mark = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            manifest["files"][name] = mark
        Path(checkpoint_dir, "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
