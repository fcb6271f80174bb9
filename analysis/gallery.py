"""Schedules that were not run, drawn: ``python -m analysis.gallery --out DIR``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from analysis.figures.gallery import every_family, one_family, tutorial
from analysis.figures.style import (
    house_style,
    save,
)
from search_spaces import FAMILIES, nearest
from search_spaces.listing import families_table, groups_table
from study.system.atomic_files import write_atomically
from study.system.command_line import Folder, exit_status, parse
from study.system.errors import InputError, StudyError, failed

COMMAND = "python -m analysis.gallery"


@dataclass(frozen=True)
class GalleryConfig:
    """Draw the tutorial's schedules and every family, or one family from close by."""

    out: Folder
    """Folder for the pictures, PNG and SVG, and for a table of all families."""
    family: str | None = None
    """Draw this family alone, with its momentum."""


def main(arguments: Sequence[str]) -> int:
    """Draw, and say where the pictures are."""
    mpl.use("agg")
    config = parse(GalleryConfig, COMMAND, arguments)
    if config.family and config.family not in FAMILIES:
        known = f"{nearest(config.family, FAMILIES)}; families: {', '.join(FAMILIES)}"
        raise InputError(f"unknown schedule family {config.family!r}{known}")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with plt.rc_context(house_style()):
            if config.family:
                _save(one_family(config.family), config.out / config.family)
            else:
                _save(tutorial(), config.out / "tutorial")
                _save(every_family(), config.out / "families")
                _write(config.out / "families.md")
    except OSError as error:
        out = str(config.out)
        raise StudyError(f"--out {out!r} cannot be written: {failed(error)}") from error
    return 0


def families_page() -> str:
    """All families and groups, in Markdown, beside the picture of them."""
    return PAGE.format(groups=groups_table(), families=families_table())


PAGE = """# Schedule families

`--families` takes names and groups, separated by commas. Every length is a fraction of the run and
every rate a ratio to the peak rate. Written by `python -m analysis.gallery --out docs`.

{groups}
![Every family, a few samples each](families.png)

{families}"""


def _write(path: Path) -> None:
    write_atomically(path, families_page().encode())
    print(path)


def _save(figure: Figure, stem: Path) -> None:
    for path in save(figure, stem):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
