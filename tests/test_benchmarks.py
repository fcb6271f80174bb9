"""The benchmarks run, and what they compare with is the same thing done in another way."""

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks import pool
from benchmarks.__main__ import SECTIONS, main
from benchmarks.measure import Row, interleaved, ratio
from benchmarks.peers.plain import PlainLeNet, loaders
from benchmarks.sleeper import Sleeper
from benchmarks.stub import first_samples
from benchmarks.throughput import WORKER_ENVIRONMENT
from study.execution.environment import ENVIRONMENT
from study.storage.checkpoint_files import read_history
from study.storage.storage_path import StoragePath
from study.system.errors import InputError
from study.task import SearchData
from study.tasks.builtin.lenet import LeNet
from study.training.history import RunConfig


@pytest.mark.parametrize(
    "sections",
    [
        "h",
        *(
            pytest.param(some, marks=pytest.mark.slow)
            for some in ("a,b", "c,d", "e,f,g", "i,j,k", "l")
        ),
    ],
)
def test_every_row_has_numbers(sections: str, tmp_path: Path) -> None:
    files = tmp_path / "folder" / "bench.json", tmp_path / "bench.md"
    flags = ["--quick", "--only", sections, "--out", files[0], "--markdown", files[1]]
    assert main([str(flag) for flag in flags]) == 0
    content = json.loads(files[0].read_text())
    rows = content["rows"]
    assert {row["section"] for row in rows} == set(sections.split(","))
    for row in rows:
        absent = any(reason in row["detail"] for reason in ("no GPU", "not installed"))
        assert absent or all(map(math.isfinite, [row["median"], *row["values"]])), row
    assert content["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert content["hardware"]["cpus"] and "node" not in content["hardware"]
    assert ("profile" in content) == ("a" in sections)
    chosen = [row for row in rows if row["unit"] == "x" or row["at_least"] or row["at_most"]]
    assert len(files[1].read_text().splitlines()) == 2 + len(chosen)


def test_a_section_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match=f"--only must be among {','.join(SECTIONS)}, not 'z'"):
        main(["--only", "a,z"])


def test_the_plain_network_is_the_studys() -> None:
    plain, ours, images = PlainLeNet(), LeNet(), torch.randn(8, 1, 28, 28)
    plain.load_state_dict(ours.state_dict())
    torch.testing.assert_close(plain(images), ours(images))


def test_the_recipes_see_the_studys_samples(mnist: SearchData) -> None:
    for split, loader in zip(first_samples(mnist, 50), loaders(50), strict=True):
        seen = [loader.dataset[k] for k in range(len(split.targets))]
        torch.testing.assert_close(torch.stack([image for image, _ in seen]), split.inputs)
        assert [label for _, label in seen] == split.targets.tolist()


def test_the_loop_has_the_environment_of_a_worker() -> None:
    assert WORKER_ENVIRONMENT.items() <= ENVIRONMENT.items()


def test_who_sleeps_looks_like_who_trains(tmp_path: Path) -> None:
    run = RunConfig("cosine", {"peak_lr": 0.1}, seed=0, epochs=2, batch_size=128)
    sleeper = Sleeper.__new__(Sleeper)
    sleeper._arrived, sleeper._seconds = True, 0.0
    sleeper.reset_config({"run": asdict(run)})
    assert [sleeper.step()["done"] for _ in range(2)] == [False, True]
    sleeper.save_checkpoint(str(tmp_path))
    history = read_history(StoragePath.of(tmp_path), run.digest())
    assert history.status == "completed"
    assert [record.epoch for record in history.epochs] == [1, 2]


def test_measures_take_turns() -> None:
    order: list[str] = []
    found = interleaved({name: lambda name=name: order.append(name) for name in "abc"}, 2)  # type: ignore[misc]
    assert order == list("abcabc") and [*found] == list("abc")


def test_a_ratio_is_of_the_same_repeat() -> None:
    ours, theirs = Row("a", "ours", "m", (2.0, 9.0, 8.0)), Row("a", "theirs", "m", (1.0, 3.0, 2.0))
    row = ratio("a", "both", ours, theirs, at_least=3)
    assert row.values == (2, 3, 4) and row.met
    assert row.cells()[2:5] == ("3x (2 to 4)", ">= 3", "yes")
    assert Row("a", "less", "s", (5.0,), at_most=4).met is False
    assert Row("a", "nothing", detail="not installed", at_least=1).met is None


def test_the_pool_is_what_is_planned() -> None:
    """Every run of it, and no other: 1,000 or more, of the families that are tried by default."""
    rows = list(csv.DictReader(pool.POOL.read_text().splitlines()))
    runs = list(pool.planned())
    assert len(rows) == len(runs) >= 1_000
    for row, run in zip(rows, runs, strict=True):
        assert (int(row["number"]), row["family"], row["kind"]) == run[:3]
        assert json.loads(row["parameters"]) == pytest.approx(run.parameters)
        assert (row["status"] == "completed") == (float(row["val_accuracy"]) > 0)
