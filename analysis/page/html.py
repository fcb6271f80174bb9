"""Shared by the pages: templates that escape everything, pictures inside the page, errors."""

import base64
import errno
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.figures.style import house_style, save
from analysis.page.inline_svg import inline
from analysis.page.terminal import Style
from analysis.scale import MINUS
from study.system.atomic_files import write_atomically
from study.system.errors import InputError, StudyError, failed

FORMATS: dict[Style, tuple[str, ...]] = {"screen": ("png", "svg"), "paper": ("png", "svg", "pdf")}


class Output:
    """A page's folder: ``index.html`` and ``figures/``, in the house style.

    Args:
        folder: made if need be.
        style: screen for PNG and SVG, paper for PDF as well.
        command: what to type once a full disk is mended.

    Raises:
        InputError: nothing may be written there.
        StudyError: the disk is full or broken. So do the methods.
    """

    def __init__(self, folder: Path, style: Style, command: str) -> None:
        self.page = folder / "index.html"
        self._folder, self._formats, self._command = folder, FORMATS[style], command
        self._figures = folder / "figures"
        with self._errors():
            self._figures.mkdir(parents=True, exist_ok=True)

    def draw(self, name: str, figure: Callable[[], Figure]) -> dict[str, Any]:
        """Make and save a figure; returns what the page needs of it: itself, and its files."""
        files = self.save(name, figure)
        drawn = (self._figures / f"{name}.svg").read_text("utf-8")
        return {"svg": inline(drawn, name), "files": files}

    def save(self, name: str, figure: Callable[[], Figure]) -> list[str]:
        """Make and save a figure; returns its files, for links."""
        with plt.rc_context(house_style()), self._errors():
            files = save(figure(), self._figures / name, self._formats)
        return [f"{self._figures.name}/{path.name}" for path in files]

    def write(self, page: str) -> None:
        """Write the page, whole or not at all."""
        with self._errors():
            write_atomically(self.page, page.encode())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{str(self._folder)!r} cannot be written: {failed(error)}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                raise StudyError(f"{reason}, then type {self._command}") from error
            raise InputError(reason) from error


def render(template: str, **values: Any) -> str:
    """A page, everything in it escaped.

    Its one script is named by its sum in the page's own policy: a browser runs no other, and loads
    nothing from anywhere.
    """
    loader = PackageLoader("analysis.page")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    script = loader.get_source(environment, "report.js")[0]
    style = loader.get_source(environment, "style.css")[0]
    sums = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        script=Markup(script), style=Markup(style), script_sum=sums, **values
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """All that the page needs of a table; columns that begin with a number are aligned as such."""
    entries = (next((cell for cell in column if cell), "") for column in zip(*rows, strict=True))
    numbers = [bool(re.match(rf"[-{MINUS}]?\d", entry)) for entry in entries]
    return {"head": head, "rows": rows, "numbers": numbers}
