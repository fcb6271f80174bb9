"""The cost of a badly chosen peak rate: the winner and the control, each again at five rates.

It is measured on the validation split; the test split stays sealed. The few seeds are those of no
trial and no replicate, and the same for all runs, so that rates are compared in pairs.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from study.execution.trial_set import TrialSet
from study.results.best_trials import best_trial, parameters_of
from study.results.forgiveness_table import ForgivenessTable, RateRun
from study.results.study_record import StudyRecord
from study.search.interfaces import FinishedTrial
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.stages.beginning import Prepared
from study.stages.display import Display, Workload
from study.stages.preparation import prepare
from study.stages.replicates import CONTROL, Planned, replicate_seed
from study.stages.reporting import FORGIVE, finish_report, start_report
from study.stages.session import StudySession
from study.storage.checkpoint_store import CheckpointStore
from study.storage.storage_path import FORGIVENESS
from study.system.errors import InputError, StudyError
from study.tasks.check_data import load_for_search
from study.tasks.data import TrialData

if TYPE_CHECKING:
    from study.execution.trial_runner import TrialRunner

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of a configuration's own peak rate; all else is equal."""
SEEDS = 3


def measure(config: StudyConfig, before: StudyRecord) -> int:
    """Train what is left of the runs, and write the report; returns the exit status.

    Args:
        config: of a study whose search has ended.
        before: its record.

    Raises:
        InputError: no trial has completed, or the task or its data have changed.
        StudyError: the study cannot go on, or all runs have failed.
    """
    again = f"{FORGIVE} {shlex.quote(config.location.where)}"
    with StudySession.open(config, before) as session:
        prepared = prepare(session)
        # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
        from study.execution.trial_runner import TrialRunner

        with (
            TrialRunner(session.config, prepared.source, session.interrupt, again) as runner,
            session.alone(again),
        ):
            configurations = measured_configurations(session.config.location.folder, session.record)
            runs = runs_of(configurations, session.config.search.seed)
            finished = _train(session, prepared, runner, runs)
            if left := len(runs) - len(finished):
                return _interrupted(session, left, again)
            _refuse_failures(finished, session, again)
            report = start_report(config.location.where)
            runner.stop()  # while it is drawn
            return finish_report(report, config.location.where)


def measured_configurations(folder: Path, record: StudyRecord) -> list[Proposal]:
    """The best trial and, where it is another, the best of the constant rate: the control.

    Raises:
        InputError: no trial has completed, or a table cannot be read.
    """
    best, control = (best_trial(folder, record, family) for family in (None, CONTROL))
    if not best:
        raise InputError(
            f"{str(folder)!r} has no completed trial to measure; begin another study, by another "
            "--name"
        )
    chosen = {row["trial"]: row for row in (best, control) if row}
    return [
        Proposal(number, row["family"], parameters_of(row, record), row["seed"])
        for number, row in chosen.items()
    ]


def runs_of(configurations: Sequence[Proposal], seed: int) -> dict[RateRun, Proposal]:
    """Every configuration at every rate under every seed, all under one seed before the next.

    A run has the same number whatever else is measured: what was trained is kept, and found again,
    where another trial has become the best.

    Args:
        configurations: their trials.
        seed: the study's.
    """
    runs = {}
    for replicate, (rate, factor), one in product(range(SEEDS), enumerate(FACTORS), configurations):
        runs[RateRun(one.number, factor, replicate)] = replace(
            one,
            number=(one.number * len(FACTORS) + rate) * SEEDS + replicate,
            parameters={**one.parameters, "peak_lr": factor * float(one.parameters["peak_lr"])},
            seed=replicate_seed(seed, replicate, "forgiveness"),
        )
    return runs


def _train(
    session: StudySession,
    prepared: Prepared,
    runner: "TrialRunner",
    runs: dict[RateRun, Proposal],
) -> list[FinishedTrial]:
    """The runs that have ended: all of them, unless they were interrupted."""
    config, metric, planned = session.config, session.record.metric, list(runs.values())
    checkpoints = CheckpointStore(session.where / FORGIVENESS)
    numbers = {proposal.number: run for run, proposal in runs.items()}
    table = ForgivenessTable(config.location.folder, metric, numbers, session.mirror.push)
    workload = Workload(len(runs), config.training.epochs, kind="run")
    display = Display(workload, metric, session.console)
    trials = TrialSet(
        source=Planned(planned, checkpoints),
        total=len(runs),
        checkpoints=checkpoints,
        data=TrialData(prepared.data),
        load=load_for_search,
        observers=(table, display),
        mirror=session.mirror,
    )
    names = " and ".join(dict.fromkeys(f"{one.family}" for one in planned))
    session.console.print(
        f"{names} at {len(FACTORS)} peak rates each, a quarter to four times their own, "
        f"x {SEEDS} fresh seeds, measured on the validation split"
    )
    with session.interrupt.listening(), display:
        try:
            runner.run(trials)
        finally:
            table.flush()
    return table.finished


def _interrupted(session: StudySession, left: int, again: str) -> int:
    """The exit status of what somebody has interrupted; a StudyError where nobody has."""
    if not session.interrupt.stopping:
        raise StudyError(f"the measurement ended with {left} runs left; resume with: {again}")
    print(f"interrupted; resume with: {again}")
    return 130


def _refuse_failures(finished: Sequence[FinishedTrial], session: StudySession, again: str) -> None:
    if all(history.status == "failed" for _, history in finished):
        raise StudyError(
            f"all {len(finished)} runs failed, the last with: {finished[-1][1].error}; mend that, "
            f"delete {str(session.where / FORGIVENESS)!r}, then {again}"
        )
