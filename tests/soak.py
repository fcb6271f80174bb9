"""A long study under random kills: ``python -m tests.soak --minutes 20``.

A digits study of many trials, whose driver and workers are killed with -9 at random moments for
some minutes; then it is left alone until it is done. At the end, trials are trained once more in
this process, and have to have come to the very same weights and numbers.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

import analysis
from study.results.stored_space import read_space
from study.results.study_record import StudyRecord
from study.search.optuna_trials import OptunaTrials
from study.search.trial_plan import Plan
from study.stages.resuming import begun_config
from study.storage.checkpoint_files import read_checkpoint
from study.storage.checkpoint_store import CheckpointStore
from study.storage.storage_path import CHECKPOINTS, StoragePath
from study.tasks.builtin.digits import make_task
from study.training.training_run import TrainingRun


@dataclass(frozen=True)
class Soak:
    """Kill a study at random for some time, and see what is lost."""

    minutes: float = 20
    """Of kills."""
    trials: int = 500
    seconds: float = 25
    """Between two kills, on average."""
    compared: int = 150
    """Trials that are trained once more at the end."""
    seed: int = 0


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Process numbers and command lines of all that a process started."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    for child in parents:
        ancestor = child
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor]
        if ancestor == pid != child:
            yield child, commands.get(child, "")


def main(soak: Soak) -> None:
    """Kill, then look at what is left."""
    chance = random.Random(soak.seed)
    out = Path(tempfile.mkdtemp())
    folder = out / "soak"
    flags = ["--task", "digits", "--batch-size", "8", "--epochs", "24", "--name", "soak"]
    flags += ["--num-trials", str(soak.trials), "--out", str(out), "--max-failures", "1000"]
    flags += ["--finalists", "2", "--replicates", "4"]
    command = [sys.executable, "-m", "study.run"]
    kills: Counter[str] = Counter()
    until = time.monotonic() + 60 * soak.minutes
    done = False
    while not done:
        arguments = ["--resume", str(folder)] if (folder / "study.json").exists() else flags
        with (
            (out / "log").open("a") as log,
            subprocess.Popen(
                [*command, *arguments], stdout=log, stderr=log, start_new_session=True
            ) as driver,
        ):
            while driver.poll() is None and time.monotonic() < until:
                try:
                    driver.wait(timeout=chance.expovariate(1 / soak.seconds))
                    break
                except subprocess.TimeoutExpired:
                    pass
                workers = [pid for pid, name in descendants(driver.pid) if "ScheduleTrial" in name]
                if workers and chance.random() < 0.7:
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    kills["worker"] += 1
                else:
                    driver.kill()
                    kills["driver"] += 1
            done = driver.wait() == 0
            if driver.returncode not in (0, -signal.SIGKILL):
                raise SystemExit(f"exit status {driver.returncode}: see {out / 'log'}")
    print(f"killed: {dict(kills)}; in {folder}")
    look(folder, soak.compared)


def look(folder: Path, count: int) -> None:
    """Train some of the trials once more, evenly spread, and compare."""
    torch.set_num_threads(1)
    record = StudyRecord.load(folder)
    config = begun_config(record, folder)
    search, space = config.search, read_space(record.search_space)
    plan = Plan(space, search.allocation, search.sampler)
    optuna_trials = OptunaTrials(folder, plan, record.metric, search.seed, resuming=True)
    task = make_task()
    data = task.load_search_data(folder)
    rows = {row["trial"]: row for row in analysis.load(folder).trials.to_dict("records")}
    checkpoints = CheckpointStore(StoragePath.of(folder / CHECKPOINTS))
    lost = []
    finished = list(optuna_trials.finished())
    for proposal, history in finished[:: max(1, len(finished) // count)]:
        run = TrainingRun(task, data, proposal.run_config(config))
        while not run.history.ended:
            run.run_epoch()
        found, _ = checkpoints.find(proposal.number, run.config.digest())
        state = read_checkpoint(found.folder)[0]["model"] if found else {}
        weights = run.model.state_dict()
        same = state.keys() == weights.keys() and all(
            torch.equal(state[name], weights[name]) for name in weights
        )
        last = run.history.epochs[-1]
        same &= rows[proposal.number]["val_loss"] == last.val_loss
        same &= history.status == run.history.status
        if not same and history.status != "diverged":
            lost.append(proposal.number)
    statuses = Counter(row["status"] for row in rows.values())
    print(f"finished: {len(rows)} trials, numbers {min(rows)} to {max(rows)}, {dict(statuses)}")
    print(f"still open in Optuna: {len(optuna_trials.open_proposals())}")
    print(f"not as if undisturbed: {lost or 'none'}")


if __name__ == "__main__":
    main(tyro.cli(Soak))
