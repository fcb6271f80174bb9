"""The record of a study, study.json: enough to read its tables, to resume it, to repeat it."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from study.results.stored_recipe import StoredRecipe
from study.storage.file_version import VERSION, check_version
from study.storage.storage_path import StoragePath
from study.system.atomic_files import write_atomically
from study.system.clock import now
from study.system.errors import InputError
from study.tasks.gradients import GradientNorms
from study.tasks.ranking import Ranking

STUDY_JSON = "study.json"
Phase = Literal["searching", "confirming", "ended"]
PROGRESS = ("phase", "searched", "finalists", "plans", "test_split", "ended")
"""The fields that change while a study runs."""


@dataclass(frozen=True)
class StoredTask:
    """A task's name, and what made it: spec, arguments, and the text of its file."""

    name: str
    spec: str
    arguments: list[str]
    sha256: str
    text: str


@dataclass(frozen=True)
class Finalist:
    """A trial that is trained again."""

    family: str
    trial: int
    is_default: bool = False
    """The family's default configuration, which nobody has tuned."""


def names_of(finalists: Sequence[Finalist]) -> dict[int, str]:
    """The name of each by its trial: its family's, and which is the default if there are two."""
    families = [one.family for one in finalists]
    return {
        one.trial: f"{one.family} (default)"
        if one.is_default and families.count(one.family) > 1
        else one.family
        for one in finalists
    }


@dataclass(frozen=True)
class Look:
    """The standing of the finalists, by their trials, after so many seeds of a plan."""

    seeds: int
    leader: int | None
    """The best mean of those that no other has beaten; None if all have collapsed."""
    second: int | None
    """The next of them. None: the leader has beaten all that are left, and is the winner."""
    p: float
    """The p-value of the leader against the second, for this look alone; 0 without a second."""
    beaten: list[tuple[int, int]]
    """Pairs that have been told apart by now, the better first."""
    out: list[int]
    """Those that are no candidates: they collapsed under a seed, or completed none."""
    ends: bool
    """True if no more seeds are needed."""


@dataclass
class SeedPlan:
    """Seeds for the finalists, and when to look at what they came to: declared before the first."""

    first: int
    """The first replicate: no seed of an earlier plan counts."""
    replicates: int
    """Seeds at most."""
    looks_at: list[int]
    """Numbers of seeds; none where there are too few to tell anything apart."""
    looks: list[Look] = field(default_factory=list)
    declared: str = field(default_factory=now)


def last_plan(study: Mapping[str, Any]) -> SeedPlan | None:
    """The plan that the verdict rests on, of a study.json that has been read."""
    for stored in study["plans"][-1:]:
        return SeedPlan(**{**stored, "looks": [Look(**one) for one in stored["looks"]]})
    return None


@dataclass
class Opening:
    """An opening of the test split: when, for how many replicates, and whether it could be used."""

    replicates: int
    opened: str = field(default_factory=now)
    checked: bool = False


StoredRange = dict[str, Any]
"""A range as Optuna writes it."""
Ranges = Mapping[str, Mapping[str, StoredRange]]
"""By family and parameter."""


@dataclass(frozen=True)
class StoredSpace:
    """Families, the task's peak rates, and the ranges of all parameters by family and name."""

    families: list[str]
    peak_lr: tuple[float, float]
    extras: dict[str, StoredRange]
    parameters: dict[str, dict[str, StoredRange]]


@dataclass
class StudyRecord:
    """The content of study.json, under the names of these fields; times in ISO 8601."""

    config: dict[str, Any]
    """Options as they were typed, by their names."""
    optuna_study: str
    """The name of the Optuna study, which stays, whatever becomes of the folder's name."""
    seed: int
    task: StoredTask
    metric: Ranking
    search_space: StoredSpace
    range_test: list[dict[str, Any]] | None
    """The learning-rate range test, if the peak rates come from one."""
    total_steps: int
    """Optimizer steps of a whole run."""
    trace: dict[str, Any]
    """Digests of the task's data and first steps, by which a change is noticed."""
    versions: dict[str, str]
    hardware: dict[str, Any]
    command: str
    began: str = field(default_factory=now)
    phase: Phase = "searching"
    searched: str | None = None
    """When the search ended."""
    finalists: list[Finalist] = field(default_factory=list)
    plans: list[SeedPlan] = field(default_factory=list)
    """The last one is what the verdict rests on; each may name a winner wrongly in 5 of 100."""
    test_split: list[Opening] = field(default_factory=list)
    ended: str | None = None
    recipe: StoredRecipe = field(default_factory=StoredRecipe)
    gradient_norms: GradientNorms | None = None
    """Norms of the run that the family ``refined`` is made from, if it is searched."""

    @staticmethod
    def load(location: str | Path) -> "StudyRecord":
        """The record of the study in a folder, or at a URL.

        Raises:
            InputError: it holds no study, one of another version, or a damaged study.json.
        """
        path = StoragePath.of(location) / STUDY_JSON
        try:
            text = path.read_bytes()
            content = json.loads(text)
            if not isinstance(content, dict):
                raise ValueError(f"it holds no JSON object but a {type(content).__name__}")
        except FileNotFoundError as error:
            raise InputError(f"{str(location)!r} is no study: it has no {STUDY_JSON}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{str(path)!r} cannot be read: {error}") from error
        check_version(path, content.get("version"))
        try:
            return _adapter().validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{str(path)!r} is damaged: {where}: {first['msg']}") from error

    def save(self, folder: Path) -> None:
        """Write study.json, whole or not at all."""
        text = json.dumps({"version": VERSION, **self.to_json()}, indent=2)
        write_atomically(folder / STUDY_JSON, text.encode())

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers."""
        return dataclasses.asdict(self)

    @property
    def is_searched(self) -> bool:
        """True if the search has ended: nothing may be searched any more."""
        return self.phase != "searching"

    @property
    def refused_test_split(self) -> bool:
        """True if the test split was opened, and could not be used: what loads it may be mended."""
        return bool(self.test_split) and not any(one.checked for one in self.test_split)

    def catch_up(self, latest: Self) -> None:
        """Take over how far another process has come since this was read."""
        for name in PROGRESS:
            setattr(self, name, getattr(latest, name))

    def end_search(self) -> None:
        """Nothing is searched any more."""
        if not self.is_searched:
            self.phase, self.searched = "confirming", now()

    def declare(self, replicates: int, looks_at: Sequence[int]) -> None:
        """Open the study for so many fresh seeds of each finalist at most."""
        self.plans.append(SeedPlan(self.replicates, replicates, list(looks_at)))
        self.phase, self.ended = "confirming", None

    @property
    def replicates(self) -> int:
        """Seeds of all plans, at most."""
        return sum(plan.replicates for plan in self.plans)

    def open_test_split(self, finalists: list[Finalist]) -> None:
        """Note that the test split is about to be opened: an opening that was killed is one too."""
        self.finalists = finalists
        self.test_split.append(Opening(self.plans[-1].replicates))
        self.phase, self.ended = "confirming", None

    def end(self) -> None:
        """Nothing is left to be done."""
        if self.phase != "ended":
            self.phase, self.ended = "ended", now()


@functools.cache
def _adapter() -> TypeAdapter[StudyRecord]:
    return TypeAdapter(StudyRecord)
