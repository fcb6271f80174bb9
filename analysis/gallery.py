"""Schedules that were not run, drawn: ``python -m analysis.gallery --out DIR``."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.page.terminal import run_and_exit
from search_spaces import FAMILIES, nearest
from study.system.command_line import Folder, parse
from study.system.errors import InputError, StudyError, failed

COMMAND = "python -m analysis.gallery"


@dataclass(frozen=True)
class GalleryConfig:
    """Draw the tutorial's schedules and every family, or one family from close by."""

    out: Folder
    """Folder for the pictures, PNG and SVG."""
    family: str | None = None
    """Draw this family alone, with its momentum."""


def main(arguments: Sequence[str]) -> int:
    """Draw, and say where the pictures are."""
    config = parse(GalleryConfig, COMMAND, arguments)
    if config.family and config.family not in FAMILIES:
        known = f"{nearest(config.family, FAMILIES)}; families: {', '.join(FAMILIES)}"
        raise InputError(f"unknown schedule family {config.family!r}{known}")
    # Here, not above: what draws takes seconds to import, and bad input should not wait for it.
    from analysis.figures.gallery import draw_gallery

    try:
        config.out.mkdir(parents=True, exist_ok=True)
        for path in draw_gallery(config.out, config.family):
            print(path)
    except OSError as error:
        out = str(config.out)
        raise StudyError(f"--out {out!r} cannot be written: {failed(error)}") from error
    return 0


if __name__ == "__main__":
    run_and_exit(main)
