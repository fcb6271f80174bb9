"""Reading a study is quick, since nothing is imported that only training or drawing needs."""

import subprocess
import sys
from pathlib import Path

from tests.analysis.figures.test_figures import write_study

HEAVY = {"torch", "matplotlib", "seaborn", "optuna", "ray", "scipy"}


def test_tables_are_read_without_torch_and_matplotlib(tmp_path: Path) -> None:
    write_study(tmp_path / "s", [("cosine", "completed", 0.9), ("step", "failed", 0.1)])
    source = (
        "import sys, analysis\n"
        "assert len(analysis.load(sys.argv[1]).trials) == 2\n"
        f"print({HEAVY} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", source, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
