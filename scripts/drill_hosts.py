"""Train on two hosts, lose one of them, repeat the same command, and compare the adapters.

    python scripts/drill_hosts.py [--output_dir outputs/drill_hosts] [--json FILE]

The hosts are network namespaces of this machine, with their own addresses, cache folders and processes; they share the
output folder, as over a cluster's file system. The drill needs root, and `ip` of iproute2. The run is that of
`scripts/drills.py`, on a tiny random model and the samples, started on each host by torchrun or by `deepspeed` with a
hostfile, under ZeRO-2 and ZeRO-3. A host is lost after the first checkpoint: all its processes get SIGKILL.

`byte_equal` compares with a run on two hosts that lost none, `one_host` with one host of two ranks.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_text


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/drill_hosts"))
    parser.add_argument("--json", action=OutputFile)
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

from scripts.drilling.hosts import Host, two_hosts, wait
from scripts.drills import SMALL, adapter_of, tiny_model
from train.resuming.manifest import MANIFEST

_PORT = "29500"
# Seconds that a run may take, and that a host has to end once the other one has failed.
_RUN, _END = 600, 60


class Loss(NamedTuple):
    """How a run is started, and how it loses a host.

    Args:
        launcher: torchrun or deepspeed.
        stage: of ZeRO.
        host: the number of the host that is lost.
        empty: the host comes back without its caches.
    """

    launcher: str
    stage: str
    host: int
    empty: bool

    def __str__(self) -> str:
        back = ", back without caches" if self.empty else ""
        return f"{self.launcher}, {self.stage}, host {self.host} lost{back}"


LOSSES = (
    Loss("torchrun", "zero2", 2, empty=True),
    Loss("torchrun", "zero3", 1, empty=False),
    Loss("deepspeed", "zero2", 1, empty=False),
    Loss("deepspeed", "zero3", 2, empty=True),
)


class Outcome(TypedDict):
    """What came of a loss.

    Args:
        what: see `Loss`.
        steps: made by the checkpoint at which the run went on.
        seconds: after which the other host had ended by itself.
        survived: the same command ended well.
        byte_equal: its adapter is that of two hosts that lost none.
    """

    what: str
    steps: int
    seconds: float
    survived: bool
    byte_equal: bool


def launched(launcher: str, hosts: Sequence[Host], number: int, folder: Path) -> list[str]:
    """Return the command, without the script's options, that host `number` (from 0) of the hosts starts.

    A single host has two ranks, each of two has one.

    Args:
        folder: where DeepSpeed's hostfile is written.
    """
    ranks = 2 // len(hosts)
    program = str(Path(sys.executable).with_name(launcher))
    if launcher == "torchrun":
        start = [program, "--nnodes", str(len(hosts)), "--nproc_per_node", str(ranks)]
    else:
        hostfile = folder / "hostfile"
        write_text(hostfile, "".join(f"{host.address} slots={ranks}\n" for host in hosts))
        start = [program, "--hostfile", str(hostfile), "--no_ssh"]
    place = ["--node_rank", str(number), "--master_addr", hosts[0].address, "--master_port", _PORT]
    return [*start, *place, "train/contrastive.py"]


class Drill:
    """Runs a tiny model on two hosts.

    Args:
        model: the model's folder.
        hosts: the two.
        output: where the runs are written.
    """

    def __init__(self, model: Path, hosts: Sequence[Host], output: Path) -> None:
        more = {"--model_name_or_path": str(model), "--max_steps": "12"}
        self._words = [word for key, value in (SMALL | more).items() for word in (key, *value.split())]
        self._hosts = hosts
        self._output = output
        self._references: dict[str, bytes] = {}

    def lose(self, loss: Loss) -> Outcome:
        """Lose a host in training, repeat the same command, and compare.

        Raises:
            RecipeError: the run ends before it has a checkpoint, or before the host is lost.
        """
        folder = self._output / f"{loss.launcher}-{loss.stage}"
        self._empty()
        processes = self._start(loss.launcher, loss.stage, folder, self._hosts)
        while not (whole := _whole_checkpoints(folder)):
            if any(process.poll() is not None for process in processes):
                wait(processes, _END)
                raise RecipeError(f"drill_hosts: {loss}: the run ended before its first checkpoint; see {folder}")
            time.sleep(0.01)
        host = self._hosts[loss.host - 1]
        processes[loss.host - 1].kill()
        started = time.monotonic()
        statuses = wait(processes, _RUN)
        seconds = time.monotonic() - started
        if None in statuses or 0 in statuses:
            raise RecipeError(f"drill_hosts: {loss}: the run ended with {statuses}; see {folder}")
        if loss.empty:
            shutil.rmtree(host.disk)
        whole = _whole_checkpoints(folder)
        survived = self._run(loss.launcher, loss.stage, folder, self._hosts)
        byte_equal = survived and adapter_of(folder) == self.reference(loss.stage)
        return Outcome(what=str(loss), steps=max(whole), seconds=seconds, survived=survived, byte_equal=byte_equal)

    def reference(self, stage: str, hosts: int = 2) -> bytes:
        """Return the adapter of a run that loses none of its hosts.

        Raises:
            RecipeError: the run fails.
        """
        folder = self._output / f"reference-{stage}-{hosts}"
        if folder.name not in self._references:
            self._empty()
            if not self._run("torchrun", stage, folder, self._hosts[:hosts]):
                raise RecipeError(f"drill_hosts: the run itself fails; see {folder}")
            self._references[folder.name] = adapter_of(folder)
        return self._references[folder.name]

    def _empty(self) -> None:
        for host in self._hosts:
            shutil.rmtree(host.disk, ignore_errors=True)

    def _run(self, launcher: str, stage: str, folder: Path, hosts: Sequence[Host]) -> bool:
        """Start the run, and return whether it ends well on every host."""
        return not any(status != 0 for status in wait(self._start(launcher, stage, folder, hosts), _RUN))

    def _start(self, launcher: str, stage: str, folder: Path, hosts: Sequence[Host]) -> list["subprocess.Popen[bytes]"]:
        folder.mkdir(parents=True, exist_ok=True)
        words = [*self._words, "--deepspeed", f"recipes/deepspeed/{stage}.json", "--output_dir", str(folder / "run")]
        return [
            host.start([*launched(launcher, hosts, number, folder), *words], folder / f"host{number + 1}.log")
            for number, host in enumerate(hosts)
        ]


def _whole_checkpoints(folder: Path) -> list[int]:
    """Return the steps of the sealed checkpoints."""
    return [int(path.parent.name.rpartition("-")[2]) for path in folder.glob(f"run/checkpoint-*/{MANIFEST}")]


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, and drill."""
    options = read_options(argv)
    output = options.output_dir.resolve()
    with two_hosts(output) as hosts:
        shutil.rmtree(output, ignore_errors=True)
        drill = Drill(tiny_model(output / "model"), hosts, output)
        outcomes: list[Outcome] = []
        for loss in LOSSES:
            outcomes.append(done := drill.lose(loss))
            end = "byte-equal" if done["byte_equal"] else "ANOTHER ADAPTER" if done["survived"] else "NOT SURVIVED"
            print(f"{loss}: ended in {done['seconds']:.0f} s, on from step {done['steps']}: {end}", flush=True)
        one_host = {stage: drill.reference(stage) == drill.reference(stage, hosts=1) for stage in ("zero2", "zero3")}
    figures = {key: sum(outcome[key] for outcome in outcomes) for key in ("survived", "byte_equal")}
    if options.json:
        write_json(options.json, {"losses": len(outcomes), **figures, "one_host": one_host, "each": outcomes})
    same = [stage for stage, equal in one_host.items() if equal]
    print(f"{len(outcomes)} losses, {figures}; equal to one host of two ranks: {', '.join(same) or 'none'}")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
