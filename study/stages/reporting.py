"""The report, and what to type next."""

import os
import shlex
import subprocess
import sys

from study.results.study_json import STUDY_JSON
from study.results.study_record import COMMAND
from study.settings.study_config import StudyConfig
from study.system import module
from study.system.errors import StudyError


def start_report(location: str) -> subprocess.Popen[bytes]:
    """Have a study's report written, by a process of its own: study never imports analysis."""
    # -P: else the folder of module.py, or the working one, would be searched first.
    command = [sys.executable, "-P", module.__file__, "analysis.report", location]
    return subprocess.Popen(command, env={**os.environ, "MPLBACKEND": "agg"})


def finish_report(report: subprocess.Popen[bytes], location: str) -> int:
    """Wait for it; returns its exit status.

    Raises:
        StudyError: it was killed.
    """
    status = report.wait()
    if status < 0:
        raise StudyError(
            f"the report was killed by signal {-status}; write it by: python -m analysis.report "
            f"{shlex.quote(location)}"
        )
    return status


def again(config: StudyConfig) -> str:
    """Command to type next: there is nothing to resume before study.json is written."""
    begun = os.path.lexists(config.folder / STUDY_JSON)
    return resume_command(config) if begun else "type the command again"


def resume_command(config: StudyConfig) -> str:
    """The command that resumes a study."""
    return f"{COMMAND} --resume {shlex.quote(config.location)}"
