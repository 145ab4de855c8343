"""Start the ranks of a run, kill one of them or their launcher, and end the rest as DeepSpeed's launcher does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from torch.distributed.elastic.utils.distributed import get_free_port

from scripts.drilling.moments import Moment, kill_at
from train import contrastive
from train.recipe.arguments import REPOSITORY

# Seconds that DeepSpeed's launcher leaves a rank between SIGTERM and SIGKILL, and that ranks take to miss the launcher.
_TERMINATION, _ORPHANS = 30, 90


class Setup(NamedTuple):
    """How a run is started: the ranks under DeepSpeed, 0 for plain Python, and the ZeRO stage."""

    ranks: int
    stage: str

    def __str__(self) -> str:
        return f"{self.stage} on {self.ranks} rank(s)" if self.ranks else "plain Python"

    def words(self, words: Sequence[str], folder: Path) -> list[str]:
        """Return the command line of a run in `folder`."""
        zero = ["--deepspeed", f"recipes/deepspeed/{self.stage}.json"] if self.ranks else []
        return [*words, *zero, "--output_dir", str(folder / "run")]


class Done(NamedTuple):
    """How a run ended: the status of each process, how many had to be killed, and the seconds it took."""

    statuses: list[int]
    left: int
    seconds: float


def run_ranks(
    setup: Setup,
    words: Sequence[str],
    folder: Path,
    *,
    job: Callable[[list[str]], int] | None = None,
    victim: int | None = None,
    moment: Moment | None = None,
    seconds: float | None = None,
) -> Done:
    """Fork the ranks of a run, and wait for them.

    Args:
        job: what a rank does with its command line, and returns its exit status; None for the job itself.
        victim: the rank that is killed; None for none.
        moment: when it kills itself.
        seconds: after which it is killed from outside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started, port = time.monotonic(), get_free_port()
    ranks = []
    for rank in range(max(1, setup.ranks)):
        kill = moment if rank == victim else None
        if not (process := os.fork()):
            act = partial(_act, job or contrastive.run, kill)
            os._exit(_be_rank(setup, setup.words(words, folder), folder, rank=rank, port=port, act=act))
        ranks.append(process)
    end = None if victim is None or seconds is None else (ranks[victim], started + seconds)
    statuses, left = _wait(ranks, end)
    _remove_buffers(port)
    return Done([statuses[rank] for rank in ranks], left, time.monotonic() - started)


def _act(job: Callable[[list[str]], int], moment: Moment | None, words: list[str]) -> int:
    """Run the job, in a process that kills itself at a moment; None for never."""
    if moment is not None:
        kill_at(moment)
    return job(words)


def _be_rank(
    setup: Setup, words: list[str], folder: Path, *, rank: int, port: int, act: Callable[[list[str]], int]
) -> int:
    """Become a rank of a run: take the launcher's variables, write to a file, and act on the command line."""
    os.setsid()
    log = os.open(folder / f"rank{rank}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.environ["EAVSS_CACHE"] = str(folder / "cache")
    if setup.ranks:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": setup.ranks, "LOCAL_SIZE": setup.ranks}
        os.environ |= {name: str(value) for name, value in (places | {"MASTER_PORT": port}).items()}
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        words = [*words, f"--local_rank={rank}"]
    os.chdir(REPOSITORY)
    status = 1
    try:
        status = act(words)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _wait(ranks: Sequence[int], kill: tuple[int, float] | None) -> tuple[dict[int, int], int]:
    """Wait for all ranks; once one has failed, ask the others to end, and kill them later.

    Args:
        kill: a rank to kill, and when.

    Returns:
        Each rank's status, and how many had to be killed.
    """
    statuses: dict[int, int] = {}
    deadline = None
    left: set[int] = set()
    while len(statuses) < len(ranks):
        time.sleep(0.02)
        alive = [rank for rank in ranks if rank not in statuses]
        for rank in alive:
            found, status = os.waitpid(rank, os.WNOHANG)
            if found:
                statuses[rank] = os.waitstatus_to_exitcode(status)
        alive = [rank for rank in alive if rank not in statuses]
        if kill and kill[0] in alive and time.monotonic() > kill[1]:
            os.kill(kill[0], signal.SIGKILL)
            kill = None
        if deadline is None and any(statuses.values()):
            deadline = time.monotonic() + _TERMINATION
            for rank in alive:
                os.kill(rank, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            for rank in set(alive) - left:
                left.add(rank)
                os.kill(rank, signal.SIGKILL)
    return statuses, len(left)


def kill_command(setup: Setup, words: Sequence[str], folder: Path, seconds: float) -> Done:
    """Start a run by DeepSpeed's command, kill that after some seconds, and wait for what it has started."""
    folder.mkdir(parents=True, exist_ok=True)
    started, port = time.monotonic(), get_free_port()
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "--num_gpus", str(setup.ranks)]
    launched = [*launcher, "--master_port", str(port), "train/contrastive.py", *setup.words(words, folder)]
    environment = os.environ | {
        "EAVSS_CACHE": str(folder / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with open(folder / "command.log", "ab") as log:
        command = subprocess.Popen(
            launched, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(seconds)
    family = [] if command.poll() is not None else psutil.Process(command.pid).children(recursive=True)
    command.kill()
    _, alive = psutil.wait_procs(family, timeout=_ORPHANS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive)
    _remove_buffers(port)
    return Done([command.wait()], len(alive), time.monotonic() - started)


def _remove_buffers(port: int) -> None:
    """Remove what DeepSpeed leaves in shared memory where a rank on a CPU is killed: 69 MB a rank."""
    for buffer in Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"):
        buffer.unlink(missing_ok=True)
