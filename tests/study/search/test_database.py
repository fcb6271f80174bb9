"""The Optuna study in a database: the laws of a journal, and a password that is written nowhere.

With a real PostgreSQL, as Debian's package postgresql has it.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psycopg
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

import analysis
from search_spaces import SearchSpace
from study import run
from study.search.database import Database
from study.search.journal_file import JOURNAL
from study.search.optuna_trials import OptunaTrials, recorded_proposals
from study.search.trial_plan import Plan
from study.settings.choices import Allocation
from study.settings.study_config import StudyConfig
from study.stages.recovery import finished_before
from study.storage.storage_path import CHECKPOINTS
from study.system.errors import InputError
from study.tasks.metric import ACCURACY
from tests.conftest import IS_ROOT, run_command
from tests.records import store
from tests.study import studies
from tests.study.search import test_optuna_trials
from tests.study.search.test_optuna_trials import (
    ended,
    test_a_proposal_cut_short_is_completed_as_it_would_have_been,
    test_a_renamed_folder_holds_the_same_study,
    test_a_reopened_ledger_proposes_what_it_would_have,
    test_optuna_hears_only_finished_values,
    test_the_ledger_keeps_all_but_the_curve,
    test_the_seed_decides,
    test_unfinished_proposals_come_back,
    test_what_diverged_ranks_behind_what_was_stopped,
)
from tests.study.stages import test_recovery
from tests.study.stages.test_recovery import (
    SPACE,
    config,
    opened,
    play,
    test_a_half_proposed_trial_is_not_replayed,
    test_a_journal_of_a_newer_version_is_refused,
    test_a_replay_proposes_the_same_in_the_same_order,
    test_a_resume_says_what_it_found,
    test_a_trial_that_another_tool_ended_is_refused,
    test_optuna_is_told_of_no_trial_twice,
    test_the_manifest_is_what_makes_a_checkpoint,
)
from tests.study.studies import TIMINGS, command, started

__all__ = [  # the laws of a ledger, which hold here too
    "config",
    "test_a_half_proposed_trial_is_not_replayed",
    "test_a_journal_of_a_newer_version_is_refused",
    "test_a_proposal_cut_short_is_completed_as_it_would_have_been",
    "test_a_renamed_folder_holds_the_same_study",
    "test_a_reopened_ledger_proposes_what_it_would_have",
    "test_a_replay_proposes_the_same_in_the_same_order",
    "test_a_resume_says_what_it_found",
    "test_a_trial_that_another_tool_ended_is_refused",
    "test_optuna_hears_only_finished_values",
    "test_optuna_is_told_of_no_trial_twice",
    "test_the_ledger_keeps_all_but_the_curve",
    "test_the_manifest_is_what_makes_a_checkpoint",
    "test_the_seed_decides",
    "test_unfinished_proposals_come_back",
    "test_what_diverged_ranks_behind_what_was_stopped",
]

USER = "student"
PASSWORD = f"hush-{secrets.token_hex(12)}"


@dataclass
class Server:
    """A PostgreSQL on a port of 127.0.0.1, which wants a password."""

    programs: Path
    folder: Path
    port: int = 0
    databases: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def __post_init__(self) -> None:
        if IS_ROOT:  # it refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        kind = ("--auth=scram-sha-256", "--no-sync", f"--username={USER}", "--encoding=UTF8")
        self._do("initdb", *kind, f"--pwfile={password}")
        password.unlink()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = self.folder / "log"
        self._do("pg_ctl", "--wait", f"--log={log}", f"--options={options}", "start")

    def stop(self) -> None:
        self._do("pg_ctl", "--wait", "--mode=immediate", "stop")

    def _do(self, program: str, *arguments: str) -> None:
        order = [str(self.programs / program), f"--pgdata={self.folder}/data", *arguments]
        if IS_ROOT:
            order = ["runuser", "--user=postgres", "--", *order]
        subprocess.run(order, check=True, capture_output=True, cwd=self.folder, timeout=120)

    def url(self, database: str | None = None) -> str:
        """Of a new, empty database, unless it is named."""
        if database is None:
            database = f"new_{next(self.databases)}"
            address = f"host=127.0.0.1 port={self.port} user={USER} password={PASSWORD}"
            with psycopg.connect(f"{address} dbname=postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {database}".encode())
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"


def programs() -> Path | None:
    """Where initdb is; Debian keeps it out of the path."""
    found = [Path(path) for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    found = programs()
    if found is None:
        reason = "PostgreSQL's initdb is not there; install the package postgresql"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    # Short, since a path of a socket must be.
    folder = Path(tempfile.mkdtemp(prefix="lr-pg-", dir="/tmp"))
    server = Server(found, folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """With its password in the environment, where libpq looks for it."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return running


