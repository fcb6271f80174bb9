"""Anything may be typed, and anything may stand in a file: only clean errors come of it."""

import contextlib
import copy
import io
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.results.reader import read_tables
from study.results.stored_space import read_space
from study.results.study_record import StudyRecord
from study.results.writer import ResultTables
from study.search.optuna_trials import OptunaTrials
from study.search.proposal import Proposal
from study.search.trial_plan import Plan
from study.settings.study_config import StudyConfig
from study.stages.resuming import begun_config, parse
from study.system.errors import InputError
from study.tasks.check_data import load_search_data, load_test_split
from study.tasks.metric import ACCURACY
from study.tasks.task_source import TaskSource
from study.training.check_resume import check_resume
from study.training.check_task import check_task, check_test_split, refuse_other, steps_per_epoch
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun
from tests.awkward import FORMATS, KINDS, LOSSES, METRICS, MODELS, TARGETS, TRANSFORMS, Parts
from tests.study.results.test_result_tables import COMPLETED, COSINE, SPACE

FLAGS = [f"--{name.replace('_', '-')}" for name in StudyConfig().options()]
WORDS = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "none", "search", "auto", "0.1,1", "a:b", "x.py:y", "/", ".", "..", "\0", "x" * 300]
    ),
)
fuzzed = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@contextlib.contextmanager
def only_clean_errors() -> Iterator[None]:
    """Neither a traceback, nor an error of more than one line."""
    try:
        yield
    except InputError as error:
        assert str(error)
    except SystemExit as stop:
        assert stop.code == 0, "help was asked for"


@fuzzed
@given(st.lists(st.one_of(st.sampled_from(FLAGS), WORDS), max_size=6))
def test_any_command_line(arguments: list[str]) -> None:
    with only_clean_errors(), contextlib.redirect_stdout(io.StringIO()):
        parse(arguments)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(WORDS)
)
JSON = st.recursive(
    VALUES, lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=10
)
KEYS = ("config", "search_space", "metric", "task", "seed", "families", "peak_lr", "extras")
DESCRIPTION = st.dictionaries(
    st.sampled_from(KEYS), st.one_of(JSON, st.dictionaries(st.sampled_from(KEYS), JSON))
)


@fuzzed
@given(DESCRIPTION, st.sampled_from([1, 2, 3, None, "2"]))
def test_any_description(tmp_path: Path, content: dict[str, Any], version: object) -> None:
    (tmp_path / "study.json").write_text(json.dumps({**content, "version": version}))
    for read in (
        lambda record: read_space(record.search_space),
        lambda record: begun_config(record, tmp_path),
    ):
        with only_clean_errors():
            read(StudyRecord.load(tmp_path))


@fuzzed
@given(st.binary(max_size=300))
def test_any_bytes_as_study_json_or_journal(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.json").write_bytes(content)
    with only_clean_errors():
        StudyRecord.load(tmp_path)
    (tmp_path / "optuna.journal").write_bytes(content)
    with only_clean_errors():
        OptunaTrials(tmp_path, Plan(SPACE), ACCURACY, 0, resuming=True)


RECORDS = st.dictionaries(
    st.sampled_from(["op_code", "worker_id", "study_id", "trial_id", "state", "values"]), VALUES
)


@fuzzed
@given(st.lists(RECORDS, min_size=1, max_size=3), st.booleans())
def test_any_records_in_a_journal(tmp_path: Path, records: list[Any], resuming: bool) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "optuna.journal").write_text(lines)
    with only_clean_errors():
        OptunaTrials(tmp_path, Plan(SPACE), ACCURACY, 0, resuming)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "study.json").write_text(json.dumps({"version": 2}))
    results = ResultTables(folder, SPACE)
    for number in range(3):
        proposal = Proposal(number, COSINE.family, COSINE.parameters, number)
        results.on_trial_end(proposal, COMPLETED if number else History("failed"))
    results.write()
    return folder


