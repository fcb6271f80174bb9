"""Parameters of any kind, under names that families share: written, read back, handed back."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from torch.optim.lr_scheduler import ConstantLR

from analysis.findings.importance import LEAST_TRIALS, importances
from analysis.scale import Scale
from search_spaces import FAMILIES, Parameters, ScheduleFamily, SearchSpace, select
from search_spaces.family import Recipe, middle
from search_spaces.preflight import PreflightError, check, samples
from study import export
from study.results.column_types import column_types
from study.results.parameters import proposed
from study.results.reader import read_tables
from study.results.stored_ranges import stored_peak_range, stored_ranges
from study.results.stored_space import read_space, store_space
from study.results.study_record import StudyRecord
from study.results.writer import ResultTables
from study.search.optuna_trials import OptunaTrials
from study.search.proposal import Proposal
from study.search.trial_plan import Plan
from study.settings.study_config import StudyConfig
from study.system.errors import InputError
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History
from tests.records import write_record
from tests.search_spaces.test_families import PEAK, every_family

CHOICES: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.sampled_from(["1", "1.7", "true", "NaN", '"', "null", "[1]", "adamw", 2**53 + 1, -(2**63)]),
)
BOUNDS = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
RANGES: st.SearchStrategy[BaseDistribution] = st.one_of(
    BOUNDS.map(lambda b: FloatDistribution(b[0], b[0] + b[1] / 3)),
    BOUNDS.map(lambda b: FloatDistribution(b[0], b[0] + b[1], log=True)),
    BOUNDS.map(lambda b: FloatDistribution(b[0], b[0] + b[1] * b[2] / 10, step=b[2] / 10)),
    BOUNDS.map(lambda b: IntDistribution(b[0], b[0] + b[1] * b[2], step=b[2])),
    BOUNDS.map(lambda b: IntDistribution(b[0], b[0] + b[1], log=True)),
    st.lists(CHOICES, min_size=1, max_size=4).map(CategoricalDistribution),
)
fast = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class OfOneName(ScheduleFamily):
    """A family with one parameter, under a name that others have too."""

    groups = frozenset()

    def __init__(self, number: int, range_: BaseDistribution) -> None:
        self.name = f"tests:Own{number}"  # type: ignore[misc]
        self.space = {"shape": range_}  # type: ignore[misc]

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe(ConstantLR, {"factor": 1.0, "total_iters": total_steps})


@pytest.fixture
def registered() -> Iterator[None]:
    """Families that a test adds are forgotten after it."""
    yield
    for name in [name for name in FAMILIES if name.startswith("tests:Own")]:
        del FAMILIES[name]


def space_of(ranges: Sequence[BaseDistribution]) -> SearchSpace:
    families = [OfOneName(number, range_) for number, range_ in enumerate(ranges)]
    FAMILIES.update({family.name: family for family in families})
    return SearchSpace(tuple(family.name for family in families), PEAK)


def described(folder: Path, space: SearchSpace, **more: Any) -> None:
    write_record(folder, space=space, **more)


def same(value: Any, other: Any) -> bool:
    """Equal, and both text, both truth values or both numbers."""
    kinds = (str, bool)
    return bool(value == other) and [isinstance(value, kind) for kind in kinds] == [
        isinstance(other, kind) for kind in kinds
    ]


@pytest.mark.usefixtures("registered")
@fast
@given(st.lists(RANGES, min_size=1, max_size=3))
def test_what_is_proposed_is_read_back(tmp_path: Path, ranges: list[BaseDistribution]) -> None:
    """Whatever the other families have under its name."""
    space = space_of(ranges)
    described(tmp_path, space, total_steps=100)
    tables = ResultTables(tmp_path, space)
    expected: dict[int, tuple[str, Parameters]] = {}
    for family in space.families:
        for parameters in samples(FAMILIES[family], PEAK, 3):
            number = len(expected)
            expected[number] = family, parameters
            history = History("completed", [EpochRecord(1, 100, 0.1, 1.0, 1.0, 0.9, 1.0)])
            tables._finished[number] = (Proposal(number, family, parameters, 0), history)
    tables.write()
    trials = read_tables(tmp_path).trials
    text = trials.schema.field("params.shape").type == pa.string()
    for row in trials.to_pylist():
        family, parameters = expected[row["trial"]]
        value, cell = parameters["shape"], row["params.shape"]
        assert same(value, proposed(cell)), "without its range"
        assert isinstance(value, str) <= isinstance(cell, str) == text
        of_range = proposed(cell, FAMILIES[family].space["shape"])
        assert same(value, of_range)
        assert type(value) is type(of_range) or isinstance(value, bool)
        exported = export.export(export.ExportConfig(str(tmp_path), trial=row["trial"]))
        assert same(value, exported.parameters["shape"])


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("ranges", "type_"),
    [
        ([IntDistribution(1, 4), CategoricalDistribution((7, 9))], pa.int64()),
        ([IntDistribution(1, 4), FloatDistribution(0.5, 2)], pa.float64()),
        ([FloatDistribution(0.5, 2), IntDistribution(1, 4)], pa.float64()),
        ([CategoricalDistribution((1, 2.5))], pa.float64()),
        ([CategoricalDistribution((True, False))], pa.bool_()),
        ([CategoricalDistribution(("cos", "linear"))], pa.string()),
        ([FloatDistribution(0.5, 2), CategoricalDistribution((True, False))], pa.string()),
        ([IntDistribution(1, 4), CategoricalDistribution(("auto", 2))], pa.string()),
        ([CategoricalDistribution((2**53 + 1, 0.5))], pa.string()),
    ],
)
def test_a_column_has_the_narrowest_type(
    ranges: list[BaseDistribution], type_: pa.DataType
) -> None:
    assert column_types(space_of(ranges)) == {"params.shape": type_}


def test_the_columns_of_todays_families_are_the_contract() -> None:
    kinds = {FloatDistribution: pa.float64(), IntDistribution: pa.int64()}
    extras = StudyConfig.of(optimizer="adamw", warmup="search", momentum="0.8").search.extras()
    expected = {
        f"params.{name}": kinds.get(type(range_), pa.string())
        for part in (*(family.space for family in FAMILIES.values()), extras)
        for name, range_ in part.items()
    }
    types = column_types(SearchSpace(tuple(FAMILIES), PEAK, extras))
    assert list(types.items()) == list(expected.items())


def test_text_stands_in_a_table_as_it_is() -> None:
    assert proposed("cos", CategoricalDistribution(("cos", "linear"))) == "cos"
    assert proposed("1", CategoricalDistribution(("1", 1))) == 1
    assert proposed('"1"', CategoricalDistribution(("1", 1))) == "1"
    assert repr(proposed(3.0, IntDistribution(1, 4))) == "3"


@pytest.mark.usefixtures("registered")
def test_importances_know_every_kind_of_parameter(tmp_path: Path) -> None:
    """And of a column of text, what its numbers are."""
    kinds = [CategoricalDistribution(("auto", 0.5)), CategoricalDistribution((1, 2.5))]
    space = space_of(
        [*kinds, FloatDistribution(0.1, 9, step=0.1), IntDistribution(1, 64, log=True)]
    )
    described(tmp_path, space)
    tables = ResultTables(tmp_path, space)
    for family in space.families:
        for k, parameters in enumerate(samples(FAMILIES[family], PEAK, LEAST_TRIALS)):
            record = EpochRecord(1, 100, 0.1, 1.0, 1.0, 0.9 + k / 1000, 1.0)
            number = len(tables.finished)
            proposal = Proposal(number, family, parameters, 0)
            tables._finished[number] = (proposal, History("completed", [record]))
    tables.write()
    stored = StudyRecord.load(tmp_path).to_json()["search_space"]
    found = importances(read_tables(tmp_path).trials.to_pandas(), stored, Scale())
    for family in space.families:
        assert set(found.loc[found["family"] == family, "parameter"]) == {"shape", "peak_lr"}


EXTRAS = [
    {},
    {"warmup": "search", "momentum": "search", "weight_decay": "search"},
    {"optimizer": "adamw", "warmup": "0.05", "weight_decay": "0.1"},
]


@every_family
@pytest.mark.parametrize("settings", EXTRAS, ids=["plain", "searched", "adamw"])
def test_a_family_samples_from_its_ranges(
    family: ScheduleFamily, settings: dict[str, str], tmp_path: Path
) -> None:
    """By which the sampler goes, the first trial and the report."""
    extras = StudyConfig.of(**settings).search.extras()
    ranges = family.ranges(PEAK, extras)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        trial = study.ask()
        family.suggest(trial, PEAK, extras)
        assert trial.distributions == ranges
    space = SearchSpace((family.name,), PEAK, extras)
    settled = Plan(space).settled(0)
    assert settled.keys() == {"family", *ranges}
    for name, range_ in ranges.items():
        assert range_._contains(range_.to_internal_repr(settled[name])), (name, settled[name])
    described(tmp_path, space)
    stored = StudyRecord.load(tmp_path).search_space
    named = {
        f"{family.name}.{name}": one
        for name, one in stored_ranges(stored.parameters, family.name).items()
    }
    assert named == ranges
    rates = ranges[f"{family.name}.peak_lr"]
    assert isinstance(rates, FloatDistribution)
    assert stored_peak_range(stored.parameters, family.name) == (rates.low, rates.high)
    assert read_space(stored) == space


def test_the_sampler_never_leaves_what_is_recorded(tmp_path: Path) -> None:
    """schedule_free's rates are ten times the task's, in the start-up and after it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna's, of a value that is out of its range
        space = SearchSpace(("constant", "schedule_free"), (1e-3, 1e-1))
        optuna_trials = OptunaTrials(tmp_path, Plan(space), ACCURACY, 0)
        for _ in range(24):
            proposal = optuna_trials.propose()
            rate = float(proposal.parameters["peak_lr"])
            low, high = FAMILIES[proposal.family].peak_range(space.peak_lr)
            assert low <= rate <= high
            record = EpochRecord(1, 9, rate, 1.0, 1.0, 0.9, 1.0)
            optuna_trials.finish(proposal.number, History("completed", [record]))


