"""``make bench``: what the study costs, beside what others' recipes cost, in one table."""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import FULL, QUICK, Row, Scale
from study.settings.study_config import StudyConfig
from study.settings.values import at_least
from study.system.atomic_files import write_atomically
from study.system.clock import now
from study.system.command_line import Folder, exit_status, parse
from study.system.errors import InputError, summary
from study.system.hardware import describe_hardware, describe_versions
from study.tasks.builtin.mnist import load_search_data

SECTIONS = {
    "a": "throughput:training",
    "b": "throughput:evaluation",
    "c": "trial_cost:cost",
    "d": "end_to_end:trials_an_hour",
    "e": "end_to_end:start_up",
    "f": "many_trials:many_trials",
    "g": "memory:worker_memory",
    "h": "proposals:proposals",
    "i": "whole_study:share_of_training",
    "j": "gpu:trials_an_hour",
    "k": "report:report",
    "l": "many_workers:many_workers",
}
HEAD = ("", "what", "median (range)", "target", "met", "")


@dataclass(frozen=True)
class Benchmarks:
    """Measure what the study costs, beside what others' recipes cost."""

    out: Folder = Path("results/bench.json")
    """File for everything that was measured."""
    markdown: Folder | None = None
    """File for a table of what is a ratio or has a target."""
    repeats: int | None = None
    """Times that everything is measured. Default: 3."""
    only: str = ",".join(SECTIONS)
    """Sections, separated by commas: a training, b evaluation, c cost of a trial, d end to end,
    e start-up, f many trials, g memory of a worker, h proposals, i a default study,
    j a GPU, k a report, l many workers."""
    quick: bool = False
    """Tiny sizes, to see that everything works."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: naming the first that cannot be.
        """
        if unknown := [letter for letter in self.only.split(",") if letter not in SECTIONS]:
            raise InputError(f"--only must be among {','.join(SECTIONS)}, not {unknown[0]!r}")
        at_least("repeats", self.repeats, 1)


def main(arguments: Sequence[str]) -> int:
    """Measure, write, print; returns the exit status: 1 where something could not be measured.

    Raises:
        InputError: what was typed cannot be.
        StudyError: there is no MNIST.
    """
    options = parse(Benchmarks, "python -m benchmarks", arguments)
    scale = QUICK if options.quick else FULL
    scale = replace(scale, repeats=options.repeats or scale.repeats)
    load_search_data(
        StudyConfig().machine.data_dir
    )  # fetched here, not while something is measured
    content: dict[str, Any] = {"began": now(), "hardware": hardware(), "versions": versions()}
    content |= {"quick": options.quick, "scale": asdict(scale)}
    rows: list[Row] = []
    failed = False
    for letter in options.only.split(","):
        print(f"measuring {letter} ...", file=sys.stderr)
        try:
            rows += measure(letter, scale)
            if letter == "a":
                content["profile"] = importlib.import_module("benchmarks.throughput").shares(scale)
        except Exception as error:  # whatever it is, the other sections are worth having
            rows.append(Row(letter, "not measured", detail=summary(error)))
            failed |= not isinstance(error, ModuleNotFoundError)
        # After each, since all of them take half an hour.
        content |= {"ended": now(), "rows": [row.to_json() for row in rows]}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.out, json.dumps(content, indent=1).encode())
    show(rows, content)
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    return int(failed)


def measure(letter: str, scale: Scale) -> list[Row]:
    """A section. Imported when it is wanted, since some need packages that others do not."""
    module, _, function = SECTIONS[letter].partition(":")
    rows: list[Row] = getattr(importlib.import_module(f"benchmarks.{module}"), function)(scale)
    return rows


def show(rows: Sequence[Row], content: Mapping[str, Any]) -> None:
    """The table, and below it what dominates, and on what it was measured."""
    note = "sizes so small that the numbers mean nothing" if content["quick"] else None
    table = Table(*HEAD, title=note)
    for row in rows:
        table.add_row(*row.cells())
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for name, share in list(content.get("profile", {}).items())[:5]:
        console.print(f"{share:6.1%} of a training epoch: {name}")
    for part in (content["hardware"], content["versions"]):
        console.print(", ".join(f"{name} {value}" for name, value in part.items()))


def markdown(rows: Sequence[Row]) -> str:
    """What is a ratio or has a target: other numbers say more of a machine than of the code."""
    chosen = [row.cells()[1:] for row in rows if row.target or row.unit == "x"]
    lines = [HEAD[1:], ("---",) * len(HEAD[1:]), *chosen]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def hardware() -> dict[str, Any]:
    """Of this machine, without its name."""
    found: dict[str, Any] = describe_hardware()
    del found["node"]
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        found["processor"] = names[0] if names else "unknown"
    return found


def versions() -> dict[str, str]:
    """Of the project, and of whom it is compared with."""
    try:
        return {**describe_versions(), "syne-tune": version("syne-tune")}
    except PackageNotFoundError:
        return describe_versions()


if __name__ == "__main__":
    sys.exit(exit_status(main))