@pytest.fixture
def url(server: Server) -> str:
    return server.url()


@pytest.fixture(autouse=True)
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The borrowed laws, over PostgreSQL."""
    if request.function.__module__ == __name__:
        return
    url: str = request.getfixturevalue("url")
    test_optuna_trials.in_database(url, monkeypatch)

    def opened_there(
        folder: Path, resuming: bool = True, allocation: Allocation = "balanced"
    ) -> OptunaTrials:
        return ledger_in(url, folder, resuming, allocation)

    def recorded_there(folder: Path, space: SearchSpace) -> object:
        return recorded_proposals(Database(url, folder.name, folder), space)

    monkeypatch.setattr(test_recovery, "opened", opened_there)
    monkeypatch.setattr(test_recovery, "recorded_proposals", recorded_there)


def ledger_in(
    url: str, folder: Path, resuming: bool, allocation: Allocation = "balanced"
) -> OptunaTrials:
    plan = Plan(SPACE, allocation)
    return OptunaTrials(Database(url, folder.name, folder), plan, ACCURACY, 0, resuming)


def refusal(*flags: object) -> str:
    message = studies.refusal(*flags)
    assert PASSWORD not in message
    return message


SECRET = "sesame"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://:{SECRET}@host/db",
        f"postgresql://me:x@{SECRET}@host/db",
        f"postgresql://me:{SECRET}/x@host/db",
        f"postgresql://me@host/db?password={SECRET}",
        f"postgresql://me@host/db?sslpassword={SECRET}",
        f"mysql://me@host/db?passwd={SECRET}",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match=r"must not hold a password.* set PGPASSWORD") as caught:
        StudyConfig.of(optuna_storage=url)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", [f"me:{SECRET}@host", f"postgresql://me:{SECRET}", f"oracel://me:{SECRET}@h/d", "", "x"]
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(
        InputError, match=r"must be a URL like postgresql://user@host/database; "
    ) as caught:
        StudyConfig.of(optuna_storage=url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///study.db"])
def test_a_file_is_named_by_its_absolute_path(url: str) -> None:
    with pytest.raises(InputError, match="must name a SQLite file by its absolute path"):
        StudyConfig.of(optuna_storage=url)


def test_a_url_behind_a_misspelt_flag_is_not_repeated_either(tmp_path: Path) -> None:
    url = f"postgresql://me:{SECRET}@host/db"
    done = run_command("study.run", "--out", tmp_path, "--optuna-storag", url)
    assert done.returncode == 2
    assert "postgresql://me:***@host/db; did you mean --optuna-storage?" in done.stderr
    assert SECRET not in done.stderr


def test_a_driver_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    message = refusal("--out", tmp_path, "--optuna-storage", "postgresql://me@127.0.0.1/db")
    assert message.endswith(
        "needs the package psycopg, which is not installed; install it by: pip install -e "
        "'.[cluster]'"
    )
    message = refusal("--out", tmp_path, "--optuna-storage", "mysql://me@127.0.0.1/db")
    assert message.endswith("needs the package MySQLdb, which is not installed")
    assert not list(tmp_path.iterdir())


def test_a_database_that_cannot_be_used_is_one_line_before_any_work(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"postgresql://{USER}@127.0.0.1:{free.getsockname()[1]}/x"
        assert "Connection refused" in refusal("--out", tmp_path, "--optuna-storage", nobody)
    url = server.url("nowhere")
    assert 'database "nowhere" does not exist;' in refusal(
        "--out", tmp_path, "--optuna-storage", url
    )
    url = server.url("postgres")
    missing = refusal("--out", tmp_path, "--optuna-storage", url.replace(USER, "stranger"))
    assert 'password authentication failed for user "stranger"; check the URL' in missing
    monkeypatch.setenv("PGPASSWORD", "wrong")
    message = refusal("--out", tmp_path, "--optuna-storage", url)
    assert f'password authentication failed for user "{USER}"; check the URL' in message
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    assert "no password supplied" in refusal("--out", tmp_path, "--optuna-storage", url)
    assert not list(tmp_path.iterdir())


def test_a_file_of_passwords_will_do(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{server.port}:*:{USER}:{PASSWORD}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert ledger_in(url, tmp_path / "s", resuming=False).propose().number == 0


def test_a_dry_run_leaves_the_database_empty(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--task", "digits", "--epochs", "5", "--out", str(tmp_path), "--dry-run"]
    assert run.main([*flags, "--optuna-storage", url]) == 0
    assert "27 trials of 5 epochs on digits" in capsys.readouterr().out
    assert not tables_of(url)
    assert not list(tmp_path.iterdir())


def tables_of(url: str) -> list[str]:
    engine = sqlalchemy.create_engine(url)
    try:
        return sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def test_a_name_that_is_taken_is_refused_whoever_has_it(url: str, tmp_path: Path) -> None:
    there = tmp_path / "there" / "s"
    ledger_in(url, there, resuming=False)  # and nothing is proposed yet
    for flags in ((), ("--dry-run",)):
        storage = ("--optuna-storage", url, "--name", "s", "--out", tmp_path / "here")
        assert "already holds a study 's'; resume it by --resume" in refusal(*storage, *flags)
    assert ledger_in(url, there, resuming=False).propose().number == 0, "it begins again"
    for folder in (there, tmp_path / "here" / "s"):
        with pytest.raises(InputError, match="already holds a study 's'"):
            ledger_in(url, folder, resuming=False)
    assert ledger_in(url, there, resuming=True).proposed_count == 1


def test_a_study_that_is_gone_is_refused_by_name(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no study 's', which '.*/s' is of; put a copy"):
        ledger_in(url, tmp_path / "s", resuming=True)


def test_a_database_that_lacks_trials_is_refused(url: str, config: StudyConfig) -> None:
    (config.location.folder / JOURNAL).unlink()
    optuna_trials = ledger_in(url, config.location.folder, resuming=False)
    optuna_trials.propose()
    checkpoints = store(config.location.folder / CHECKPOINTS)
    message = "study 's' in 'postgresql://.*' has been cut short: it lacks trial 3, which has"
    with pytest.raises(InputError, match=message):
        list(finished_before(config, optuna_trials, checkpoints))


def test_a_journal_in_the_folder_is_not_passed_over(url: str, config: StudyConfig) -> None:
    with pytest.raises(InputError, match="holds the trials of a study, but not"):
        ledger_in(url, config.location.folder, resuming=False)


def test_a_replay_goes_from_one_to_the_other(url: str, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    expected = play(opened(tmp_path / "a", resuming=False), 20)
    optuna_trials = ledger_in(url, tmp_path / "b", resuming=False)
    optuna_trials.replay(recorded_proposals(tmp_path / "a", SPACE))
    assert play(optuna_trials, 20) == expected
    optuna_trials = opened(tmp_path / "c", resuming=False)
    optuna_trials.replay(recorded_proposals(Database(url, "b", tmp_path / "b"), SPACE))
    assert play(optuna_trials, 20) == expected
    assert play(ledger_in(url, tmp_path / "d", resuming=False), 20) == expected, "by itself, too"


def test_a_server_that_was_away_between_two_trials_is_found_again(
    server: Server, url: str, tmp_path: Path
) -> None:
    optuna_trials = ledger_in(url, tmp_path / "s", resuming=False)
    optuna_trials.finish(optuna_trials.propose().number, ended("completed"))
    number = optuna_trials.propose().number
    server.stop()
    with pytest.raises(StorageInternalError):
        optuna_trials.finish(number, ended("completed"))
    server.start()
    again = ledger_in(url, tmp_path / "s", resuming=True)
    assert (again.finished_count, list(again.open_proposals())) == (1, [number])
    server.stop()
    server.start()
    assert again.propose().number == 2


class Killed(BaseException):
    """As if by -9: nothing in between catches it."""


@contextlib.contextmanager
def killed_before(commit: int) -> Iterator[list[None]]:
    """Counts what is committed, to any database, and stops at one of them."""
    done: list[None] = []

    def count(_: sqlalchemy.Connection) -> None:
        if len(done) == commit:
            raise Killed
        done.append(None)

    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", count)
    try:
        yield done
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", count)


def hang_up(url: str) -> None:
    """As the kernel does for a killed process: what it had not committed holds no lock any more."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.slow
