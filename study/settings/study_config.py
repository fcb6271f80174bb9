"""The configuration of a study, which is also its command line."""

import datetime as dt
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from search_spaces import Parameters
from study.settings.run_options import InvocationOptions, LocationOptions, MachineOptions
from study.settings.study_options import ConfirmOptions, SearchOptions, TrainingOptions
from study.training.history import RunConfig


@dataclass(frozen=True)
class StudyConfig:
    """Find out which learning-rate schedule to train with: Optuna proposes, Ray Tune trains."""

    training: TrainingOptions = field(default_factory=TrainingOptions)
    """Training of each trial."""
    search: SearchOptions = field(default_factory=SearchOptions)
    """Search for schedules."""
    confirm: ConfirmOptions = field(default_factory=ConfirmOptions)
    """The best, trained again on fresh seeds and measured on the test split."""
    location: LocationOptions = field(default_factory=LocationOptions)
    """Where the study lives."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Machines it runs on; all of this may be another whenever the study is resumed."""
    invocation: InvocationOptions = field(default_factory=InvocationOptions)
    """This run of the command."""

    def __post_init__(self) -> None:
        """Name a study after its task and the time, unless it has a name."""
        if not self.location.name:
            task = self.training.task
            kind = Path(task.rpartition(":")[0] or task).stem
            time = dt.datetime.now().strftime("%Y%m%d-%H%M%S")
            location = replace(self.location, name=f"{kind}-{time}")
            object.__setattr__(self, "location", location)

    @classmethod
    def of(cls, **options: Any) -> Self:
        """A configuration with these options, by their names.

        Raises:
            InputError: naming the first value that cannot be.
            TypeError: there is no such option.
        """
        groups = {}
        for group in fields(cls):
            kind: Any = group.default_factory
            own = kind.__dataclass_fields__.keys() & options.keys()
            groups[group.name] = kind(**{name: options.pop(name) for name in own})
        if options:
            raise TypeError(f"there is no option {min(options)!r}")
        return cls(**groups)

    def but(self, **options: Any) -> Self:
        """A config with other values of some options, by their names; errors as of :meth:`of`."""
        return self.of(**self.options() | options)

    def run_config(self, family: str, parameters: Parameters, seed: int) -> RunConfig:
        """A training run as this study has them."""
        training = self.training
        return RunConfig(family, parameters, seed, training.epochs, training.batch_size)

    def options(self, *groups: str) -> dict[str, Any]:
        """The options by their names, those of some groups or all."""
        chosen = groups or [group.name for group in fields(self)]
        return {
            name: value for group in chosen for name, value in asdict(getattr(self, group)).items()
        }
