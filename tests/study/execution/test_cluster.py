"""The clusters: what their files promise, what Ray makes of them, and studies on a real one."""

import copy
import json
import os
import re
import site
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.hosts import PLACE, SHARED, Host, lab, missing

Config = dict[str, Any]

ROOT = Path(__file__).parents[3]
FILES = sorted(path.name for path in ROOT.glob("cluster*.yaml"))


def read(name: str) -> Config:
    config: Config = yaml.safe_load((ROOT / name).read_text())
    return config


def started(config: Config) -> list[str]:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def workers(config: Config) -> list[Config]:
    types = config.get("available_node_types", {})
    return [kind for name, kind in types.items() if name != config["head_node_type"]]


def is_closed(config: Config) -> bool:
    """To the world, on AWS by a group that is none of Ray's, elsewhere by the firewall."""
    if config["provider"]["type"] == "aws":
        groups = [kind["node_config"] for kind in config["available_node_types"].values()]
        closed = all(group.get("SecurityGroupIds") for group in groups)
        closed = closed and "security_group" not in config["provider"]
    else:
        first = (config["head_start_ray_commands"][0], config["worker_start_ray_commands"][0])
        closed = all("nft --define" in command and "||" not in command for command in first)
    return closed and not re.search(r"0\.0\.0\.0|::/0", yaml.safe_dump(config))


def shows_the_dashboard_to_its_host_only(config: Config) -> bool:
    hosts = re.findall(r"--dashboard-host[= ](\S+)", " ".join(started(config)))
    heads = [command for command in started(config) if "--head" in command]
    return hosts == ["127.0.0.1"] * len(heads)


def asks_for_the_token(config: Config) -> bool:
    commands = started(config)
    everywhere = len(commands) == 2 and all("RAY_AUTH_MODE=token " in part for part in commands)
    return everywhere and config["file_mounts"].get("~/.ray/auth_token") == "~/.ray/auth_token"


def has_spot_workers_only(config: Config) -> bool:
    types = config.get("available_node_types", {})
    spot = [kind for kind in types.values() if "InstanceMarketOptions" in kind["node_config"]]
    markets = {kind["node_config"]["InstanceMarketOptions"]["MarketType"] for kind in spot}
    return spot == workers(config) and markets <= {"spot"}


def is_bounded(config: Config) -> bool:
    """In number, and in what one costs; one's own machines are as many as are named."""
    if config["provider"]["type"] == "local":
        return bool(config["provider"]["worker_ips"])
    bounds = [kind.get("max_workers", 10**9) for kind in workers(config)]
    prices = [
        kind["node_config"].get("InstanceMarketOptions", {}).get("SpotOptions", {}).get("MaxPrice")
        for kind in workers(config)
    ]
    return all(bound <= config.get("max_workers", 0) <= 100 for bound in bounds) and all(prices)


def ends_what_idles(config: Config) -> bool:
    provider = config["provider"]
    stops = provider["type"] == "aws" and provider.get("cache_stopped_nodes", True)
    return not stops and 0 < config.get("idle_timeout_minutes", 0) <= 15


def installs_what_was_tested(config: Config) -> bool:
    commands = [command for command in config["setup_commands"] if "pip install" in command]
    pinned = all("--constraint constraints.txt --editable '.[cluster]'" in c for c in commands)
    # Written nowhere else, no version can differ from constraints.txt.
    again = re.search(r"[a-z\]][=~<>!]=\s*[0-9]", " ".join(config["setup_commands"]))
    mounts = config["file_mounts"]
    return bool(commands) and pinned and not again and "constraints.txt" in mounts.values()


def outlives_a_full_memory(config: Config) -> bool:
    return all("RAY_memory_monitor_refresh_ms=0 " in command for command in started(config))


