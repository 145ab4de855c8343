"""Run a family's tiny job on two ranks that divide the model by ZeRO-3, and compare it with the job of one process.

The ranks are forked, since importing takes longer than the job.
"""

import gc
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from scripts.drilling.processes import Setup, run_ranks
from scripts.families.job import PARTS, Outcome, adapter_weights, load, run, words
from train.runtime.command import exit_status
from train.runtime.distributed import is_main_process
from train.runtime.files import write_json

# What rounding may change: a step's loss and an answer's log-probability, in nats, and a share of the adapter's update.
LOSS, ANSWER, ADAPTER = 1e-4, 1e-3, 1e-2
# Seconds after which a run is taken to hang. The first one builds an operator of DeepSpeed.
_LIMIT = 900
_OUTCOME = "outcome.json"
_TWO_RANKS = Setup(PARTS, "zero3")


@dataclass(frozen=True)
class Divided:
    """What came of the job under ZeRO-3.

    Args:
        state: "yes" where it gives what one process gives; else "refused: ", "fails: " or "off: ", and why.
        loss, answer: the largest difference in a step's loss, and in an answer's log-probability after training, in
            nats; None where the job did not end.
        adapter: the difference in LoRA's B, which starts at 0, as a share of its norm.
    """

    state: str
    loss: float | None = None
    answer: float | None = None
    adapter: float | None = None


def divided(base: Path, alone: Path, expected: Outcome, folder: Path) -> Divided:
    """Run the job on two ranks, and compare.

    Args:
        base: the model's folder.
        alone: the output folder of the job of one process.
        expected: what that gave.
        folder: where to work, empty.
    """
    torch.set_num_threads(1)  # threads do not survive a fork
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # DeepSpeed imports it with its optimiser, and torch's compiler with it: seconds on each rank of each family.
    import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401

    gc.freeze()  # what is there now need not be searched, and thus copied, by the ranks
    done = run_ranks(_TWO_RANKS, words(base, PARTS), folder, job=_rank, victim=0, seconds=_LIMIT)
    gc.unfreeze()
    if any(done.statuses):
        return Divided(fault(folder, done.statuses).replace(f"{base.parent}/", ""))
    output = folder / "run"
    found = Outcome(**json.loads((output / _OUTCOME).read_text(encoding="utf-8")))
    loss, answer = _furthest(expected.losses, found.losses), _furthest(expected.answers, found.answers)
    adapter = _adapters_apart(adapter_weights(alone), adapter_weights(output))
    close = loss <= LOSS and answer <= ANSWER and adapter <= ADAPTER  # False for NaN
    state = "yes" if close else f"off: the loss by {loss:.1g}, answers by {answer:.1g}, the adapter by {adapter:.1%}"
    return Divided(state, loss, answer, adapter)


def _rank(argv: list[str]) -> int:
    return exit_status(partial(_command, argv))


def _command(argv: list[str]) -> None:
    """Run the job as a rank, and write down what it gave."""
    loaded = load(argv)
    outcome = run(loaded)
    if is_main_process():
        write_json(Path(str(loaded.training.output_dir)) / _OUTCOME, asdict(outcome))


def fault(folder: Path, statuses: Sequence[int]) -> str:
    """Return the line with which a run was refused or failed, from the log of the rank that did."""
    for rank, status in enumerate(statuses):
        lines = (folder / f"rank{rank}.log").read_text(encoding="utf-8").splitlines()
        if status == 2:
            return f"refused: {next(line for line in lines if line.startswith('error: ')).removeprefix('error: ')}"
        if status == 1 and lines:
            return f"fails: {lines[-1][:200]}"
    return f"fails: the ranks ended with {statuses}"


def _furthest(expected: Sequence[float], found: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(expected, found, strict=True))


def _adapters_apart(expected: dict[str, Tensor], found: dict[str, Tensor]) -> float:
    if expected.keys() != found.keys():
        return float("inf")
    names = [name for name in expected if "lora_B" in name]
    wanted, got = (torch.cat([weights[name].flatten() for name in names]) for weights in (expected, found))
    return float((got - wanted).norm() / wanted.norm())
