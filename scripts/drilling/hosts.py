"""Two hosts on one machine: network namespaces joined by a cable, each with its own address, name and caches."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from train.recipe.arguments import REPOSITORY
from train.runtime.errors import RecipeError

_TOOLS = {"ip": "iproute2", "unshare": "util-linux"}
# The name of the network interface on each host.
INTERFACE = "eth0"
# A host has its own processes, so that all of them end with the first one, its own shared memory, and its own disk
# under a path that all hosts have.
_BOOT = 'hostname "$1" && mount -t tmpfs tmpfs /dev/shm && mount --bind "$2" "$3" && shift 3 && exec "$@"'


class Host(NamedTuple):
    """A host.

    Args:
        name: of the host and its network namespace.
        address: in the network of the two.
        disk: the folder with its caches, as this process sees it.
        mounted: where the host sees it, as every host sees its own.
    """

    name: str
    address: str
    disk: Path
    mounted: Path

    def start(self, words: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a command on the host; to kill the process is to lose all that runs there."""
        for folder in (self.disk, self.mounted):
            folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "EAVSS_CACHE": str(self.mounted / "eavss"),
            "HF_HOME": str(self.mounted / "huggingface"),
            "GLOO_SOCKET_IFNAME": INTERFACE,
            "PYTHONPATH": str(REPOSITORY),
        }
        inside = ["ip", "netns", "exec", self.name, "unshare", "--uts", "--pid", "--fork", "--kill-child"]
        booted = [
            *inside,
            "--mount-proc",
            "sh",
            "-c",
            _BOOT,
            "sh",
            self.name,
            str(self.disk),
            str(self.mounted),
            *words,
        ]
        with open(log, "ab") as file:
            return subprocess.Popen(booted, cwd=REPOSITORY, env=environment, stdout=file, stderr=file)


@contextmanager
def two_hosts(folder: Path) -> Iterator[list[Host]]:
    """Make two hosts with empty caches in `folder`, and remove the hosts at the end.

    Raises:
        RecipeError: a tool is missing, or the user may not make namespaces.
    """
    require_tools()
    hosts = [Host(f"eavss{os.getpid()}-{n}", f"10.77.0.{n}", folder / f"disk{n}", folder / "disk") for n in (1, 2)]
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
        first, second = hosts
        _ip("link", "add", INTERFACE, "netns", first.name, "type", "veth", "peer", INTERFACE, "netns", second.name)
        for host in hosts:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", INTERFACE)
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "link", "set", INTERFACE, "up")
        yield hosts
    finally:
        for host in hosts:
            left = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True, check=False)
            for process in map(int, left.stdout.split()):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def require_tools() -> None:
    """Check that hosts can be made.

    Raises:
        RecipeError: they cannot.
    """
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise RecipeError(f"drill_hosts: there is no command {tool}; install {package}")
    if os.geteuid():
        raise RecipeError("drill_hosts: network namespaces need root; start the drill as root")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RecipeError(f"drill_hosts: ip {' '.join(words)} failed: {done.stderr.strip()}; namespaces are needed")


def wait(processes: Sequence["subprocess.Popen[bytes]"], seconds: float) -> list[int | None]:
    """Wait for the hosts' commands, and return the status of each; None for one that had to be killed."""
    end = time.monotonic() + seconds
    statuses: list[int | None] = []
    for process in processes:
        try:
            statuses.append(process.wait(max(0, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            statuses.append(None)
    return statuses