POLICIES: tuple[Callable[[Config], bool], ...] = (
    is_closed,
    shows_the_dashboard_to_its_host_only,
    asks_for_the_token,
    has_spot_workers_only,
    is_bounded,
    ends_what_idles,
    installs_what_was_tested,
    outlives_a_full_memory,
)


def broken(config: Config) -> set[str]:
    return {policy.__name__ for policy in POLICIES if not policy(config)}


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_the_file(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_no_file_breaks_a_policy(name: str) -> None:
    assert not broken(read(name))


def replaced(old: str, new: str, key: str) -> Callable[[Config], None]:
    def replace(config: Config) -> None:
        before = config[key]
        config[key] = [command.replace(old, new) for command in before]
        assert config[key] != before

    return replace


def the_worker(config: Config) -> Config:
    worker: Config = config["available_node_types"]["worker"]
    return worker


HEAD, WORKER, SETUP = "head_start_ray_commands", "worker_start_ray_commands", "setup_commands"
SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}
BREAKS: list[tuple[str, str, Callable[[Config], Any]]] = [
    ("cluster.yaml", "is_closed", lambda c: the_worker(c)["node_config"].pop("SecurityGroupIds")),
    (
        "cluster.yaml",
        "is_closed",
        lambda c: c["provider"].update(security_group={"IpPermissions": []}),
    ),
    ("cluster.yaml", "is_closed", lambda c: c["metadata"].update(cidr="0.0.0.0/0")),
    ("cluster.yaml", "is_closed", lambda c: c["metadata"].update(cidr="::/0")),
    ("cluster.local.yaml", "is_closed", lambda c: c[HEAD].pop(0)),
    ("cluster.local.yaml", "is_closed", lambda c: c[WORKER].reverse()),
    ("cluster.local.yaml", "is_closed", replaced("cluster.local.nft", "x || true", WORKER)),
    *[
        (name, policy, breaks)
        for name in FILES
        for policy, breaks in [
            ("shows_the_dashboard_to_its_host_only", replaced("=127.0.0.1", "=10.0.0.1", HEAD)),
            (
                "shows_the_dashboard_to_its_host_only",
                replaced("--dashboard-host=127.0.0.1", "", HEAD),
            ),
            ("asks_for_the_token", replaced("RAY_AUTH_MODE=token", "", HEAD)),
            (
                "asks_for_the_token",
                replaced("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", WORKER),
            ),
            ("asks_for_the_token", lambda c: c["file_mounts"].pop("~/.ray/auth_token")),
            ("ends_what_idles", lambda c: c.pop("idle_timeout_minutes")),
            ("installs_what_was_tested", replaced("--constraint constraints.txt", "", SETUP)),
            ("installs_what_was_tested", replaced(".[cluster]'", ".[cluster]' ray==2.9", SETUP)),
            (
                "installs_what_was_tested",
                lambda c: c["file_mounts"].pop("~/lr-schedule-study/constraints.txt"),
            ),
            ("outlives_a_full_memory", replaced("RAY_memory_monitor_refresh_ms=0", "", WORKER)),
        ]
    ],
    (
        "cluster.yaml",
        "has_spot_workers_only",
        lambda c: c["available_node_types"]["head"]["node_config"].update(SPOT),
    ),
    (
        "cluster.yaml",
        "has_spot_workers_only",
        lambda c: the_worker(c)["node_config"]["InstanceMarketOptions"].update(MarketType="x"),
    ),
    ("cluster.yaml", "is_bounded", lambda c: c.pop("max_workers")),
    ("cluster.yaml", "is_bounded", lambda c: the_worker(c).pop("max_workers")),
    ("cluster.yaml", "is_bounded", lambda c: the_worker(c)["node_config"].update(SPOT)),
    ("cluster.local.yaml", "is_bounded", lambda c: c["provider"]["worker_ips"].clear()),
    ("cluster.yaml", "ends_what_idles", lambda c: c["provider"].pop("cache_stopped_nodes")),
]


