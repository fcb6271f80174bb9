"""What is left after a kill, what is said of it, and what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from optuna.distributions import FloatDistribution

from search_spaces import SearchSpace, select
from study.results.stored_space import read_space
from study.results.study_record import STUDY_JSON, StoredSpace, StudyRecord
from study.results.writer import ResultTables
from study.search.journal_file import JOURNAL
from study.search.optuna_trials import OptunaTrials, recorded_proposals
from study.search.proposal import Proposal
from study.search.trial_plan import Plan
from study.settings.choices import Allocation
from study.settings.study_config import StudyConfig
from study.stages.recovery import finished_before, what_was_found
from study.storage.checkpoint_files import MANIFEST, write_checkpoint
from study.storage.checkpoint_store import trial_folder
from study.storage.file_version import VERSION
from study.storage.storage_path import CHECKPOINTS
from study.system.errors import InputError
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History
from tests.records import a_space, store

SPACE = SearchSpace(select("classic"), (0.01, 0.1))
CONFIG = StudyConfig.of(name="s", num_trials=8, epochs=3)
RECORDS = [EpochRecord(k, 10 * k, 0.1, 1.0, 1.0, 0.8 + k / 100, 1.0) for k in (1, 2, 3)]
COMPLETED = History("completed", RECORDS)


def opened(
    folder: Path, resuming: bool = True, allocation: Allocation = "balanced"
) -> OptunaTrials:
    plan = Plan(SPACE, allocation)
    return OptunaTrials(folder, plan, ACCURACY, 0, resuming)


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    """A study of 8 trials with three finished and three running, one of them after two epochs."""
    config = CONFIG.but(out=tmp_path)
    config.location.folder.mkdir()
    optuna_trials = opened(config.location.folder, resuming=False)
    proposals = [optuna_trials.propose() for _ in range(6)]
    for number, status in enumerate(("completed", "diverged", "completed")):
        optuna_trials.finish(number, replace(COMPLETED, status=status))  # type: ignore[arg-type]
    for number, history in ((3, History(epochs=RECORDS[:2])), (4, History(epochs=RECORDS[:1]))):
        folder = (
            config.location.folder
            / CHECKPOINTS
            / "attempt-001"
            / trial_folder(number)
            / "checkpoint_0"
        )
        folder.mkdir(parents=True)
        write_checkpoint(folder, {}, history, proposals[number].run_config(config).digest())
    manifest = next(config.location.folder.glob("*/*/trial-00004/*/manifest.json"))
    manifest.write_text(manifest.read_text().replace('"size": ', '"size": 1'))
    return config


def finished(config: StudyConfig, trials: OptunaTrials) -> list[tuple[Proposal, History]]:
    return list(finished_before(config, trials, store(config.location.folder / CHECKPOINTS)))


def lines_of(
    config: StudyConfig, trials: OptunaTrials, before: list[tuple[Proposal, History]]
) -> list[str]:
    return what_was_found(config, trials, before, store(config.location.folder / CHECKPOINTS))


def test_a_resume_says_what_it_found(config: StudyConfig) -> None:
    optuna_trials = opened(config.location.folder)
    lines = lines_of(config, optuna_trials, finished(config, optuna_trials))
    assert lines[:2] == [
        "finished: 3 of 8 trials (2 completed, 1 diverged)",
        "to resume: trial 3 after epoch 2 of 3, trial 4 from its beginning, "
        "trial 5 from its beginning",
    ]
    assert lines[2].startswith("damaged and skipped: ")
    assert lines[2].endswith("trial-00004/checkpoint_0/history.json is damaged")


def test_looking_changes_nothing(config: StudyConfig) -> None:
    journal = config.location.folder / JOURNAL
    before = journal.read_bytes()
    optuna_trials = opened(config.location.folder)
    lines_of(config, optuna_trials, finished(config, optuna_trials))
    assert recorded_proposals(config.location.folder, SPACE)
    assert journal.read_bytes() == before


def test_a_line_cut_short_by_a_kill_is_mended(config: StudyConfig) -> None:
    """Optuna itself would append to it, and never read the journal again."""
    journal = config.location.folder / JOURNAL
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"op_code":5,"worker')
    optuna_trials = opened(config.location.folder)
    assert journal.read_bytes() == whole
    optuna_trials.propose()
    assert opened(config.location.folder).proposed_count == 7


def cut(content: bytes) -> bytes:
    """As if the last two trials had never been proposed."""
    lines = content.splitlines(keepends=True)
    created = [k for k, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
    return b"".join(lines[: created[-3]])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"", "it has been cut short, and holds no study"),
        (lambda content: b"rubbish", "line 1 is no record"),
        (lambda content: b"rubbish\n", "line 1 is no record"),
        (lambda content: b"7\n", "is damaged"),
        (lambda content: content[:200] + b"\n" + content[200:], "is no record"),
        (lambda content: content.replace(b'"op_code"', b'"up_code"'), "is damaged"),
        (cut, "has been cut short: it lacks trial 3, which has a checkpoint"),
    ],
)
def test_a_spoiled_journal_is_refused_by_name(
    spoil: Callable[[bytes], bytes], message: str, config: StudyConfig
) -> None:
    journal = config.location.folder / JOURNAL
    spoiled = spoil(journal.read_bytes())
    journal.write_bytes(spoiled)
    with pytest.raises(InputError, match=message) as caught:
        finished(config, opened(config.location.folder))
    assert JOURNAL in str(caught.value)
    assert journal.read_bytes() == spoiled, "what is left of it is left alone"


def test_a_journal_that_is_gone_is_refused(config: StudyConfig) -> None:
    (config.location.folder / JOURNAL).unlink()
    with pytest.raises(InputError, match=r"optuna\.journal' .*it has been cut short"):
        opened(config.location.folder)


def test_trials_without_their_description_are_not_begun_anew(config: StudyConfig) -> None:
    with pytest.raises(InputError, match=r"holds the trials of a study, but not its study\.json"):
        opened(config.location.folder, resuming=False)


def test_a_journal_of_a_newer_version_is_refused(config: StudyConfig) -> None:
    optuna_trials = opened(config.location.folder)
    optuna_trials._study.set_user_attr("version", 99)
    with pytest.raises(InputError, match="has version 99, newer than this project reads"):
        opened(config.location.folder)


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_a_replay_proposes_the_same_in_the_same_order(
    allocation: Allocation, tmp_path: Path
) -> None:
    """And waits for none of them to end, since nothing depends on that; the sampler goes on."""
    original, again = tmp_path / "original", tmp_path / "again"
    original.mkdir()
    again.mkdir()
    expected = play(opened(original, False, allocation), 19)
    recorded = recorded_proposals(original, SPACE)
    assert len(recorded) == 19
    opened(again, False, allocation).replay(recorded[3:9])  # and then it was killed
    replayed = opened(again, False, allocation)
    replayed.replay(recorded)
    assert replayed.finished_count == 0
    proposals = [replayed.propose() for _ in recorded]
    assert [(one.family, one.parameters) for one in proposals] == [*expected.values()]
    assert replayed.proposed_count == 19
    for one in proposals:
        replayed.finish(one.number, COMPLETED)
    assert replayed.propose().number == 19, "after the replay comes the sampler"


def test_a_half_proposed_trial_is_not_replayed(config: StudyConfig) -> None:
    optuna_trials = opened(config.location.folder)
    optuna_trials._study.ask()
    assert len(recorded_proposals(config.location.folder, SPACE)) == 6
    assert optuna_trials.open_proposals()[6] is None


def test_a_trial_that_waits_is_not_replayed_either(config: StudyConfig) -> None:
    opened(config.location.folder)._study.enqueue_trial({"family": "cosine"})
    assert len(recorded_proposals(config.location.folder, SPACE)) == 6


def test_a_trial_without_all_of_its_parameters_is_refused_unless_it_is_the_last(
    config: StudyConfig,
) -> None:
    optuna_trials = opened(config.location.folder)
    optuna_trials._study.ask()
    optuna_trials._study.ask()
    with pytest.raises(InputError, match=r"trial 6 of .* lacks parameters .* cannot be replayed$"):
        recorded_proposals(config.location.folder, SPACE)


def test_a_replay_needs_what_is_searched_now_beside_the_shapes(config: StudyConfig) -> None:
    more = SPACE._replace(extras={"weight_decay": FloatDistribution(1e-5, 1e-2, log=True)})
    with pytest.raises(InputError, match=r"trial 0 of .* lacks parameters"):
        recorded_proposals(config.location.folder, more)


def test_a_journal_says_its_version(config: StudyConfig) -> None:
    assert opened(config.location.folder)._study.user_attrs["version"] == VERSION


def test_a_half_written_first_line_is_no_study(config: StudyConfig, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / JOURNAL).write_bytes(b'{"op_code":0,"worker')
    assert opened(folder, resuming=False).propose().number == 0


def play(optuna_trials: OptunaTrials, count: int) -> dict[int, tuple[str, Any]]:
    """Propose and finish, one at a time, what was left first; what a trial comes to is its own."""
    waiting = [*optuna_trials.unfinished()]
    while waiting or optuna_trials.finished_count < count:
        number = (waiting.pop(0) if waiting else optuna_trials.propose()).number
        records = [replace(RECORDS[-1], val_metric=7 * number % 20 / 20)]
        optuna_trials.finish(number, History("completed", records))
    return {one.number: (one.family, one.parameters) for one, _ in optuna_trials.finished()}


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_a_kill_after_any_line_of_the_journal_changes_no_proposal(
    allocation: Allocation, tmp_path: Path
) -> None:
    """Between two parameters of one trial, too: of a default, and with TPE after them."""
    (tmp_path / "whole").mkdir()
    expected = play(opened(tmp_path / "whole", False, allocation), 18)
    lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)
    begun = [k for k, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
    for cut in range(begun[0], len(lines)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(b"".join(lines[:cut]))
        # One more than there are: then the rest follows from the same trials.
        count = min(18, sum(k < cut for k in begun) + 1)
        played = play(opened(folder, True, allocation), count)
        assert played == {number: expected[number] for number in range(count)}, lines[cut - 1]


def test_curves_outlive_checkpoints_in_their_table(config: StudyConfig) -> None:
    optuna_trials = opened(config.location.folder)
    assert (
        "the curve of trial 0"
        in lines_of(config, optuna_trials, finished(config, optuna_trials))[2]
    )
    curved = replace(COMPLETED, curve=[(0, 0.1, 0.9), (29, 0.05, 0.9)])
    (config.location.folder / STUDY_JSON).write_text(json.dumps({"version": VERSION}))
    tables = ResultTables(config.location.folder, SPACE)
    for proposal, _ in optuna_trials.finished():
        tables.on_trial_end(proposal, curved)
    tables.write()
    found = finished(config, optuna_trials)
    assert [history.curve for _, history in found] == [curved.curve] * 3
    assert "the curve of" not in lines_of(config, optuna_trials, found)[2]


def test_a_trial_that_another_tool_ended_is_refused(config: StudyConfig) -> None:
    optuna_trials = opened(config.location.folder)
    optuna_trials._study.tell(3, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(InputError, match="trial 3 has ended, but not how"):
        list(opened(config.location.folder).finished())


def test_a_family_that_has_changed_is_refused() -> None:
    space: StoredSpace = a_space(["cosine"])
    with pytest.raises(InputError, match="the ranges of schedule family 'cosine' have changed"):
        read_space(space)


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1, str(VERSION), None, [1]])
def test_a_description_of_another_version_is_refused(version: object, tmp_path: Path) -> None:
    (tmp_path / STUDY_JSON).write_text(json.dumps({"version": version}))
    with pytest.raises(
        InputError, match=rf"study\.json' has version .* than this project reads \({VERSION}\)"
    ):
        StudyRecord.load(tmp_path)


def test_the_manifest_is_what_makes_a_checkpoint(config: StudyConfig) -> None:
    """Killed while it was being written: not there yet, or without its manifest."""
    folder = next(config.location.folder.glob("*/*/trial-00003/*"))
    half = folder.parent / "checkpoint_1"
    shutil.copytree(folder, half)
    (half / MANIFEST).unlink()
    optuna_trials = opened(config.location.folder)
    lines = lines_of(config, optuna_trials, [])
    assert "trial 3 after epoch 2 of 3" in lines[1]


def test_optuna_is_told_of_no_trial_twice(config: StudyConfig) -> None:
    optuna_trials = opened(config.location.folder)
    numbers = [proposal.number for proposal in optuna_trials.unfinished()]
    assert numbers == [3, 4, 5]
    for number in numbers:
        optuna_trials.finish(number, COMPLETED)
    again = opened(config.location.folder)
    assert again.finished_count == 6
    assert not again.open_proposals()
    states = [trial.state for trial in again._study.get_trials(deepcopy=False)]
    assert optuna.trial.TrialState.RUNNING not in states