@fuzzed
@given(
    st.sampled_from(["trials", "epochs", "schedules"]),
    st.floats(0, 1),
    st.one_of(st.none(), st.binary(min_size=1, max_size=20)),
)
def test_any_damage_to_a_table(
    tables: Path, name: str, where: float, written: bytes | None
) -> None:
    """Cut there, or written over."""
    path = tables / f"{name}.parquet"
    content = path.read_bytes()
    place = int(where * (len(content) - 1))
    try:
        end = b"" if written is None else written + content[place + len(written) :]
        path.write_bytes(content[:place] + end)
        with only_clean_errors():
            read_tables(tables)
    finally:
        path.write_bytes(content)


CODE = st.lists(
    st.sampled_from(
        [
            *("def make_task():", "def make_task(a, b=1):", "    return 1", "    raise ValueError"),
            *("raise SystemExit(3)", "import nowhere", "make_task = None", "make_task = int"),
            *("class make_task: pass", "'", "# é", "\0", "    return make_task()", "\tpass"),
        ]
    ),
    max_size=4,
).map("\n".join)


@fuzzed
@given(CODE, st.lists(st.one_of(WORDS, st.just("a=1"), st.just("b=x")), max_size=3))
def test_any_task_file(tmp_path: Path, text: str, arguments: list[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with only_clean_errors():
        TaskSource.read(f"{path}:make_task", tuple(arguments)).make()


@fuzzed
@given(WORDS, WORDS)
def test_any_place_of_a_task(place: str, function: str) -> None:
    for spec in (place, f"{place}:{function}", f"{place}.py:{function}"):
        with only_clean_errors():
            TaskSource.read(spec, ()).make()


PARTS = st.builds(
    Parts,
    *map(st.sampled_from, (list(FORMATS), list(TARGETS), list(MODELS), list(LOSSES))),
    *map(st.sampled_from, (list(METRICS), list(KINDS), list(KINDS), list(TRANSFORMS))),
)
# Half of them differ from a sound task in two parts, so that what comes late is reached too.
FEW = st.dictionaries(
    st.sampled_from([field.name for field in fields(Parts)]), st.integers(0, 99), max_size=2
).map(lambda changed: replace(Parts(), **{name: _part(name, k) for name, k in changed.items()}))
AWKWARD = st.one_of(PARTS, FEW)


def _part(name: str, number: int) -> str:
    known: dict[str, Any] = {"format": FORMATS, "target": TARGETS, "model": MODELS, "loss": LOSSES}
    known |= {"metric": METRICS, "train": KINDS, "validation": KINDS, "transform": TRANSFORMS}
    names: list[str] = list(known[name])
    return names[number % len(names)]


def passes_or_is_refused(parts: Parts) -> None:
    """What is let pass is trained, measured and resumed without an error, to equal weights."""
    run = RunConfig("constant", {"peak_lr": 0.01}, 0, 2, 16)
    with only_clean_errors():
        task = parts.task()
        data = load_search_data(task, Path())
        steps_per_epoch(task, data, run.batch_size)
        before = check_task(task, data, run.batch_size, "cpu")
        check_resume(task, data, run, "cpu")
        again = parts.task()  # a study that is resumed makes everything anew
        data = load_search_data(again, Path())
        refuse_other(again, before, check_task(again, data, run.batch_size, "cpu"))
        test = load_test_split(task, lambda: task.load_test_data(Path()), data)
        check_test_split(task, test, run.batch_size, "cpu")
        whole = TrainingRun(task, data, run, test=test)
        while not whole.history.ended:
            whole.run_epoch()
        begun = TrainingRun(task, data, run, test=test)
        begun.run_epoch()
        state, history = copy.deepcopy((begun.state(), begun.history))
        resumed = TrainingRun(task, data, run, test=test)
        resumed.load_state(state, history)
        while not resumed.history.ended:
            resumed.run_epoch()
        pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
        assert all(one.allclose(other, rtol=0, atol=0, equal_nan=True) for one, other in pairs)


@settings(fuzzed, max_examples=100)
@given(AWKWARD)
def test_any_task_of_awkward_parts(parts: Parts) -> None:
    passes_or_is_refused(parts)


@pytest.mark.slow
@settings(fuzzed, max_examples=1_000)
@given(AWKWARD)
def test_many_tasks_of_awkward_parts(parts: Parts) -> None:
    passes_or_is_refused(parts)