@pytest.mark.parametrize(("name", "policy", "breaks"), BREAKS)
def test_a_policy_notices(name: str, policy: str, breaks: Callable[[Config], Any]) -> None:
    config = read(name)
    breaks(config)
    assert broken(config) == {policy}


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An account with what cluster.yaml says must exist, and no way to the real AWS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(variable, "none")
    with mock_aws():
        iam = boto3.client("iam")
        for role in ("head", "worker"):
            iam.create_instance_profile(InstanceProfileName=f"lr-study-{role}")
        yield boto3.client("ec2", region_name=read("cluster.yaml")["provider"]["region"])


def prepared(ec2: Any) -> Config:
    """cluster.yaml, its placeholders filled in."""
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="lr-study", Description="x", VpcId=network)
    config = prepare_config(read("cluster.yaml"))
    for kind in config["available_node_types"].values():
        kind["node_config"]["SecurityGroupIds"] = [group["GroupId"]]
        kind["node_config"]["ImageId"] = ec2.describe_images()["Images"][0]["ImageId"]
    return copy.deepcopy(config)


def let_in(ec2: Any) -> list[str]:
    groups = ec2.describe_security_groups()["SecurityGroups"]
    rules = [rule for group in groups for rule in group["IpPermissions"]]
    return [addresses["CidrIp"] for rule in rules for addresses in rule["IpRanges"]]


