"""Writes the generated tables into the pages beside it: ``python docs/reference.py``.

All between ``<!-- name -->`` and ``<!-- end -->`` in a page is made from the code: the flags from
the commands' own help, the families from their classes, the columns from their schema.
"""

import argparse
import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import tyro

from search_spaces.listing import families_table, groups_table, markdown_table
from study.__main__ import COMMANDS
from study.results import schema
from study.settings.study_config import StudyConfig
from study.system.atomic_files import write_atomically
from study.system.user_folders import cache_folder
from study.tasks.metric import ACCURACY

PAGES = Path(__file__).parent
BLOCK = re.compile(r"(<!-- (?!end)(.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES = {
    "trials": schema.TRIALS_HEAD | {"params.<name>": None} | schema.TRIALS_TAIL,
    "epochs": schema.EPOCHS,
    "schedules": schema.SCHEDULES,
    "finalists": schema.FINALISTS,
    "forgiveness": schema.FORGIVENESS,
}


def filled(page: str) -> str:
    """A page with its generated parts as they are now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{_generated(found[2])}\n{found[3]}", page)


def _generated(name: str) -> str:
    kind, _, of = name.partition(": ")
    match kind:
        case "groups":
            return groups_table()
        case "families":
            return families_table()
        case "columns":
            return _columns(of)
        case "flags":
            return "\n".join(_flags(of))
    assert kind == "others", f"no page has a part {name!r}"
    return "\n".join(_other_commands())


def _columns(table: str) -> str:
    names = {name: name.replace("metric", ACCURACY.column) for name in schema.METRIC_COLUMNS}
    rows = [
        (f"`{names.get(name, name)}`", "" if type_ is None else str(type_), schema.MEANINGS[name])
        for name, type_ in TABLES[table].items()
    ]
    return markdown_table(("column", "type", "meaning"), rows)


def _other_commands() -> Iterator[str]:
    for command, (_, what) in COMMANDS.items():
        if command not in ("run", "sweep"):
            yield f"## lr-study {command}\n\n{what.capitalize()}.\n"
            yield from _flags(command)


def _flags(command: str) -> Iterator[str]:
    """A table of flags; of ``lr-study run``, one for each group of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # nothing else gives what --help says
        parser = tyro.extras.get_parser(_config(command), config=(tyro.conf.OmitArgPrefixes,))
    rows: list[tuple[str, str, str]] = []
    for group in parser._action_groups:
        if group.description:
            yield f"**{group.description.rstrip('.')}**\n"
        rows += [_row(action) for action in group._group_actions if action.dest != "help"]
        if rows and group.title != "positional arguments":
            yield markdown_table(("flag", "default", "meaning"), rows)
            rows = []


def _config(command: str) -> type:
    if command == "run":
        return StudyConfig
    module = importlib.import_module(COMMANDS[command][0])
    config: type = getattr(module, f"{command.capitalize()}Config")
    return config


def _row(action: argparse.Action) -> tuple[str, str, str]:
    flag = action.option_strings[0] if action.option_strings else "FOLDER"
    text, _, default = " ".join((action.help or "").split()).partition(" (default: ")
    default = default.removesuffix(")").strip("'")
    if default.startswith(str(cache_folder())):
        default = "the user's cache"
    shown = "" if default in ("", "None", "False") else f"`{default}`"
    choices = [str(one) for one in action.choices or ()]
    if "None" in choices:  # then tyro has them in no order
        choices = sorted({*choices} - {"None"})
    named = ", ".join(f"`{one}`" for one in choices)
    meaning = text.removesuffix(" (required)") + (f" One of {named}." if named else "")
    return f"`{flag}`", shown, meaning.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for page in PAGES.glob("*.md"):
        text = page.read_text("utf-8")
        if (now := filled(text)) != text:
            write_atomically(page, now.encode())
            print(page)
