"""Every command under one name: ``lr-study run``, which is ``python -m study run``, and so on."""

import runpy
import sys
from importlib.metadata import version

from study.system import command_line

COMMANDS = {
    "run": ("study.run", "find out which schedule to train with, or resume a study"),
    "confirm": ("study.confirm", "train the finalists of a study on more seeds"),
    "forgiveness": ("study.forgiveness", "measure what a badly chosen peak rate costs"),
    "sweep": ("study.sweep", "run a study at several budgets"),
    "export": ("study.export", "print the winner as plain torch"),
    "report": ("analysis.report", "write the report of a study again"),
    "compare": ("analysis.compare", "put several studies on one page"),
    "gallery": ("analysis.gallery", "draw every schedule family"),
    "dashboard": ("study.dashboard", "watch a study in a browser"),
}
"""The module of each, and what it does."""


def main() -> int:
    """Run the command that was typed; returns 0 after a help text, 2 where there is none such."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in COMMANDS:
        command_line.called_as = f"lr-study {command}"
        sys.argv[1:] = arguments
        runpy.run_module(COMMANDS[command][0], run_name="__main__", alter_sys=True)  # it exits
    if command == "--version":
        print(f"lr-study {version('lr-schedule-study')}")
        return 0
    if command in ("-h", "--help"):
        print(_usage())
        return 0
    from search_spaces import nearest  # with Optuna, which a help text has no use for

    hint, known = nearest(command, COMMANDS), ", ".join(COMMANDS)
    print(f"error: unknown command {command!r}{hint}; commands: {known}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = [f"  {name:<12} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: lr-study COMMAND ...",
            "",
            "Which learning-rate schedule should I train with, and with what parameters?",
            "",
            *lines,
            "",
            "lr-study COMMAND --help lists the flags of a command; python -m study.run is the same",
            "as lr-study run.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
