"""The lines that are printed of a whole study, and its report."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

from search_spaces import FAMILIES, SearchSpace
from study.results.study_record import STUDY_JSON, Finalist, SeedPlan, StudyRecord, names_of
from study.settings.run_options import LocationOptions
from study.settings.study_config import StudyConfig
from study.system import module
from study.system.errors import StudyError

COMMAND = "python -m study.run"
CONFIRM = "python -m study.confirm"
FORGIVE = "python -m study.forgiveness"


def plan_line(config: StudyConfig, space: SearchSpace, record: StudyRecord, done: int = 0) -> str:
    """A line that says what is about to be done."""
    ranges = [FAMILIES[one].peak_range(space.peak_lr, space.extras) for one in space.families]
    count, families = config.search.num_trials, len(space.families)
    trials = f"{count - done}{' more' * bool(done)} trials"
    tried = f"{count} of {families}" if count < families else str(families)
    better = {"maximize": "higher", "minimize": "lower"}[record.metric.direction]
    by = f"{record.metric.name} ({better} is better)"
    finalists = config.confirm.finalists
    seeds = record.plans[-1].replicates if record.plans else config.confirm.replicates
    return (
        f"{trials} of {config.training.epochs} epochs on {record.task.name}, "
        f"{tried} schedule families, peak rates {min(ranges)[0]:g} to "
        f"{max(high for _, high in ranges):g}, ranked by validation {by}"
        + (f", then up to {finalists} finalists under up to {seeds} seeds" if finalists else "")
        + f" -> {config.location.where}"
    )


def declared_line(finalists: Sequence[Finalist], plans: Sequence[SeedPlan]) -> str:
    """A line that says what the finalists are and when their seeds are enough."""
    plan, names = plans[-1], names_of(finalists)
    looks = ", ".join(map(str, plan.looks_at))
    seeds = (
        f"at most {plan.replicates} fresh seeds each, with looks after {looks}"
        if looks
        else f"{plan.replicates} fresh seeds each, too few to tell any apart"
    )
    again = f"plan {len(plans)}, of which earlier seeds are no part; " * (len(plans) > 1)
    return f"{again}finalists: {', '.join(names.values())}; {seeds}; measured on the test split"


def standing_line(plan: SeedPlan, names: Mapping[int, str]) -> str:
    """A line that says how the finalists stand at the newest look."""
    look = plan.looks[-1]
    if look.leader is None:
        return f"no finalist is left after {look.seeds} seeds: all have collapsed or failed"
    leader = names[look.leader]
    if look.second is None:
        return f"{leader} is better than all others, after {look.seeds} seeds"
    line = f"{leader} ahead of {names[look.second]}, {look.seeds} seeds"
    if look.ends:
        return f"{line}, which cannot tell them apart"
    following = min(seeds for seeds in plan.looks_at if seeds > look.seeds)
    return f"{line}, next look at {following}"


def start_report(location: str) -> subprocess.Popen[bytes]:
    """Have a study's report written, by a process of its own: study never imports analysis."""
    # -P: else the folder of module.py, or the working one, would be searched first.
    command = [sys.executable, "-P", module.__file__, "analysis.report", location]
    return subprocess.Popen(command, env={**os.environ, "MPLBACKEND": "agg"})


def finish_report(report: subprocess.Popen[bytes], location: str) -> int:
    """Wait for it; returns its exit status.

    Raises:
        StudyError: it was killed.
    """
    status = report.wait()
    if status < 0:
        raise StudyError(
            f"the report was killed by signal {-status}; write it by: python -m analysis.report "
            f"{shlex.quote(location)}"
        )
    return status


def again(location: LocationOptions) -> str:
    """Command to type next: there is nothing to resume before study.json is written."""
    begun = os.path.lexists(location.folder / STUDY_JSON)
    return resume_command(location) if begun else "type the command again"


def resume_command(location: LocationOptions) -> str:
    """The command that resumes a study."""
    return f"{COMMAND} --resume {shlex.quote(location.where)}"
