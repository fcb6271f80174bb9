"""Machines that are not as usual: homes, temporary folders, file systems, limits, terminals."""

import errno
import fcntl
import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import unquote, urlsplit

import pytest

from analysis.compare import CompareConfig
from analysis.gallery import GalleryConfig
from analysis.report import ReportConfig
from benchmarks.__main__ import Benchmarks
from reproductions.runs import Reproduction
from search_spaces import SearchSpace
from study.confirm import ConfirmConfig
from study.dashboard import DashboardConfig
from study.execution import ray_session
from study.export import ExportConfig
from study.forgiveness import ForgivenessConfig
from study.results.study_record import StudyRecord
from study.search.journal_file import SyncedJournal
from study.search.optuna_trials import OptunaTrials
from study.search.trial_plan import Plan
from study.settings.study_config import StudyConfig
from study.stages.reporting import start_report
from study.stages.session import locked_folder
from study.storage.mirror import local_copy
from study.storage.urls import above, below, is_url
from study.system import module
from study.system.command_line import parse
from study.system.errors import InputError, StudyError, failed
from study.system.hardware import usable_cpus
from study.system.interrupt import Interrupt
from study.system.user_folders import cache_folder, private_folder, settle_home
from study.tasks.metric import ACCURACY
from tests.conftest import IS_ROOT, NOBODY, as_nobody
from tests.records import write_record

pytestmark = pytest.mark.unix
COMMANDS = (
    StudyConfig,
    ConfirmConfig,
    ForgivenessConfig,
    ExportConfig,
    ReportConfig,
    CompareConfig,
    GalleryConfig,
    Reproduction,
    Benchmarks,
)


GROUPS = [type(vars(StudyConfig())[group.name]) for group in fields(StudyConfig)]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (StudyConfig, ["--out=~/x", "--data-dir=~/x"]),
        (StudyConfig, ["--storage=~/x"]),
        (StudyConfig, ["--resume=~/x", "--replay", "~/x"]),
        (StudyConfig, ["--task=~/x.py:f"]),
        (ConfirmConfig, ["~/x"]),
        (ForgivenessConfig, ["~/x"]),
        (DashboardConfig, ["~/x"]),
        (ExportConfig, ["~/x"]),
        (ReportConfig, ["~/x", "--out=~/x"]),
        (CompareConfig, ["~/x", "~/x", "--out=~/x"]),
        (GalleryConfig, ["--out=~/x"]),
    ],
)
def test_a_tilde_is_a_home_wherever_a_path_is_typed(
    command: type, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = [argument.replace("~", str(tmp_path)) for argument in arguments]
    there = parse(command, "command", typed)
    got = parse(command, "command", arguments)
    assert unnamed(got) == unnamed(there)
    unknown = [argument.replace("~", "~nobody-at-all") for argument in arguments]
    with pytest.raises(InputError, match=r"'~nobody-at-all/x.*' is in a home that is not known"):
        parse(command, "command", unknown)


def unnamed(config: Any) -> Any:
    """A configuration, but for the time in its name."""
    return config.but(name="s") if isinstance(config, StudyConfig) else config


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS])
def test_no_command_takes_a_path_as_it_stands(command: type) -> None:
    """Whoever adds a flag for one writes ``Folder``."""
    for name, hint in get_type_hints(command, include_extras=True).items():
        parts = () if get_origin(hint) is Annotated else get_args(hint)
        assert Path not in (hint, *parts), name


def test_a_folder_that_is_called_tilde_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(StudyConfig, "command", ["--out=./~/x"]).location.out == Path("./~/x")


