"""Kill a run at many moments, repeat the same command, and count how often the adapter comes out the same.

    python scripts/drills.py [--kills 60] [--seed 0] [--model_name_or_path FOLDER] [--output_dir outputs/drills]
        [--json FILE]

A kill is SIGKILL, which no process can handle: at a named moment or at a random one, of one rank or of DeepSpeed's
command. The run is `train/contrastive.py` on a tiny random model (or FOLDER) and the samples, on 1 and 2 ranks, without
DeepSpeed, under ZeRO-2 and under ZeRO-3. A kill is survived if the same command with `--resume_from_checkpoint auto`
then ends well. `byte_equal` counts those whose adapter equals, byte for byte, that of a run that nobody killed.

Ranks are forked from this process, which has imported everything already, since importing takes longer than the run.
Only where DeepSpeed's command is killed, it starts them.
"""

import argparse
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.errors import RecipeError
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model_name_or_path", type=Path)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/drills"))
    parser.add_argument("--json", action=OutputFile)
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_early(read_options)  # before the imports below, which take seconds

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scripts.drilling.moments import MOMENTS, Moment
from scripts.drilling.processes import Done, Setup, kill_command, run_ranks

SETUPS = (Setup(0, ""), Setup(1, "zero2"), Setup(2, "zero2"), Setup(1, "zero3"), Setup(2, "zero3"))
SMALL = {
    **{"--config": "recipes/demo.yaml", "--dataset": "nq", "--evaluate_on": "nq truthfulqa", "--eval_limit": "4"},
    **{"--score_questions": "8", "--train_questions": "16", "--mined_answers": "2", "--calibration_questions": "4"},
    **{"--select_fraction": "0.5", "--replay_weight": "1", "--lora_dropout": "0.1", "--dtype": "float32"},
    **{"--per_device_train_batch_size": "2", "--max_steps": "6", "--save_steps": "2", "--save_total_limit": "1"},
    **{"--logging_steps": "1", "--eval_token_budget": "1024", "--resume_from_checkpoint": "auto"},
}
# Among so many kills, one is of DeepSpeed's command, whose processes import everything anew.
_OF_COMMAND = 12


class Kill(TypedDict):
    """One kill and what came of it.

    Args:
        setup: how the run was started.
        what: what was killed, and when.
        left: processes that did not end by themselves within the launcher's 30 seconds, or 90 where it was killed.
        survived: the same command ended well.
        byte_equal: its adapter is that of a run that nobody killed.
    """

    setup: str
    what: str
    left: int
    survived: bool
    byte_equal: bool


class Reference(NamedTuple):
    """A run that nobody killed: its adapter, and how many seconds it took."""

    adapter: bytes
    seconds: float


def tiny_model(folder: Path) -> Path:
    """Save a random Llama of a few thousand weights, whose tokens are bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        initializer_range=0.1,
        bos_token_id=256,
        eos_token_id=256,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Drill:
    """Kills runs of one model.

    Args:
        model: the model's folder.
        output: where the runs are written; those that end as they should are removed.
        seed: of the random moments.
    """

    def __init__(self, model: Path, output: Path, seed: int) -> None:
        self._words = [word for key, value in SMALL.items() for word in (key, *value.split())]
        self._words += ["--model_name_or_path", str(model)]
        self._output = output
        self._random = random.Random(seed)
        self._references: dict[Setup, Reference] = {}

    def kill(self, number: int) -> Kill:
        """Kill a run, repeat its command, and compare.

        Raises:
            RecipeError: the run never comes to the named moment.
        """
        setup = SETUPS[number % len(SETUPS)]
        reference = self._reference(setup)
        folder = self._output / f"{number:03d}"
        moment = MOMENTS[number % len(MOMENTS)]
        latest = 0.9 * reference.seconds
        while True:
            if setup.ranks and number % _OF_COMMAND == _OF_COMMAND - 1:
                moment, seconds = None, self._random.uniform(20, 40 + 2 * latest)
                what, done = "the command", kill_command(setup, self._words, folder, seconds)
            else:
                seconds = self._random.uniform(0, latest)
                what, done = self._kill_rank(moment, seconds, setup, folder)
            if any(done.statuses):
                break
            if moment:
                raise RecipeError(f"{setup}, {what}: the run has ended, and was never there")
            shutil.rmtree(folder)  # it had ended before
            latest /= 2
        again = run_ranks(setup, self._words, folder)
        survived = not any(again.statuses)
        byte_equal = survived and adapter_of(folder) == reference.adapter
        if byte_equal:
            shutil.rmtree(folder)
        when = moment.name if moment else f"after {seconds:.1f} s"
        return Kill(setup=str(setup), what=f"{what}, {when}", left=done.left, survived=survived, byte_equal=byte_equal)

    def _kill_rank(self, moment: Moment | None, seconds: float, setup: Setup, folder: Path) -> tuple[str, Done]:
        """Kill a rank at a named moment, or after some seconds where it is None."""
        rank = self._random.randrange(max(1, setup.ranks)) if moment is None or moment.every_rank else 0
        after = None if moment else seconds
        return f"rank {rank}", run_ranks(setup, self._words, folder, victim=rank, moment=moment, seconds=after)

    def _reference(self, setup: Setup) -> Reference:
        """Run once without a kill."""
        if setup not in self._references:
            folder = self._output / f"reference-{setup.ranks}{setup.stage}"
            done = run_ranks(setup, self._words, folder)
            if any(done.statuses):
                raise RecipeError(f"the run itself ends with {done.statuses}; see {folder}")
            self._references[setup] = Reference(adapter_of(folder), done.seconds)
        return self._references[setup]


def adapter_of(folder: Path) -> bytes:
    """Return the adapter of the run in a folder; nothing where there is none."""
    path = folder / "run" / "adapter" / "adapter_model.safetensors"
    return path.read_bytes() if path.exists() else b""


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, and drill."""
    options = read_options(argv)
    # Threads do not survive a fork.
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    torch.set_num_threads(1)
    shutil.rmtree(options.output_dir, ignore_errors=True)
    model = options.model_name_or_path or tiny_model(options.output_dir / "model")
    drill = Drill(model.resolve(), options.output_dir.resolve(), options.seed)
    kills: list[Kill] = []
    for number in range(options.kills):
        kills.append(done := drill.kill(number))
        end = "byte-equal" if done["byte_equal"] else "ANOTHER ADAPTER" if done["survived"] else "NOT SURVIVED"
        more = f", {done['left']} left alive" if done["left"] else ""
        print(f"{number + 1}/{options.kills} {done['setup']}: {done['what']}{more}: {end}", flush=True)
        figures = {key: sum(kill[key] for kill in kills) for key in ("survived", "byte_equal", "left")}
        if options.json:
            write_json(options.json, {"kills": len(kills), **figures, "each": kills})
    print(f"{len(kills)} kills, {figures['survived']} survived, {figures['byte_equal']} adapters byte-equal")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