def test_a_changed_range_of_peak_rates_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["schedule_free"]
    stored = store_space(SearchSpace((family.name,), PEAK))
    read_space(stored)
    monkeypatch.setattr(type(family), "peak_range", lambda self, peak_lr, extras: peak_lr)
    with pytest.raises(InputError, match="ranges of schedule family 'schedule_free' have changed"):
        read_space(stored)


@fast
@given(RANGES)
def test_a_middle_lies_in_its_range(range_: BaseDistribution) -> None:
    assert range_._contains(range_.to_internal_repr(middle(range_)))


def test_a_middle_keeps_steps_and_logarithms() -> None:
    assert middle(FloatDistribution(0, 1, step=0.25)) == 0.5
    assert middle(IntDistribution(1, 9, step=4)) == 5
    assert middle(IntDistribution(1, 100, log=True)) == 10
    assert middle(IntDistribution(2, 5)) == 3


OWN = """
from optuna.distributions import *
from torch.optim.lr_scheduler import ConstantLR
from search_spaces.family import Recipe, ScheduleFamily
class Own(ScheduleFamily):
    name, groups, space = "own", frozenset(), {SPACE}
    def recipe(self, parameters, total_steps):
        return Recipe(ConstantLR, {"factor": 1.0, "total_iters": total_steps})
"""


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ('{"a": CategoricalDistribution((None, 1))}', "a: a range is .* not Categorical.*None"),
        ('{"a": CategoricalDistribution((True, "x", 1.5))}', ""),
        ('{"a": (0.1, 1.0)}', r"a: a range is a FloatDistribution, .* not \(0.1, 1.0\)"),
        ('{"peak_lr": FloatDistribution(0.1, 1)}', r"peak_lr is no part .* peak_range\(\)"),
        ("[1]", "cannot be imported"),
        ('{"a": IntDistribution(1, 3)}; defaults = {"a": 2}', ""),
        ('{"a": IntDistribution(1, 3)}; defaults = {"a": 4}', "defaults: a 4 is not within its sp"),
        ('{"a": IntDistribution(1, 3)}; defaults = {"a": "2"}', "a '2' is not within its space"),
        ('{"a": CategoricalDistribution("xy")}; defaults = {"a": "z"}', "a 'z' is not within its"),
        ('{"a": IntDistribution(1, 3)}; defaults = {"b": 2}', "b 2 is not within its space"),
    ],
)
def test_a_family_of_ones_own_is_refused_in_a_line(
    space: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"own{abs(hash(space))}"
    (tmp_path / f"{module}.py").write_text(OWN.replace("{SPACE}", space))
    monkeypatch.syspath_prepend(tmp_path)
    try:
        if not message:
            assert select(f"{module}:Own") == (f"{module}:Own",)
            check(FAMILIES[f"{module}:Own"], 100, PEAK)
            return
        with pytest.raises(ValueError, match=message):
            select(f"{module}:Own")
    finally:
        FAMILIES.pop(f"{module}:Own", None)


class TenTimes(OfOneName):
    """Samples from elsewhere than its ranges say."""

    def suggest(self, trial: Any, peak_lr: Any, extras: Any = ()) -> Any:
        low, high = peak_lr
        return super().suggest(trial, (10 * low, 10 * high), dict(extras))


class Hidden(OfOneName):
    """Has a parameter that its space does not say."""

    def ranges(self, *arguments: Any) -> dict[str, BaseDistribution]:
        return {**super().ranges(*arguments), f"{self.name}.more": IntDistribution(1, 2)}


@pytest.mark.parametrize("own", [TenTimes, Hidden])
def test_a_family_that_samples_from_elsewhere_is_refused(own: type[OfOneName]) -> None:
    family = own(0, FloatDistribution(0.1, 1))
    with pytest.raises(PreflightError, match=r"than its space and peak_range\(\) say"):
        check(family, 100, PEAK)


@pytest.mark.usefixtures("registered")
def test_a_step_is_kept() -> None:
    ranges = [FloatDistribution(0, 1, step=0.25), IntDistribution(1, 9, step=4)]
    for family, values in zip(
        space_of(ranges).families, ({0, 0.25, 0.5, 0.75, 1}, {1, 5, 9}), strict=True
    ):
        drawn = {one["shape"] for one in samples(FAMILIES[family], PEAK, 40)}
        assert drawn == values
        check(FAMILIES[family], 100, PEAK)


CUT_SHORT = History("diverged", [EpochRecord(1, 30, 0.1, 1.0, 1.0, 0.1, 1.0)])


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "history", [CUT_SHORT, History("failed")], ids=lambda history: history.status
)
def test_the_horizon_is_that_of_a_whole_run(history: History, tmp_path: Path) -> None:
    """Also where none was one."""
    space = SearchSpace(("rex",), PEAK)
    described(tmp_path, space, total_steps=300)
    tables = ResultTables(tmp_path, space)
    tables.on_trial_end(Proposal(0, "rex", {"peak_lr": 0.1}, 0), history)
    tables.write()
    asked = export.ExportConfig(str(tmp_path), trial=0)
    assert export.export(asked).total_steps == 300
    assert export.export(replace(asked, total_steps=50)).total_steps == 50
