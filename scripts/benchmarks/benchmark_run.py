"""Measure a whole job stage by stage, beside TRL's DPOTrainer and lm-evaluation-harness on the same rows.

    python scripts/benchmarks/benchmark_run.py --config recipes/truthfulqa.yaml [--datasets_root FOLDER]
        [--eval_limit 20] [--max_steps 20] [--seed 0] [--repeats 3] [--lm_eval_batch_size 8] [--json FILE]

Takes the keys of a recipe. Each round runs three processes in turn:

- ours: `train/contrastive.py` with an empty cache folder.
- TRL and lm-eval: the harness scores the rows that the run has scored, those of the question-hidden control and of
  retention included. TRL trains LoRA on all linear layers of all blocks, on the run's pairs and in as many steps, with
  references computed beforehand and no checkpointing. Then the harness scores the rows again, with the adapter. All
  rows come from one file: to load the sets and to find wrong answers takes this side no time.
- second seed: ours again, with the next seed, the same evaluation questions, and what the first run has kept.

No side writes free answers. A process's time includes its imports. CPU seconds are those of user and system mode, which
tell more than the clock where the machine does other work. The metrics of both sides before training are printed too.
WikiText-2 is a little apart in them, because the harness predicts the first token of each window as well.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.run_figures import Figures, Measured, sum_up, table
from train.inputs import check_inputs, check_recipe
from train.recipe.arguments import REPOSITORY, EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError, require
from train.runtime.files import write_json
from train.runtime.option_types import positive, seed_number

if TYPE_CHECKING:
    from scripts.benchmarks.benchmark_run_peer import PeerResult
    from train.publishing.run_folder import Results

PEER = Path(__file__).with_name("benchmark_run_peer.py")
# Keys that the benchmark sets itself.
SET_HERE = ("output_dir", "eval_seed", "free_answers")


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words of the recipe that all runs share, after checking both.

    Raises:
        RecipeError: one is wrong, lm_eval is missing, or TRL cannot train what the recipe asks for.
    """
    parser = Parser(__doc__)
    parser.add_argument("--seed", type=seed_number, default=0, help="the first run's; the second one takes the next")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--lm_eval_batch_size", type=positive, default=8)
    parser.add_argument("--json", action=OutputFile)
    options, words = parser.parse_known_args(argv)
    for key in SET_HERE:
        if any(word.partition("=")[0].replace("-", "_") == f"__{key}" for word in words):
            raise RecipeError(f"command line: --{key} is set by the benchmark; it should be left out")
    words = [*words, "--eval_seed", str(options.seed), "--free_answers", "false"]
    args = check_recipe(words)
    check_peer_can(args)
    check_inputs(args)
    return options, words


def check_peer_can(args: EavssArguments) -> None:
    """Refuse what the other side cannot do.

    Raises:
        RecipeError: lm_eval is missing, or TRL cannot train what the recipe asks for.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise RecipeError("lm_eval is missing: pip install --constraint constraints.txt lm-eval")
    require(not args.declines, "decline_weight, decline_ce_weight", "above 0", "0, since DPOTrainer has no such term")
    require(bool(args.dpo_weight), "dpo_weight", args.dpo_weight, "above 0, since DPOTrainer trains it")
    packed = args.quantization is not None
    require(not packed, "load_in_4bit, load_in_8bit", "given", "left out: both sides load the base's own weights")


if __name__ == "__main__":
    answer_early(read_options)  # before the import below, which takes seconds

from scripts.benchmarks.shared_rows import Shared, SharedRows


def measured(words: Sequence[str], cache: Path) -> tuple[float, float]:
    """Run a Python program in a process of its own, and return its wall-clock and CPU seconds.

    Args:
        words: the program and its options.
        cache: its cache folder.

    Raises:
        RecipeError: it has refused something.
        SystemExit: it has failed.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env=os.environ | {"EAVSS_CACHE": str(cache), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode == 2:
        raise RecipeError(done.stderr.strip().rpartition("\n")[2].removeprefix("error: "))
    if done.returncode:
        raise SystemExit(f"{words[0]} failed:\n{done.stderr[-3000:]}")
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def run_ours(words: Sequence[str], seed: int, output: Path, cache: Path) -> "tuple[Measured, Results]":
    """Do the job, and return what it took and its `results.json`."""
    program = [str(REPOSITORY / "train/contrastive.py"), *words, "--seed", str(seed), "--output_dir", str(output)]
    seconds, cpu_seconds = measured(program, cache)
    results: Results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    stages = {name: figures["seconds"] for name, figures in results["stages"].items()}
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "stages": stages}, results


def run_peer(
    words: Sequence[str], options: argparse.Namespace, results: "Results", folder: Path
) -> "tuple[Measured, PeerResult]":
    """Do the same with TRL and the harness, given FOLDER/rows.json; return what it took and found."""
    train = results["train"]
    program = [str(PEER), "--folder", str(folder), "--batch_size", str(options.lm_eval_batch_size)]
    program += ["--steps", str(train["steps"]), *words, "--seed", str(options.seed)]
    seconds, cpu_seconds = measured(program, folder / "cache")
    found: PeerResult = json.loads((folder / "peer.json").read_text(encoding="utf-8"))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "stages": found["stages"]}, found


def measure(options: argparse.Namespace, words: list[str]) -> Figures:
    """Run all sides in turn, as often as the options say, and return the medians."""
    args, training = parse([*words, "--seed", str(options.seed), "--output_dir", tempfile.gettempdir()])
    shared, rounds = SharedRows.of(args, training), []
    for number in range(options.repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            first, results = run_ours(words, options.seed, folder / "first", folder / "kept")
            pairs = shared.pairs(folder / "first", results["train"]["pairs"])
            rows: Shared = {"tasks": shared.tasks(), "pairs": pairs.as_text(shared.encoder.tokenizer)}
            write_json(folder / "rows.json", rows)
            peer, found = run_peer(words, options, results, folder)
            second, _ = run_ours(words, options.seed + 1, folder / "second", folder / "kept")
        rounds.append({"ours": first, "peer": peer, "second_seed": second})
        took = ", ".join(
            f"{side} {each['seconds']:.1f} s ({each['cpu_seconds']:.1f} CPU)" for side, each in rounds[-1].items()
        )
        say(f"round {number + 1}: {took}")
    return sum_up(rounds, results, shared.figures(found["before"]))


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure, print, and write the figures."""
    options, words = read_options(argv)
    figures = measure(options, words)
    say(table(figures))
    if options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
