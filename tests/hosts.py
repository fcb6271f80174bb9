"""Hosts on this machine: namespaces of processes, networks and mounts, each with an SSH server."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import IS_ROOT

TOOLS = ("curl", "ip", "nft", "nsenter", "rsync", "ss", "ssh", "ssh-keygen", "sshd", "unshare")
"""From the packages curl, iproute2, nftables, openssh-client, openssh-server, rsync, util-linux."""

PLACE = Path("/run/lr-lab")
HOME = PLACE / "home"
"""Of each host, as it sees it."""
SHARED = PLACE / "shared"
"""The folder that all hosts see, as if by NFS."""

# Mounts what a machine of its own would have of its own. That shadow is there since sshd refuses
# an account that is locked.
BOOT = """
set -euo pipefail
hostname "$NAME"
mount --bind "$FOLDER/shared" "$FOLDER/$NAME/shared"
mount --rbind "$FOLDER/$NAME" "$PLACE"
cd "$PLACE"
for file in passwd shadow hosts; do mount --bind $file /etc/$file; done
mount --bind ray /tmp/ray
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 sshd /run/sshd
ip link set lo up
echo up
read -r  # until the networks are there
"""
SSHD = """exec "$SSHD" -D -e -f /dev/null -h "$PLACE/key" -o UsePAM=no -o PidFile=none \
-o StrictModes=no -o AuthorizedKeysFile="$PLACE/key.pub" """


def missing() -> str:
    """What there is not, of all that hosts need; empty if it is there."""
    if not IS_ROOT:
        return "root's rights"
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent:
        return ", ".join(absent)
    trial = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False)
    return "the right to make namespaces" if trial.returncode else ""


@dataclass
class Host:
    """One of them."""

    name: str
    pid: int
    """Of its first process, as seen from outside."""
    addresses: dict[str, str] = field(default_factory=dict)
    """By network."""
    environment: dict[str, str] = field(
        default_factory=lambda: {
            "HOME": str(HOME),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "TMPDIR": "/tmp/ray",  # of /tmp, only this is its own
        }
    )

    def start(self, *command: str, cwd: Path = PLACE) -> subprocess.Popen[str]:
        """A process there, its output piped as text."""
        into = [f"--target={self.pid}", "--net", "--mount", "--pid", "--uts"]
        return subprocess.Popen(
            ["nsenter", *into, "env", f"--chdir={cwd}", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, cwd: Path = PLACE, timeout: float = 120) -> str:
        """The output of a command there, which must not fail."""
        with self.start(*command, cwd=cwd) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            finally:
                process.kill()
        assert process.returncode == 0, f"{command}: {output}"
        return output

    def processes(self) -> list[psutil.Process]:
        """All that run there but its first."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):  # it has just ended
                here = process.pid != self.pid and _space(process.pid) == _space(self.pid)
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def kill(self, word: str) -> int:
        """Kill the processes with a word in their command; how many there were."""
        killed = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if word in " ".join(process.cmdline()):
                    process.kill()
                    killed += 1
        return killed


def _space(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/pid").readlink()


@contextlib.contextmanager
def lab(folder: Path, networks: dict[str, list[str]], laptop: str) -> Iterator[dict[str, Host]]:
    """Hosts, booted and connected; they end with the context, and their networks with them.

    Args:
        folder: For their files; the SSH key that they accept is key, in there.
        networks: The hosts on each; the first network is 10.77.0.0/24 and its first host .1.
        laptop: The host that has no SSH server; the last network, which it must be on, is the way
            to the world.
    """
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True
    )
    (folder / "shared").mkdir()
    for place in (PLACE, Path("/tmp/ray"), Path("/run/sshd")):
        place.mkdir(exist_ok=True)
    names = sorted({name for members in networks.values() for name in members})
    with contextlib.ExitStack() as stack:
        processes = {name: _boot(stack, folder, name, name == laptop) for name in names}
        hosts = {
            name: Host(name, psutil.Process(process.pid).children()[0].pid)
            for name, process in processes.items()
        }
        for number, network in enumerate(networks):
            _connect(hosts, laptop, network, number, networks[network])
        for name, process in processes.items():
            if name != laptop:
                way = hosts[laptop].addresses[network]
                hosts[name].run("ip", "route", "add", "default", "via", way)
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        yield hosts


def _boot(
    stack: contextlib.ExitStack, folder: Path, name: str, laptop: bool
) -> subprocess.Popen[str]:
    own = folder / name
    for part in ("home", "shared", "ray"):
        (own / part).mkdir(parents=True)
    (own / "passwd").write_text(f"root:x:0:0::{HOME}:/bin/bash\nsshd:x:100:100::/:/bin/false\n")
    (own / "shadow").write_text("root:*:1:0:99999:7:::\n")
    # Two hosts on a machine of two cores; and not a minute, until a worker gives its head up.
    (own / "home/.bashrc").write_text(
        """export RAY_OVERRIDE_RESOURCES='{"CPU": 1}' RAY_gcs_rpc_server_reconnect_timeout_s=10\n"""
    )
    (own / "hosts").write_text(f"127.0.0.1 localhost {name}\n")
    for key in ("key", "key.pub"):
        shutil.copy(folder / key, own)
    spaces = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts"]
    log = stack.enter_context((own / "log").open("w"))
    process = subprocess.Popen(
        ["unshare", *spaces, "bash", "-c", BOOT + ("sleep infinity" if laptop else SSHD)],
        env={
            "PATH": os.environ["PATH"],
            "NAME": name,
            "FOLDER": str(folder),
            "PLACE": str(PLACE),
            "SSHD": shutil.which("sshd") or "",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    assert process.stdout
    assert process.stdout.readline() == "up\n", (own / "log").read_text()
    return process


def _connect(
    hosts: dict[str, Host], laptop: str, network: str, number: int, members: list[str]
) -> None:
    """A bridge on the laptop and a cable from each other host to it, all named like the network."""
    hosts[laptop].run("ip", "link", "add", network, "type", "bridge")
    hosts[laptop].run("ip", "link", "set", network, "up")
    for place, name in enumerate(members, start=1):
        host = hosts[name]
        if name != laptop:
            port = f"{network}-{place}"
            cable = ["type", "veth", "peer", "name", network, "netns", str(host.pid)]
            laptops = ["nsenter", f"--target={hosts[laptop].pid}", "--net"]
            subprocess.run([*laptops, "ip", "link", "add", port, *cable], check=True)
            hosts[laptop].run("ip", "link", "set", port, "master", network, "up")
            host.run("ip", "link", "set", network, "up")
        host.addresses[network] = f"10.77.{number}.{place}"
        host.run("ip", "address", "add", f"{host.addresses[network]}/24", "dev", network)
