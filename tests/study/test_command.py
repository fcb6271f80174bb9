"""The command line: bad input costs one line and status 2, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces import FAMILIES, GROUPS
from study.results.study_record import STUDY_JSON
from study.run import main
from study.settings.choices import CHOICES
from study.settings.study_config import StudyConfig
from study.stages.beginning import _as_typed
from study.stages.reporting import resume_command
from study.system import command_line
from study.system.errors import InputError
from study.system.interrupt import Interrupt
from tests.conftest import run_command
from tests.records import write_record

TASKS = "mnist, fashion_mnist, cifar10, digits, path/to/file.py:function or package.module:function"
BAD_FLAGS = [
    ("--clip-norm -1", r"--clip-norm must be above 0"),
    ("--accumulate 0", r"--accumulate must be a number of batches, at least 1, not 0"),
    (
        "--accumulate 999",
        r"--accumulate 999 is more than the 390 batches of an epoch of mnist; lower it",
    ),
    ("--precision fp8", r"invalid choice .fp8. for argument .--precision.. Expected one of .*fp16"),
    ("--average mean", r"--average must be none, ema:DECAY or tail:FRACTION, .* not 'mean'"),
    (
        "--average ema --families constant,schedule_free",
        r"--average ema: schedule_free averages the weights by itself; leave it out of --families",
    ),
    ("--families cosin", r"unknown schedule family 'cosin' \(did you mean 'cosine'\?\)"),
    ("--families cosine,", r"unknown schedule family ''"),
    ("--families nowhere:Mine", r"'nowhere:Mine' cannot be imported: No module named"),
    (
        "--families study.settings.study_config:StudyConfig",
        r"cannot be imported: .* is no ScheduleFamily",
    ),
    ("--task minst", r"unknown task 'minst' \(did you mean 'mnist'\?\); tasks: mnist"),
    ("--epochs 0", r"--epochs must be at least 1, not 0"),
    ("--epochs abc", r"--epochs: must be a whole number, not 'abc'"),
    ("--epochs 1.5", r"--epochs: must be a whole number, not '1.5'"),
    ("--num-trials -3", r"--num-trials must be at least 1, not -3"),
    ("--batch-size 0", r"--batch-size must be at least 1, not 0"),
    ("--batch-size 50001", r"--batch-size 50001 is more than the training samples of mnist"),
    ("--batch-size 50000", r"makes 3 optimizer steps, and a schedule needs 10"),
    ("--seed -1", r"--seed must be at least 0, not -1"),
    ("--seed 4294967296", r"--seed must be below 2\*\*32, not 4294967296"),
    ("--gpus-per-trial 1.5", r"--gpus-per-trial must be at most 1: a trial .* not on 1.5"),
    ("--gpus-per-trial 2", r"--gpus-per-trial must be at most 1: a trial trains on one GPU, .* 2"),
    ("--gpus-per-trial lots", r"--gpus-per-trial: must be .*auto.* not 'lots'"),
    ("--gpus-per-trial 0.00001", r"--gpus-per-trial must be a share of a GPU .* not 1e-05"),
    ("--warmup often", r"--warmup must be search, none, or a number from .* not 'often'"),
    ("--warmup 1.5", r"--warmup must be search, none, or a number .* to 0.9, not '1.5'"),
    ("--momentum 1", r"--momentum must be search, 0.9, or a number .* not '1'"),
    ("--weight-decay nan", r"--weight-decay must be search, default, .* not 'nan'"),
    ("--optimizer adam", r"--optimizer"),
    ("--time-budget soon", r"--time-budget must be none, or a time like .* not 'soon'"),
    ("--time-budget 0s", r"--time-budget must be none, .* not '0s'"),
    ("--allocation fair", r"--allocation"),
    ("--sampler grid", r"--sampler"),
    ("--trial-scheduler asha", r"--trial-scheduler"),
    ("--logger comet", r"invalid choice 'comet' for argument '--logger'"),
    ("--finalists 1", r"--finalists must be 0, or at least 2, not 1"),
    ("--finalists -1", r"--finalists must be 0, or at least 2, not -1"),
    ("--replicates 1", r"--replicates must be at least 2, not 1"),
    ("--max-failures -1", r"--max-failures must be at least 0, not -1"),
    ("--resume a --replay b", r"--resume resumes a study and --replay begins another"),
    ("--replay /nowhere", r"'/nowhere' is no study: it has no study.json"),
    ("--peak-lr high", r"--peak-lr must be task, auto, or LOW,HIGH .* not 'high'"),
    ("--peak-lr 0.1,0.01", r"--peak-lr must be .* not '0.1,0.01'"),
    ("--peak-lr 0.1,inf", r"--peak-lr must be .* not '0.1,inf'"),
    ("--task-args x=1", r"--task-args: task 'mnist' takes no 'x'; arguments: it takes none"),
    ("--max-concurrent 0", r"--max-concurrent must be at least 1, not 0"),
    ("--max-concurrent x", r"--max-concurrent: must be .*INT, not 'x'"),
    ("--cpus-per-trial 4096", r"--cpus-per-trial must be at most \d+, .* not 4096"),
    ("--gpus-per-trial inf", r"--gpus-per-trial must be at most 1: .* not on inf"),
    ("--gpus-per-trial nan", r"--gpus-per-trial must be at least 0, not nan"),
    ("--name a/b", r"--name must be a plain folder name, not 'a/b'"),
    ("--name ..", r"--name must be a plain folder name, not '..'"),
    ("--epoch 4", r"Unrecognized options: --epoch, 4; did you mean --epochs\?"),
    ("--resume /nowhere", r"'/nowhere' is no study: it has no study.json"),
    ("--data-dir /dev/null/x", r"data folder '/dev/null/x' cannot be written"),
    ("--out /dev/null/x", r"--out '/dev/null/x' cannot be written"),
]


@pytest.mark.parametrize("option", CHOICES)
def test_a_choice_that_is_none_any_more_is_refused_wherever_it_stands(option: str) -> None:
    choice: dict[str, Any] = {option: "grid-of-defaults"}
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(InputError, match=f"{flag} must be one of .*, not 'grid-of-defaults'"):
        StudyConfig.of(**choice)


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS, ids=[flags for flags, _ in BAD_FLAGS])
def test_bad_input_is_named(
    flags: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.system.errors import InputError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        main(flags.split())
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob(STUDY_JSON))


def test_bad_input_is_one_line_and_status_2() -> None:
    done = run_command("study.run", "--task", "minst")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: unknown task 'minst' (did you mean 'mnist'?); tasks: {TASKS}\n"
    done = run_command("analysis.report", "/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: '/nowhere' is no study: it has no study.json\n"
    assert not Path("/nowhere").exists(), "and nothing is left behind"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A study that began with --epochs 2 --seed 5."""
    config = {
        "name": "s",
        "out": str(tmp_path),
        "data_dir": "data",
        "epochs": 2,
        "seed": 5,
        "max_concurrent": None,
        "task_args": [],
    }
    (tmp_path / "s").mkdir()
    write_record(tmp_path / "s", config=config)
    return tmp_path / "s"