def test_a_kill_before_any_commit_changes_no_proposal(url: str, tmp_path: Path) -> None:
    """Between two parameters of one trial, too: in the start-up, and with TPE after it."""
    with killed_before(-1) as all_of_them:
        expected = play(ledger_in(url, tmp_path / "whole", resuming=False), 18)
    assert len(all_of_them) > 250
    for commit in [*range(3, 25), *range(25, len(all_of_them), 37)]:
        folder, begun = tmp_path / str(commit), False
        with killed_before(commit), pytest.raises(Killed):
            optuna_trials = ledger_in(url, folder, resuming=False)
            begun = True
            play(optuna_trials, 18)
        hang_up(url)
        assert play(ledger_in(url, folder, resuming=begun), 18) == expected, commit


def digits(*flags: object) -> tuple[object, ...]:
    fixed = ("--task", "digits", "--batch-size", 32, "--epochs", 2, "--families", "classic")
    few = ("--num-trials", 10, "--max-concurrent", 1, "--finalists", 2, "--replicates", 2)
    return (*fixed, *few, *flags)


def assert_the_password_is_nowhere(output: str, *folders: Path) -> None:
    assert PASSWORD not in output
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_study_in_a_database_is_killed_and_goes_on_and_is_replayed(
    url: str, tmp_path: Path
) -> None:
    """By the command line, as a user would; it ends as one with a journal does."""
    output = ""
    with started(command(tmp_path, *digits("--optuna-storage", url))) as process:
        assert process.stdout
        for line in process.stdout:
            output += line
            if line.startswith("[3/"):
                break
        process.kill()
    folder = (tmp_path / "s").rename(tmp_path / "renamed")
    resumed = run_command("study.run", "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith("finished: "), resumed.stdout
    assert (folder / "report" / "index.html").exists()
    assert not (folder / JOURNAL).exists()
    assert json.loads((folder / "study.json").read_text())["config"]["optuna_storage"] == url
    trials = Database(url, "s", folder).load(None).get_trials(deepcopy=False)
    assert len(trials) == 10
    assert not {TrialState.RUNNING, TrialState.WAITING} & {trial.state for trial in trials}
    in_a_journal = command(tmp_path, *digits())
    subprocess.run([*in_a_journal, "--name", "j"], check=True, capture_output=True)
    flags = ("--replay", folder, "--optuna-storage", "None", "--name", "again")
    again = run_command("study.run", *flags)
    assert again.returncode == 0, again.stderr
    confirmed = run_command("study.confirm", folder, "--replicates", 2)
    assert confirmed.returncode == 0, confirmed.stderr
    one, *others = (
        analysis.load(tmp_path / name).trials.drop(columns=TIMINGS)
        for name in ("renamed", "j", "again")
    )
    for other in others:
        pd.testing.assert_frame_equal(one, other)
    assert (tmp_path / "again" / JOURNAL).exists()
    for done in (resumed, again, confirmed):
        output += done.stdout + done.stderr
    assert_the_password_is_nowhere(output, folder, Path(os.environ["RAY_TMPDIR"]))


@pytest.mark.slow
def test_a_server_lost_in_the_middle_is_one_line_and_nothing_is_lost(
    server: Server, url: str, tmp_path: Path
) -> None:
    with started(command(tmp_path, *digits("--optuna-storage", url))) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("[3/"):
                break
        server.stop()
        try:
            output, _ = process.communicate(timeout=120)
        finally:
            server.start()
    assert process.returncode == 1, output
    (error,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert "Traceback" not in output
    assert error.endswith(f"python -m study.run --resume {tmp_path / 's'}")
    resumed = run_command("study.run", "--resume", tmp_path / "s")
    assert resumed.returncode == 0, resumed.stderr
    assert "finished: 3 of 10 trials" in resumed.stdout
    undisturbed = run_command("study.run", "--replay", tmp_path / "s", "--name", "t")
    assert undisturbed.returncode == 0, undisturbed.stderr
    one, other = (
        analysis.load(tmp_path / name).trials.drop(columns=TIMINGS) for name in ("s", "t")
    )
    pd.testing.assert_frame_equal(one, other)