@pytest.fixture
def of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with modules of the user's that are called like ours."""
    for name in (*module.PACKAGES, "pip"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_report_is_ours_whatever_lies_in_the_working_directory(
    of_the_user: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start_report("nowhere").wait() == 2
    assert capfd.readouterr().err == "error: 'nowhere' is no study: it has no study.json\n"


def test_what_a_module_of_ours_needs_of_the_users_is_found(of_the_user: Path) -> None:
    (of_the_user / "family.py").write_text("import study, sys; print(study.__file__, sys.argv[1:])")
    command = [sys.executable, "-P", module.__file__, "family", "-x"]
    done = subprocess.run(command, capture_output=True, text=True)
    expected = f"{module.ROOT / 'study' / '__init__.py'} ['-x']\n"
    assert (done.stdout, done.stderr) == (expected, "")


@pytest.mark.slow
def test_workers_train_ours_too(of_the_user: Path) -> None:
    flags = "--task digits --num-trials 1 --epochs 1 --finalists 0 --batch-size 64 --name s"
    command = [sys.executable, "-P", "-m", "study.run", *flags.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No home, and nobody who knows the user; returns the folder for temporary files."""

    def unknown(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_who_has_no_home_has_a_private_folder(
    homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = homeless / f"lr-schedule-study-{os.getuid()}"
    assert StudyConfig().machine.data_dir == own / "data"
    assert own.stat().st_mode & 0o777 == 0o700
    settle_home()
    assert os.environ["HOME"] == str(own)
    monkeypatch.delenv("HOME")
    with pytest.raises(InputError, match="'~/x' is in a home that is not known here"):
        parse(StudyConfig, "command", ["--out=~/x"])


@pytest.mark.linux
@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
def test_a_home_in_which_nothing_can_be_kept(
    home: str, homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    assert cache_folder() == homeless / f"lr-schedule-study-{os.getuid()}"
    settle_home()
    assert os.environ["HOME"] != home


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
def test_a_home_of_another_user(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as own, tempfile.TemporaryDirectory() as other:
        Path(own).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", own)
        monkeypatch.setenv("HOME", f"{other}/home")
        folder = as_nobody(lambda: str(cache_folder()))
    assert folder == f"{own}/lr-schedule-study-{NOBODY}"


def test_a_home_that_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever may be written there: it may hold keys."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    settle_home()
    assert os.environ["HOME"] == str(tmp_path)


def test_a_private_folder_of_another_user_is_refused(
    homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.getuid()
    private_folder().rename(homeless / f"lr-schedule-study-{owner + 1}")
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(InputError, match="is another user's"):
        private_folder()


def test_ray_has_a_folder_that_is_short_enough_for_its_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert ray_session._folder() == "/tmp/ray", "its own"
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    folder = ray_session._folder()
    assert folder
    path = Path(folder + ray_session.SOCKET)
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        path.unlink(missing_ok=True)
        one.bind(str(path))
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    assert Path(folder).parent.stat().st_uid == os.getuid()
    assert Path(folder).parent.stat().st_mode & 0o777 == 0o700

    def nowhere(parent: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(parent))

    monkeypatch.setattr(ray_session, "private_folder", nowhere)
    with pytest.raises(StudyError, match=r"at most \d+ bytes.*name one by RAY_TMPDIR"):
        ray_session._folder()


def test_ray_of_another_user_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        theirs = Path(parent) / "ray"
        theirs.mkdir()
        monkeypatch.setenv("RAY_TMPDIR", parent)
        assert ray_session._folder() == str(theirs)
        monkeypatch.setattr(os, "access", lambda path, mode: path != theirs)
        assert ray_session._folder() not in (None, str(theirs))


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/x/session_1")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(StudyError) as caught:
        ray_session.connect("local", 0, {})
    expected = (
        "Ray cannot start on this machine: '/x/session_1': Permission denied; mend its rights"
    )
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room within your quota"),
        (errno.EACCES, "mend its rights"),
        (errno.EPERM, "mend its rights"),
        (errno.EROFS, "choose a place that may be written"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EMFILE, "raise the limit on open files (ulimit -n)"),
        (errno.EFBIG, "raise the limit on the size of a file (ulimit -f)"),
        (errno.EIO, "mend that"),
    ],
)
def test_an_error_of_a_file_names_it_and_its_own_remedy(
    number: int, remedy: str, tmp_path: Path
) -> None:
    error = OSError(number, os.strerror(number), "/some/file")
    assert failed(error, "/another") == f"'/some/file': {os.strerror(number)}; {remedy}"
    config = StudyConfig.of(name="s", out=tmp_path)
    with pytest.raises(StudyError) as caught, locked_folder(config.location):
        raise error
    again = "type the command again"
    assert str(caught.value) == f"{failed(error)}, then {again}", "there is nothing to resume yet"
    with pytest.raises(StudyError) as caught, locked_folder(config.location):
        write_record(config.location.folder)
        raise OSError(number, os.strerror(number))
    resume = f"python -m study.run --resume {tmp_path}/s"
    assert str(caught.value) == f"'{tmp_path}/s': {os.strerror(number)}; {remedy}, then {resume}"


def test_a_name_that_is_too_long_is_refused_as_such(tmp_path: Path) -> None:
    config = StudyConfig.of(name="x" * 300, out=tmp_path)
    with (
        pytest.raises(InputError, match="File name too long; choose a shorter name"),
        locked_folder(config.location),
    ):
        pass


def test_a_study_in_another_thread_listens_to_no_signals() -> None:
    errors: list[BaseException] = []

    def listen() -> None:
        try:
            with Interrupt().listening() as interrupt:
                assert not interrupt.stopping
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert not errors


def run_where(folder: Path, arguments: Sequence[str], **options: Any) -> tuple[int, str]:
    """Exit status and standard error of a command that finds the modules of a folder first."""
    process = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(folder)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    return process.returncode, process.stderr


@pytest.mark.parametrize(
    ("command", "imported"),
    [
        (["-m", "study.run"], "torch"),
        (["-m", "study.sweep"], "torch"),
        (["-m", "study.export", "x"], "numpy"),
        (["-m", "study", "run"], "torch"),
        (["-m", "study", "report", "x"], "pandas"),
        (["-m", "analysis.report", "x"], "pandas"),
        (["-m", "reproductions.budgets"], "pandas"),
        (["-P", module.__file__, "analysis.report", "x"], "pandas"),
    ],
)
def test_ctrl_c_while_packages_are_imported_is_one_line(
    command: list[str], imported: str, tmp_path: Path
) -> None:
    interrupting = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError\n"
    (tmp_path / f"{imported}.py").write_text(interrupting)
    assert run_where(tmp_path, command) == (130, "interrupted\n")


def test_ctrl_c_is_left_alone_where_a_program_only_imports_us(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import signal, study\nsignal.raise_signal(signal.SIGINT)")
    status, said = run_where(tmp_path, ["-m", "mine"])
    assert status in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in said


@pytest.mark.parametrize("program", ["print('x')", "print('x' * 10**6)", "main(['--help'])"])
def test_what_nobody_reads_ends_as_unix_tools_do(program: str, tmp_path: Path) -> None:
    source = "import sys\nfrom study.system.command_line import exit_status, parse\n"
    source += "from analysis.gallery import GalleryConfig\n" if "main" in program else ""
    source += "main = lambda arguments: parse(GalleryConfig, 'x', arguments)\n"
    source += f"sys.exit(exit_status(lambda _: {program} or 0))"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run_where(tmp_path, ["-c", source], stdout=writer) == (128 + signal.SIGPIPE, "")
    finally:
        os.close(writer)


def test_another_broken_pipe_is_an_error(tmp_path: Path) -> None:
    source = "import sys\nfrom study.system.command_line import exit_status\n"
    source += "def main(_): raise BrokenPipeError(32, 'x')\nsys.exit(exit_status(main))"
    assert run_where(tmp_path, ["-c", source]) == (1, "error: x; mend that\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_without_umlauts_is_no_error(stream: str) -> None:
    source = "import sys\nfrom study.system.command_line import exit_status\n"
    source += f"sys.exit(exit_status(lambda _: print('\\xfcbung', file=sys.{stream}) or 0))"
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "\\xfcbung\n")


@pytest.fixture
def poor_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """No links, no locks, no rights, no syncing: a mount of a share, say."""

    def unknown(number: int) -> Callable[..., Any]:
        def refuse(*arguments: Any, **keywords: Any) -> None:
            raise OSError(number, os.strerror(number))

        return refuse

    monkeypatch.setattr(os, "symlink", unknown(errno.EPERM))
    monkeypatch.setattr(fcntl, "flock", unknown(errno.ENOTSUP))
    monkeypatch.setattr(os, "chmod", unknown(errno.EPERM))
    monkeypatch.setattr(os, "fsync", unknown(errno.EINVAL))


@pytest.mark.usefixtures("poor_file_system")
def test_a_study_on_a_poor_file_system_is_kept(tmp_path: Path) -> None:
    config = StudyConfig.of(name="s", out=tmp_path)
    plan = Plan(SearchSpace(("constant",), (0.01, 0.1)), "joint", "tpe")
    with locked_folder(config.location):
        write_record(config.location.folder, config={})
        optuna_trials = OptunaTrials(config.location.folder, plan, ACCURACY, 0)
        proposals = [optuna_trials.propose() for _ in range(3)]
    with locked_folder(config.location):
        again = OptunaTrials(config.location.folder, plan, ACCURACY, 0, resuming=True)
        assert list(again.unfinished()) == proposals
    assert StudyRecord.load(config.location.folder).config == {}


@pytest.mark.usefixtures("poor_file_system")
def test_without_locks_of_the_kernel_a_study_is_still_locked(tmp_path: Path) -> None:
    config, path = StudyConfig.of(name="s", out=tmp_path), tmp_path / "s" / ".lock.held"
    path.parent.mkdir()
    holder = "import sys, filelock\n"
    holder += "with filelock.SoftFileLock(sys.argv[1]): print(flush=True); input()"
    command = [sys.executable, "-c", holder, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with (
            pytest.raises(StudyError, match=f"is in use .* or delete '{path}'"),
            locked_folder(config.location),
        ):
            pass
        process.kill()
    with locked_folder(config.location):
        assert path.exists()
    assert not path.exists()


def test_a_disk_that_fails_to_sync_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_record(tmp_path)
    with pytest.raises(OSError, match="Input/output"):
        SyncedJournal(tmp_path / "journal").append_logs([{}])


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a b", "übung", "a=b&c"])
@pytest.mark.parametrize(
    "parent", ["file:///tmp/x", "file:///tmp/x?scheme=y", "/tmp/q?x", "s3://b/p"]
)
def test_a_name_is_one_in_any_location(parent: str, name: str) -> None:
    location = below(parent, name)
    if is_url(parent):
        assert above(location) == (parent, name)
        assert unquote(urlsplit(location).path) == f"{urlsplit(parent).path}/{name}"
        assert urlsplit(location).query == urlsplit(parent).query
    else:
        assert location == f"{parent}/{name}"


def test_a_study_with_anything_in_its_name_is_found_at_a_url(tmp_path: Path) -> None:
    name = "a?b#c%20d ü"
    config = StudyConfig.of(name=name, storage=tmp_path.as_uri())
    written = config.location.open()
    assert written.is_remote
    (tmp_path / name).mkdir()
    write_record(tmp_path / name, config={})
    assert (tmp_path / name / "study.json").exists()
    assert str(written / "study.json") == (tmp_path / name / "study.json").as_uri()
    assert StudyRecord.load(config.location.where).config == {}
    with local_copy(config.location.where) as folder:
        assert folder.name == name


def test_the_quota_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    context = "joblib.externals.loky.backend.context"
    monkeypatch.setattr(f"{context}._cpu_count_cgroup", lambda _: 1)
    assert usable_cpus() == 1


def test_a_ray_that_does_not_start_names_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise RuntimeError("Timed out waiting for file /x")

    limits = {resource.RLIMIT_NPROC: 60}
    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr(
        resource, "getrlimit", lambda kind: (limits.get(kind, resource.RLIM_INFINITY), 0)
    )
    with pytest.raises(StudyError, match=r"may have 60 processes \(ulimit -u\) here: raise that"):
        ray_session.connect("local", 0, {})
    limits.clear()
    with pytest.raises(StudyError, match="Timed out waiting for file /x; mend that"):
        ray_session.connect("local", 0, {})


def test_a_limit_of_threads_is_one_line() -> None:
    source = "import sys\nfrom study.system.command_line import exit_status\n"
    source += 'def main(_): raise RuntimeError("can\'t start new thread")\n'
    source += "sys.exit(exit_status(main))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    expected = "error: can't start new thread; raise the limit on processes (ulimit -u)\n"
    assert (done.returncode, done.stderr) == (1, expected)
