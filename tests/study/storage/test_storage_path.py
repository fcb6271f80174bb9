"""A study in a storage: the laws of its files, and whole studies over a real S3 protocol."""

import os
import pickle
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_files import CheckpointError, read_checkpoint, write_checkpoint
from study.storage.checkpoint_store import CheckpointStore
from study.storage.mirror import NOT_READ, Mirror, local_copy, pull, push
from study.storage.storage_path import StoragePath, check_usable
from study.storage.urls import above, below
from study.system.errors import InputError, StudyError
from study.task import SearchData
from study.training.history import RunConfig
from study.training.training_run import TrainingRun
from tests.conftest import run_command
from tests.s3 import BUCKET, KEYS, free_port, server
from tests.study.studies import refusal
from tests.tasks import small_task

CONFIG = RunConfig("constant", {"peak_lr": 0.05}, seed=1, epochs=3, batch_size=50)
DIGITS = ["--task", "digits", "--batch-size", "32", "--families", "constant,cosine,one_cycle"]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with server() as variables:
        yield variables


@pytest.fixture
def url(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix of a bucket, to which this process and its children have the keys."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(params=["s3", "fsspec", "pyarrow"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> StoragePath:
    """One of pyarrow's own, one that only fsspec knows, and one that knows folders."""
    named = {"fsspec": f"memory://m/{uuid.uuid4().hex}", "pyarrow": f"file://{tmp_path}/files"}
    location = named.get(request.param) or request.getfixturevalue("url")
    there = StoragePath.of(location)
    assert there.is_remote
    return there


def test_a_file_is_what_was_written(storage: StoragePath) -> None:
    file = storage / "a" / "b.txt"
    assert not file.exists()
    assert file.size() == 0
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    file.write_bytes("née".encode())
    assert (file.read_text(), file.size(), file.name) == ("née", 4, "b.txt")
    file.write_bytes(b"")
    assert file.read_bytes() == b""
    again = pickle.loads(pickle.dumps(file))
    assert again.exists()
    file.unlink()
    assert not file.exists()


def test_folders_have_names_and_end(storage: StoragePath) -> None:
    assert list((storage / "nowhere").iterdir()) == []
    for name in (
        "c/2",
        "c/10",
        "a",
        "checkpoints/attempt-001/x",
        "epochs-1/finalists/x",
        "forgiveness/x",
    ):
        (storage / name).write_bytes(b"x")
    names = [one.name for one in storage.iterdir()]
    assert names == ["a", "c", "checkpoints", "epochs-1", "forgiveness"]
    assert [str(one) for one in storage.files()] == [
        f"{storage}/{one}" for one in ("a", "c/10", "c/2")
    ]
    (storage / "c").rmtree()
    (storage / "c").rmtree()
    assert [one.name for one in (storage / "c").iterdir()] == []


def test_what_is_pushed_is_what_is_pulled(storage: StoragePath, tmp_path: Path) -> None:
    (tmp_path / "s" / "report" / "figures").mkdir(parents=True)
    files = {"study.json": b"{}", "report/index.html": b"<p>", "report/figures/a.png": bytes(10**6)}
    for name, content in files.items():
        (tmp_path / "s" / name).write_bytes(content)
    push(tmp_path / "s", storage)
    pull(storage, tmp_path / "t")
    found = {p.relative_to(tmp_path / "t").as_posix(): p for p in (tmp_path / "t").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in found.items()} == files
    check_usable(storage)
    assert not any(one.name.startswith(".probe") for one in storage.iterdir())


def test_a_mirror_copies_what_has_changed_trials_last(
    storage: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []

    def write_bytes(self: StoragePath, content: bytes, original=StoragePath.write_bytes) -> None:  # type: ignore[no-untyped-def]
        order.append(self.name)
        original(self, content)

    monkeypatch.setattr(StoragePath, "write_bytes", write_bytes)
    folder = tmp_path / "s"
    folder.mkdir()
    for name in ("trials.parquet", "schedules.parquet", "study.json", ".lock"):
        (folder / name).write_bytes(b"1")
    mirror = Mirror(folder, storage)
    mirror.pull(to_write=True)
    mirror.push()
    assert order == [".owner", "schedules.parquet", "study.json", "trials.parquet"]
    mirror.push()
    (folder / "study.json").write_bytes(b"22")
    mirror.push()
    assert order[4:] == ["study.json"]
    assert (storage / "study.json").read_bytes() == b"22"
    again = Mirror(tmp_path / "again", storage)
    again.pull(to_write=True)
    again.push()
    assert order[5:] == [".owner"], "what was pulled is there already"


def test_the_trials_are_read_first(
    storage: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written last: of each that is seen, all rows are there."""
    for name in ("epochs.parquet", "schedules.parquet", "trials.parquet", "report/a", "logs/b"):
        (storage / name).write_bytes(b"x")
    order = []

    def read_bytes(self: StoragePath, original: Any = StoragePath.read_bytes) -> bytes:
        order.append(self.name)
        return bytes(original(self))

    monkeypatch.setattr(StoragePath, "read_bytes", read_bytes)
    pull(storage, tmp_path / "t", NOT_READ)
    assert sorted(one.name for one in (tmp_path / "t").iterdir()) == sorted(order)
    assert order[0] == "trials.parquet"
    assert sorted(order[1:]) == ["epochs.parquet", "schedules.parquet"]


def test_of_two_who_write_the_first_stops(storage: StoragePath, tmp_path: Path) -> None:
    """What the second has taken over is never written over."""
    folders = [tmp_path / name for name in "ab"]
    mirrors = [Mirror(folder, storage) for folder in folders]
    mirrors[0].pull(to_write=True)
    (folders[0] / "study.json").write_bytes(b"first")
    mirrors[0].push()
    looking = Mirror(tmp_path / "c", storage)
    looking.pull(to_write=False)
    mirrors[1].pull(to_write=True)
    assert (folders[1] / "study.json").read_bytes() == b"first"
    (folders[1] / "study.json").write_bytes(b"second")
    mirrors[1].push()
    with pytest.raises(StudyError, match="has been taken over"):
        mirrors[0].check()
    mirrors[1].check()
    (folders[0] / "study.json").write_bytes(b"first again")
    with pytest.raises(
        StudyError, match=rf"{storage} has been taken over by process {os.getpid()}"
    ):
        mirrors[0].push()
    assert (storage / "study.json").read_bytes() == b"second"


def test_a_link_before_two_dots_leads_where_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "far" / "file").write_bytes(b"x")
    assert StoragePath.of(tmp_path / "link" / ".." / "file").read_bytes() == b"x"


def test_a_folder_is_its_own_mirror(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, StoragePath.of(tmp_path))
    mirror.pull(to_write=True)
    (tmp_path / "a").write_bytes(b"1")
    mirror.push()
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    with local_copy(tmp_path) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("location", ["s3://b", "s3://b/p", "s3://b/p?endpoint_override=h:1"])
def test_above_undoes_below(location: str) -> None:
    assert above(below(location, "name")) == (location, "name")
    assert below(location, "name").startswith(location.partition("?")[0] + "/name")


def test_the_options_of_a_url_lead_to_the_server(s3: dict[str, str], url: str) -> None:
    host = s3["AWS_ENDPOINT_URL"].removeprefix("http://")
    there = StoragePath.of(f"{url}?endpoint_override={host}&scheme=http&region=us-east-1")
    (there / "x").write_bytes(b"1")
    assert (StoragePath.of(url) / "x").read_bytes() == b"1"


def test_a_path_is_an_out(tmp_path: Path) -> None:
    config = StudyConfig.of(name="s", storage=str(tmp_path))
    assert (config.location.folder, config.location.where) == (tmp_path / "s", f"{tmp_path}/s")
    assert config.location.storage is None


def test_no_secret_is_pickled(url: str) -> None:
    """Ray pickles the storage for its workers; they find the keys where they are."""
    there = StoragePath.of(url)
    assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps(there)


@pytest.fixture
def run(small_mnist: SearchData) -> TrainingRun:
    run = TrainingRun(small_task(), small_mnist, CONFIG)
    run.run_epoch()
    return run


def write(where: StoragePath, run: TrainingRun, folder: Path) -> StoragePath:
    """A checkpoint, as Ray makes one: on a disk, then copied."""
    folder.mkdir(parents=True)
    write_checkpoint(folder, run.state(), run.history, CONFIG.digest())
    assert where.is_remote
    push(folder, where)
    return where


def test_checkpoints_in_a_storage_are_found_and_read(
    run: TrainingRun, storage: StoragePath, tmp_path: Path
) -> None:
    names = [
        "attempt-001/trial-00007/checkpoint_000000",
        "attempt-002/trial-00007/checkpoint_000000",
    ]
    first = write(storage / names[0], run, tmp_path / "1")
    run.run_epoch()
    second = write(storage / names[1], run, tmp_path / "2")
    found, wrong = CheckpointStore(storage).find(7, CONFIG.digest(), to_resume=True)
    assert found
    assert (str(found.folder), found.history, wrong) == (str(second), run.history, [])
    state, history = read_checkpoint(found.folder)
    assert history == run.history
    assert state.keys() == run.state().keys()
    assert CheckpointStore(storage).trials() == {7}
    assert CheckpointStore(storage).find(8, CONFIG.digest()) == (None, [])
    run.run_epoch()
    later = write(storage / f"{names[1][:-1]}1", run, tmp_path / "3")
    for part in ("manifest.json", "state.pt", "history.json"):
        content = (later / part).read_bytes()
        (later / part).write_bytes(content[: len(content) // 2])
        found, wrong = CheckpointStore(storage).find(7, CONFIG.digest())
        assert found, part
        assert (str(found.folder), len(wrong)) == (str(second), 1), part
        (later / part).write_bytes(content)
    history_again = CheckpointStore(storage).history(7, CONFIG.digest())
    assert history_again == run.history
    (later / "manifest.json").unlink()  # it is on its way
    CheckpointStore(storage).discard_superseded(7, CONFIG.digest(), reported=second)
    assert not first.exists()
    assert second.exists()
    assert (later / "state.pt").exists()
    CheckpointStore(storage).discard_superseded(7, CONFIG.digest())
    assert second.exists()
    assert not (later / "state.pt").exists()


def test_a_storage_that_fails_says_nothing_of_a_checkpoint(
    run: TrainingRun, storage: StoragePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(storage / "attempt-001/trial-00007/checkpoint_000000", run, tmp_path / "1")

    def fail(self: StoragePath) -> bytes:
        raise OSError("AWS Error SLOW_DOWN")

    monkeypatch.setattr(StoragePath, "read_bytes", fail)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        CheckpointStore(storage).find(7, CONFIG.digest())


def test_a_damaged_state_in_a_storage_is_not_gone_on_from(
    run: TrainingRun, storage: StoragePath, tmp_path: Path
) -> None:
    """As large as it should be, so that only reading it tells."""
    folder = write(storage / "attempt-001/trial-00007/checkpoint_000000", run, tmp_path / "1")
    content = (folder / "state.pt").read_bytes()
    (folder / "state.pt").write_bytes(content[:-100] + bytes(100))
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        read_checkpoint(folder)
    assert CheckpointStore(storage).find(7, CONFIG.digest(), to_resume=True)[0] is None


def test_a_bucket_that_is_not_there(url: str) -> None:
    line = refusal("--storage", "s3://another-bucket/x", "--name", "s")
    assert "the storage 's3://another-bucket/x' cannot be used" in line
    assert "NO_SUCH_BUCKET" in line


def test_a_storage_that_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "Could not connect to server" in refusal("--storage", url, "--name", "s")


def test_wrong_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(with_users=True) as variables:
        for name, value in {**variables, **KEYS}.items():
            monkeypatch.setenv(name, value)
        line = refusal("--storage", f"s3://{BUCKET}/x", "--name", "s")
    assert "AWS Error" in line
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in line


@pytest.mark.parametrize("scheme", ["s3", "sftp"])
def test_a_password_has_no_place_in_a_url(scheme: str) -> None:
    line = refusal("--storage", f"{scheme}://somebody:s3cr3t@host/x", "--name", "s")
    assert "without a password" in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize("option", ["sig=s3cr3t", "secret_key=s3cr3t", "region=x&token=s3cr3t"])
def test_a_key_has_no_place_in_a_url(option: str) -> None:
    line = refusal("--storage", f"s3://bucket/x?{option}", "--name", "s")
    assert "no options but region" in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize(
    "location", ["nonsense://x", "s3://", "http://[x", "https://127.0.0.1:1/bucket"]
)
def test_what_is_no_storage(location: str, url: str) -> None:
    assert "cannot be used" in refusal("--storage", location, "--name", "s")


@pytest.mark.slow
def test_a_storage_that_workers_do_not_see(url: str) -> None:
    """The memory of the process that asks is no place for a study."""
    done = run_command(
        "study.run", *DIGITS, "--num-trials", 2, "--storage", "memory://x", "--name", "s"
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not see the study in 'memory://x/s'" in done.stderr


@pytest.mark.slow
def test_a_study_in_a_storage_survives_a_kill_and_is_read_from_there(
    url: str, tmp_path: Path
) -> None:
    """It ends as one in a folder that nobody has disturbed."""
    flags = [*DIGITS, "--num-trials", 12, "--epochs", 6, "--max-concurrent", 1]
    flags += ["--finalists", 2, "--replicates", 2, "--name", "s"]
    done = run_command("study.run", *flags, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "study.run", *map(str, flags), "--storage", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as killed:
        assert killed.stdout
        for line in killed.stdout:
            if line.startswith("[5/12]"):
                killed.kill()
                break
    os.killpg(killed.pid, signal.SIGKILL)
    assert "already holds a study" in refusal("--storage", url, "--name", "s")
    done = run_command("study.run", "--resume", f"{url}/s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("finished: ")
    assert str(tmp_path) not in done.stdout
    assert f"report: {url}/s/report/index.html" in done.stdout
    ours, theirs = analysis.load(f"{url}/s"), analysis.load(tmp_path / "s")
    seconds = ["train_seconds", "wall_seconds"]
    pd.testing.assert_frame_equal(
        ours.trials.drop(columns=seconds), theirs.trials.drop(columns=seconds)
    )
    pd.testing.assert_frame_equal(ours.schedules, theirs.schedules)
    pd.testing.assert_frame_equal(
        ours.finalists.drop(columns=seconds[1:]), theirs.finalists.drop(columns=seconds[1:])
    )
    there = StoragePath.of(f"{url}/s")
    assert {one.name for one in there.iterdir()} >= {
        "checkpoints",
        "finalists",
        "optuna.journal",
        "report",
    }
    left = {}
    for number in ours.trials["trial"]:
        left[number] = [
            one
            for attempt in (there / "checkpoints").iterdir()
            for one in (attempt / f"trial-{number:05d}").iterdir()
            if one.name.startswith("checkpoint_")
        ]
    assert all(left.values())
    more = [number for number, checkpoints in left.items() if len(checkpoints) > 1]
    assert len(more) <= 1, "only the last stays, or the kill came before an earlier one's deletion"
    page = (there / "report" / "index.html").read_text()
    assert f"{url}/s" in page
    assert "/tmp/lr-schedule-study" not in page
    done = run_command("analysis.report", f"{url}/s", "--out", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page" / "index.html").exists()
    exported = [run_command("study.export", one).stdout for one in (f"{url}/s", tmp_path / "s")]
    assert exported[0] == exported[1] != ""
    done = run_command("study.confirm", f"{url}/s", "--replicates", 1)
    assert done.returncode == 0, done.stderr
    assert len(analysis.load(f"{url}/s").finalists) == 6
    done = run_command("study.forgiveness", f"{url}/s")
    assert done.returncode == 0, done.stderr
    assert len(analysis.load(f"{url}/s").forgiveness) in (15, 30)
    assert list(StoragePath.of(f"{url}/s/forgiveness").iterdir())
    compare = run_command("analysis.compare", f"{url}/s", tmp_path / "s", "--out", tmp_path / "c")
    assert compare.returncode == 0, compare.stderr


def test_an_error_names_the_url_and_not_its_copy(url: str) -> None:
    with pytest.raises(InputError, match=rf"'{url}' is no study"):
        analysis.load(url)
    with local_copy(url) as folder, pytest.raises(InputError):
        raise InputError(f"{folder} is wrong")


def test_an_error_of_a_disk_is_pythons_own(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("missing", "file/below", "."):
        own, oracle = StoragePath.of(tmp_path / name), tmp_path / name
        with pytest.raises(OSError) as said:
            own.read_bytes()
        with pytest.raises(OSError) as expected:
            oracle.read_bytes()
        assert (type(said.value), str(said.value)) == (type(expected.value), str(expected.value))
