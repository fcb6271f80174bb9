"""What the pages share: templates that escape everything, pictures inside the page, errors."""

import base64
import errno
import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.style import house_style, save
from study.errors import InputError, StudyError

Style = Literal["screen", "paper"]
FORMATS: dict[Style, tuple[str, ...]] = {"screen": ("png", "svg"), "paper": ("png", "svg", "pdf")}
CSS_PIXELS = 160
"""An inch of a figure, on a page: its type is then that of the page's own text."""


class Pictures:
    """Draws the figures of a page into a folder.

    Args:
        folder: for the files.
        style: screen for PNG and SVG, paper for PDF as well.
    """

    def __init__(self, folder: Path, style: Style) -> None:
        self._folder, self._formats = folder, FORMATS[style]

    def draw(self, name: str, figure: Figure) -> dict[str, Any]:
        """Save a figure; returns what the page needs of it, the picture in base64 among that."""
        width, height = figure.get_size_inches() * CSS_PIXELS
        png, *others = save(figure, self._folder / name, self._formats)
        return {
            "png": base64.b64encode(png.read_bytes()).decode(),
            "width": round(width),
            "height": round(height),
            "files": [f"figures/{path.name}" for path in others],
        }


@contextmanager
def writing(folder: Path, style: Style, command: str) -> Iterator[Pictures]:
    """Make the folder of a page, and its pictures in the house style.

    Raises:
        InputError: nothing may be written there.
        StudyError: the disk is full or broken; ``command`` is what to type when that is mended.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        with plt.rc_context(house_style()):
            yield Pictures(folder / "figures", style)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise StudyError(
                f"{str(folder)!r} cannot be written: {reason}; mend that, then type {command}"
            ) from error
        raise InputError(
            f"{str(folder)!r} cannot be written: {reason}; it must be a folder in which you may "
            "write"
        ) from error


def render(template: str, **values: Any) -> str:
    """A page, everything in it escaped.

    Its one script is named by its sum in the page's own policy: a browser runs no other, and loads
    nothing from anywhere.
    """
    loader = PackageLoader("analysis")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    script = loader.get_source(environment, "report.js")[0]
    style = loader.get_source(environment, "style.css")[0]
    sums = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        script=Markup(script), style=Markup(style), script_sum=sums, **values
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What the page needs of a table; columns whose first cell is a number are aligned as such."""
    numbers = [bool(re.match(r"-?\d", cell)) for cell in rows[0]]
    return {"head": head, "rows": rows, "numbers": numbers}


def typed(command: str, *arguments: object) -> str:
    """A command as it is typed."""
    return " ".join([command, *(shlex.quote(str(one)) for one in arguments)])