def refused(*arguments: object) -> str:
    from study.system.errors import InputError

    with pytest.raises(InputError) as caught:
        main([str(argument) for argument in arguments])
    return str(caught.value)


def test_a_name_that_holds_a_study_is_refused(stored: Path) -> None:
    message = refused("--out", stored.parent, "--name", "s")
    assert message.endswith(f"resume it by --resume {stored}, or choose another --name")


def test_a_resume_with_another_config_is_refused(stored: Path) -> None:
    assert "is a study with --epochs 2, not 3" in refused("--resume", stored, "--epochs", 3)
    assert "is a study with --name s, not t" in refused("--resume", stored, "--name", "t")
    assert "is a study with --seed 5, not 0" in refused("--resume", stored, "--seed", 0)


def test_a_damaged_description_is_refused(stored: Path) -> None:
    write_record(stored, config={"nonsense": 1})
    assert "study.json' is damaged" in refused("--resume", stored)
    write_record(stored, config="nonsense")
    assert "study.json' is damaged" in refused("--resume", stored)
    (stored / STUDY_JSON).write_text("[]")
    assert "study.json' cannot be read: it holds no JSON object" in refused("--resume", stored)


def test_a_moved_study_is_resumed_where_it_is(stored: Path, tmp_path: Path) -> None:
    from study.stages.resuming import parse

    moved = stored.rename(tmp_path / "moved")
    config, _ = parse(["--resume", str(moved), "--max-concurrent", "1"])
    assert config.location.folder == moved
    assert (config.training.epochs, config.search.seed, config.machine.max_concurrent) == (2, 5, 1)


