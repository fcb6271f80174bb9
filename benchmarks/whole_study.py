"""Section i: how much of a whole study's time its cores train."""

import json
import tempfile
from pathlib import Path

from benchmarks.measure import FULL, Row, Scale, text
from benchmarks.processes import CORES, on_cores, run, samples_of_mnist
from study.storage.checkpoint_files import HISTORY
from study.training.history import History


def share_of_training(scale: Scale) -> list[Row]:
    """The default study with its finalists, from the command to its report. Measured once.

    The seconds of all epochs, evaluation included, over those that the cores had.
    """
    flags: tuple[object, ...] = ()
    if scale.samples < FULL.samples:
        flags = (*samples_of_mnist(scale), "--num-trials", scale.trials, "--replicates", 2)
    with tempfile.TemporaryDirectory() as out, on_cores(CORES) as cores:
        seconds = run("study.run", "--out", out, "--name", "study", *flags).seconds
        # Of trials and replicates alike, their last checkpoint is what is left of them.
        files = [path.read_text() for path in Path(out, "study").rglob(HISTORY)]
    histories = [History.from_json(json.loads(file)) for file in files]
    training = sum(record.seconds for history in histories for record in history.epochs)
    share = 100 * training / (cores * seconds)
    detail = f"{len(histories)} runs in {text(seconds)} s"
    row = "default study: time in which its cores train"
    return [Row("i", row, "%", (share,), at_least=85, detail=detail)]
