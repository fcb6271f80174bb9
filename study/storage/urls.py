"""Locations as text: a path or a URL."""

from pathlib import Path
from urllib.parse import quote, unquote

OPTIONS = ("region", "scheme", "endpoint_override", "project_id", "enable_tls")
"""Options of a URL; others may be keys."""


def is_url(location: str | Path) -> bool:
    """True if a location is a URL; else it is a path."""
    return "://" in str(location)


def below(location: str, name: str) -> str:
    """The location of what is called so in a folder; the options of a URL stay at its end."""
    mark = options = ""
    if is_url(location):
        name = quote(name)
        location, mark, options = location.partition("?")
    return location + ("" if location.endswith("/") else "/") + name + mark + options


def above(url: str) -> tuple[str, str]:
    """The URL of the folder that a location is in, and its name there."""
    path, mark, options = url.partition("?")
    parent, _, name = path.rstrip("/").rpartition("/")
    return parent + mark + options, unquote(name)
