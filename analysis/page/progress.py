"""The progress of a study that has not ended, in words."""

from typing import Any, NamedTuple

from analysis.load import Results
from study.results.study_record import last_plan


class Progress(NamedTuple):
    """So many of so many: trials while it searches, then seeds."""

    words: str
    done: int
    of: int


def progress(results: Results) -> Progress | None:
    """The progress of a study; None of one that has ended."""
    study: dict[str, Any] = results.study
    if study["ended"]:
        return None
    plan = last_plan(study)
    if study["phase"] == "searching" or plan is None:
        done, most = len(results.trials), study["config"].get("num_trials", 0)
        words = f"The study has not ended yet: {done} of {most} trials are done."
        return Progress(words, done, most)
    done = 0
    if len(results.finalists):
        done = max(0, int(results.finalists["replicate"].max()) + 1 - plan.first)
    words = f"The study has not ended yet: its finalists train under fresh seeds, {done} of at most"
    return Progress(f"{words} {plan.replicates}.", done, plan.replicates)