def test_on_aws_ray_starts_what_the_file_says_and_opens_nothing(aws: Any) -> None:
    config = bootstrap_aws(prepared(aws))  # type: ignore[no-untyped-call]
    assert let_in(aws) == []
    config = AWSNodeProvider.fillout_available_node_types_resources(config)
    types = config["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert types["worker"]["resources"]["GPU"] == 1
    provider = AWSNodeProvider(config["provider"], "x")  # type: ignore[no-untyped-call]
    for kind in types:
        provider.create_node(types[kind]["node_config"], {"ray-node-type": kind}, 1)
    found = [
        (runner["InstanceType"], runner.get("InstanceLifecycle"))
        for reservation in aws.describe_instances()["Reservations"]
        for runner in reservation["Instances"]
    ]
    assert found == [("m7i.large", None), ("g6.xlarge", "spot")]


def test_on_aws_rays_own_group_would_be_open(aws: Any) -> None:
    config = prepared(aws)
    for kind in config["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
    config["provider"]["security_group"] = {"GroupName": "closed", "IpPermissions": []}
    bootstrap_aws(config)  # type: ignore[no-untyped-call]
    assert let_in(aws) == ["0.0.0.0/0"]


RAY = str(Path(sys.executable).with_name("ray"))
API = "http://127.0.0.1:8265"
# What an installation without a network can be: an environment of its own, which sees the packages
# of the one that runs the tests, and the project itself, really installed.
PACKAGES = f"~/lr-venv/lib/python3.{sys.version_info.minor}/site-packages/shared.pth"
OFFLINE = [
    f"test -e {PACKAGES} || ({sys.executable} -m venv --without-pip ~/lr-venv &&"
    f" echo {site.getsitepackages()[0]} > {PACKAGES})",
    r"printf '#!%s\nfrom ray.scripts.scripts import main\nmain()\n' ~/lr-venv/bin/python"
    " > ~/lr-venv/bin/ray && chmod +x ~/lr-venv/bin/ray",
    "cd ~/lr-schedule-study && ~/lr-venv/bin/python -m pip install --quiet"
    " --no-index --no-deps --no-build-isolation --editable .",
]


def wait_until(happened: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.5)


@dataclass
class Cluster:
    """A head and a worker, and the laptop that brought them up."""

    hosts: dict[str, Host]
    shared: Path
    """The folder that all hosts see, as the tests see it."""
    file: Path

    @property
    def laptop(self) -> Host:
        return self.hosts["laptop"]

    def ray(self, *arguments: str, timeout: float = 200) -> str:
        """A command of the laptop's user, in the project's folder."""
        return self.laptop.run(RAY, *arguments, cwd=ROOT, timeout=timeout)

    def ask(self, path: str, token: str = "") -> tuple[int, str]:
        """The status and the body of an answer of the jobs API, through the tunnel."""
        header = ["--header", f"Authorization: Bearer {token}"] if token else []
        command = ["curl", "--silent", "--write-out", "\n%{http_code}", *header, API + path]
        with self.laptop.start(*command) as curl:
            body, _, status = curl.communicate()[0].rpartition("\n")
        return int(status), body

    @property
    def token(self) -> str:
        return self.laptop.run("cat", f"{PLACE}/home/.ray/auth_token").strip()

    def nodes(self) -> int:
        """Nodes that are alive."""
        status, body = self.ask("/nodes?view=summary", self.token)
        assert status == 200, body
        return [node["raylet"]["state"] for node in json.loads(body)["data"]["summary"]].count(
            "ALIVE"
        )

    def study(self, name: str, *flags: str) -> list[str]:
        """The command of a study on all nodes."""
        command = "python -m study.run --task digits --num-trials 8 --epochs 3 --finalists 0"
        return [
            *command.split(),
            "--address",
            "auto",
            "--storage",
            str(SHARED),
            "--name",
            name,
            *flags,
        ]

    def trials(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.shared / name / "trials.parquet")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """cluster.local.yaml, brought up by ``ray up`` on two hosts.

    Only what a user would edit is replaced, and the installation by one without a network.
    """
    if lacking := missing():
        assert "CI" not in os.environ, f"continuous integration has to have {lacking}"
        pytest.skip(f"hosts need {lacking}")
    folder = tmp_path_factory.mktemp("cluster")
    networks = {"inner": ["head", "worker"], "outer": ["head", "worker", "laptop"]}
    with lab(folder, networks, laptop="laptop") as hosts:
        config = read("cluster.local.yaml")
        config["auth"] = {"ssh_user": "root", "ssh_private_key": f"{PLACE}/key"}
        config["provider"] = {
            "type": "local",
            "head_ip": hosts["head"].addresses["inner"],
            "worker_ips": [hosts["worker"].addresses["inner"]],
            "external_head_ip": hosts["head"].addresses["outer"],
        }
        file = folder / "cluster.local.yaml"
        config["file_mounts"]["~/lr-schedule-study/cluster.local.yaml"] = str(file)
        config["setup_commands"] = OFFLINE + [
            command
            for command in config["setup_commands"]
            if "-m venv" not in command and "pip install" not in command
        ]
        file.write_text(yaml.safe_dump(config))
        brought_up = Cluster(hosts, folder / "shared", file)
        brought_up.laptop.environment |= {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": API}
        brought_up.ray("get-auth-token", "--generate")
        brought_up.ray("up", "--yes", str(file))
        with brought_up.laptop.start(RAY, "dashboard", str(file), cwd=ROOT) as tunnel:
            wait_until(lambda: brought_up.ask("/nodes?view=summary", brought_up.token)[0] == 200)
            wait_until(lambda: brought_up.nodes() == 2)
            yield brought_up
            tunnel.kill()


# The digits, of which no trial begins before a trial of each host has come here.
TOGETHER = """
import platform, time
from dataclasses import replace
from pathlib import Path

import ray
from study.tasks.builtin.digits import make_model, make_task

def make_together(seed):
    if ray.is_initialized() and ray.get_runtime_context().get_actor_id():  # a trial
        come = Path(__file__).with_name("come")
        come.mkdir(exist_ok=True)
        (come / platform.node()).touch()
        until = time.monotonic() + 120
        while len(list(come.iterdir())) < 2:
            assert time.monotonic() < until, "the other host trains nothing"
            time.sleep(0.05)
    return make_model(seed)

def make_task_of_both():
    return replace(make_task(), name="together", make_model=make_together)
"""


@pytest.mark.slow
def test_both_hosts_train(cluster: Cluster) -> None:
    (cluster.shared / "together.py").write_text(TOGETHER)
    study = cluster.study("first", "--task", f"{SHARED}/together.py:make_task_of_both")
    output = cluster.ray("exec", str(cluster.file), " ".join(study))
    trials = cluster.trials("first")
    assert list(trials["status"]) == ["completed"] * 8, output
    assert set(trials["node"]) == {"head", "worker"}
    assert (cluster.shared / "first" / "report" / "index.html").exists()


@pytest.mark.slow
def test_the_jobs_api_asks_for_the_token(cluster: Cluster) -> None:
    assert cluster.ask("/api/jobs/")[0] == 401
    assert cluster.ask("/api/jobs/", "another")[0] == 403
    assert cluster.ask("/api/jobs/", cluster.token)[0] == 200


SCAN = """
import asyncio, sys

async def answers(port):
    try:
        await asyncio.wait_for(asyncio.open_connection(sys.argv[1], port), 2)
    except (OSError, TimeoutError):
        return False
    return True

async def scan(ports):
    return [port for port, open in zip(ports, await asyncio.gather(*map(answers, ports))) if open]

print(*asyncio.run(scan(sys.argv[2:])))
"""


def reached(cluster: Cluster, name: str) -> set[str]:
    """Of the ports on which a host listens, those that let the laptop in."""
    host = cluster.hosts[name]
    lines = host.run("ss", "-Htln").splitlines()
    ports = {line.split()[3].rpartition(":")[2] for line in lines}
    assert len(ports) > 5
    scan = [sys.executable, "-c", SCAN, host.addresses["outer"], *ports]
    return set(cluster.laptop.run(*scan).split())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["head", "worker"])
def test_from_outside_nothing_but_ssh_answers(cluster: Cluster, name: str) -> None:
    assert reached(cluster, name) == {"22"}


@pytest.mark.slow
def test_it_is_the_firewall_that_closes_the_ports(cluster: Cluster) -> None:
    worker = cluster.hosts["worker"]
    worker.run("nft", "delete", "table", "inet", "lr_study")
    assert len(reached(cluster, "worker")) > 3
    worker.run("bash", "-c", read("cluster.local.yaml")[WORKER][0])
    assert reached(cluster, "worker") == {"22"}


@pytest.mark.slow
def test_a_job_outlives_who_submitted_it_and_a_raylet(cluster: Cluster) -> None:
    submit = ["job", "submit", "--submission-id", "second", "--working-dir", ".", "--"]
    study = cluster.study("second", "--epochs", "20")
    with cluster.laptop.start(RAY, *submit, *study, cwd=ROOT) as submitting:
        assert submitting.stdout
        assert any("[1/8] trial" in line for line in submitting.stdout)
        cluster.laptop.kill("submit")
    # The worker is training, or about to.
    wait_until(lambda: cluster.hosts["worker"].kill("raylet/raylet"), 10)
    log = cluster.ray("job", "logs", "--follow", "second")
    lines = re.findall(r"^\[\d/8\] trial \d .* peak_lr .* s  best ", log, re.MULTILINE)
    assert len(lines) == 8, log
    wait_until(lambda: "succeeded" in cluster.ray("job", "status", "second"), 20)
    assert list(cluster.trials("second")["status"]) == ["completed"] * 8
    wait_until(lambda: cluster.nodes() == 2)


@pytest.mark.slow
def test_ray_down_leaves_nothing_running(cluster: Cluster) -> None:
    cluster.ray("down", "--yes", str(cluster.file))
    cluster.laptop.kill("ssh")  # the tunnel, which ends at the head
    # That its head is gone a worker believes after a minute.
    for host in (cluster.hosts["head"], cluster.hosts["worker"]):
        wait_until(lambda host=host: not host.processes())  # type: ignore[misc]