def test_a_share_of_a_gpu_belongs_to_the_machine(stored: Path) -> None:
    """It may be another for a resume, and ``auto`` is kept as it was typed."""
    from study.stages.resuming import parse

    config, record = parse(["--resume", str(stored), "--gpus-per-trial", "auto"])
    assert config.machine.gpus_per_trial == "auto"
    assert record
    record.config["gpus_per_trial"] = "auto"
    record.save(stored)
    assert parse(["--resume", str(stored)])[0].machine.gpus_per_trial == "auto"
    assert parse(["--resume", str(stored), "--gpus-per-trial", "0"])[0].machine.gpus_per_trial == 0


def test_a_study_may_go_on_with_another_logger(stored: Path) -> None:
    from study.stages.resuming import parse

    assert parse(["--resume", str(stored)])[0].machine.logger == "none", (
        "it began before there were any"
    )
    config, record = parse(["--resume", str(stored), "--logger", "mlflow"])
    assert config.machine.logger == "mlflow"
    assert record
    record.config["logger"] = "mlflow"
    record.save(stored)
    assert parse(["--resume", str(stored)])[0].machine.logger == "mlflow", "it keeps the one it has"
    assert parse(["--resume", str(stored), "--logger", "none"])[0].machine.logger == "none"


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h0m1s", 7201), ("none", None)],
)
def test_a_time_is_read(typed: str, seconds: float | None) -> None:
    assert StudyConfig.of(time_budget=typed).invocation.budget_seconds() == seconds


def test_a_budget_of_time_is_a_reason_to_stop() -> None:
    assert not Interrupt().stopping
    assert not Interrupt(3600).stopping
    assert Interrupt(0).stopping


def test_a_command_is_recorded_without_the_place_of_what_runs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/x/bin/python3", "-m", "study.run", "--name", "a b"])
    assert _as_typed() == "python -m study.run --name 'a b'"
    monkeypatch.setattr(command_line, "called_as", "lr-study run")
    monkeypatch.setattr(sys, "argv", ["/x/bin/lr-study", "--name", "a b"])
    assert _as_typed() == "lr-study run --name 'a b'"


def test_a_dry_run_checks_and_says_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--task", "digits", "--epochs", "5", "--out", str(tmp_path), "--name", "s"]
    assert main([*flags, "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "27 trials of 5 epochs on digits, 9 schedule families, peak rates 0.01 to 1, "
        "ranked by validation accuracy (higher is better), "
        f"then up to 4 finalists under up to 20 seeds -> {tmp_path / 's'}\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_resume_command_can_be_pasted() -> None:
    command = resume_command(StudyConfig.of(name="my study; rm", out=Path("a b")).location)
    assert command == "python -m study.run --resume 'a b/my study; rm'"


def test_help_names_every_flag() -> None:
    done = run_command("study.run", "--help")
    assert done.returncode == 0
    for flag in StudyConfig().options():
        assert f"--{flag.replace('_', '-')}" in done.stdout
    words = set(done.stdout.replace(",", " ").replace(".", " ").split())
    assert {*FAMILIES, *GROUPS} <= words, "names come from the registry"


def test_an_interruption_before_the_study_is_no_traceback(tmp_path: Path) -> None:
    source = (
        "import os, signal, sys\n"
        "from study.system.command_line import exit_status\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background\n"
        "sys.exit(exit_status(lambda _: os.kill(os.getpid(), signal.SIGINT) or 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=tmp_path, env=os.environ
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
