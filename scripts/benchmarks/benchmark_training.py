"""Train on the same pairs with our trainer and with TRL's DPOTrainer, each run in a process of its own.

    python scripts/benchmarks/benchmark_training.py [--datasets_root FOLDER] [--model_name_or_path MODEL]
        [--layers 14 15 ...] [--pairs 96] [--epochs 3] [--lengths 4000 500] [--repeats 3] [--without] [--json FILE]

There are two peers. `trl_default` is DPOTrainer as it comes, with LoRA on all blocks. `trl_best` has the same blocks as
ours, references computed beforehand, and no checkpointing. All sides have the same rows, rank, precision and pairs a
step, and plain AdamW. The time includes everything but loading and tokenising, so it includes the pass that fills our
empty cache and TRL's reference pass. `--without` also runs ours with one feature switched off at a time.

A first run of each side is not timed; it counts the FLOPs of matrix products. `floor_ratio` is our time over the time
that our FLOPs would take at the rate of a bare forward pass of the model, measured in the same run. `--lengths` takes
pairs of about so many tokens a prompt and an answer, put together from the set's texts, instead of its rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.places import SAMPLES
from scripts.benchmarks.training_sides import SIDES, WITHOUT
from train.recipe.arguments import REPOSITORY
from train.runtime.command import Parser, exit_status
from train.runtime.files import write_json
from train.runtime.option_types import new_file, positive

RUN = Path(__file__).with_name("benchmark_training_run.py")


def run_side(side: str, options: argparse.Namespace, count: bool = False) -> dict[str, float]:
    """Run `side` once in a new process with an empty cache, and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = [sys.executable, str(RUN), side, *(["--count"] if count else []), "--folder", folder]
        for key in ("model_name_or_path", "datasets_root", "pairs", "epochs", "batch_size", "dtype", "random_weights"):
            if getattr(options, key) is not None:
                words += [f"--{key}", str(getattr(options, key))]
        if options.lengths:
            words += ["--lengths", *map(str, options.lengths)]
        done = subprocess.run(
            [*words, "--layers", *map(str, options.layers)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
        figures: dict[str, float] = json.loads(result.read_text())
        return figures


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Count each side's FLOPs once, time all sides in turn, and return the medians."""
    sides = [*SIDES, *(WITHOUT if options.without else ())]
    flops = {side: run_side(side, options, count=True)["flops"] for side in SIDES}
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(options.repeats):
        for side in sides:
            rounds[side].append(run_side(side, options))
            latest = rounds[side][-1]
            print(f"round {number + 1}, {side}: {latest['pairs_per_second']:.2f} pairs/s", flush=True)
    median = {
        side: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for side, found in rounds.items()
    }
    ours = median["ours"]
    figures: dict[str, Any] = {side: median[side] | {"flops": flops[side]} for side in SIDES}
    for side in SIDES:
        figures[side]["flops_per_second"] = flops[side] / median[side]["seconds"]
    for peer in ("default", "best"):
        theirs = median[f"trl_{peer}"]
        figures[f"speedup_{peer}"] = ours["pairs_per_second"] / theirs["pairs_per_second"]
        figures[f"counted_ceiling_{peer}"] = flops[f"trl_{peer}"] / flops["ours"]
    return figures | {
        "memory_ratio": ours["peak_memory_bytes"] / median["trl_default"]["peak_memory_bytes"],
        "floor_ratio": ours["seconds"] / (flops["ours"] / ours["forward_flops_per_second"]),
        "without": {
            side.removeprefix("without_"): median[side]["pairs_per_second"] for side in sides if side in WITHOUT
        },
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a table for people."""
    lines = [f"{'':24} {'pairs/s':>8} {'peak MB':>8} {'TFLOPs':>8} {'GFLOP/s':>8}"]
    for side in SIDES:
        f = figures[side]
        lines.append(
            f"{side:24} {f['pairs_per_second']:8.2f} {f['peak_memory_bytes'] / 1e6:8.0f} {f['flops'] / 1e12:8.2f} "
            f"{f['flops_per_second'] / 1e9:8.0f}"
        )
    lines += [f"without {name:16} {speed:8.2f}" for name, speed in figures["without"].items()]
    for peer in ("default", "best"):
        ratio, ceiling = figures[f"speedup_{peer}"], figures[f"counted_ceiling_{peer}"]
        lines.append(f"{ratio:.2f}x TRL {peer} (counted ceiling {ceiling:.2f}x)")
    lines.append(
        f"memory {figures['memory_ratio']:.2f}x TRL default's; {figures['floor_ratio']:.2f}x the counted floor"
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures."""
    parser = Parser(__doc__)
    parser.add_argument("--model_name_or_path", default=str(REPOSITORY / "outputs/models/smollm2-135m-instruct"))
    parser.add_argument("--random_weights", choices=("8b", "tiny"), help="random Llama weights of this shape instead")
    parser.add_argument("--datasets_root", default=str(SAMPLES))
    parser.add_argument("--layers", type=int, nargs="+", default=[14, 15, 16, 17, 19, 21, 22, 25])
    parser.add_argument("--pairs", type=positive, default=96)
    parser.add_argument("--lengths", type=positive, nargs=2, metavar=("PROMPT", "ANSWER"), help="in tokens")
    parser.add_argument("--batch_size", type=positive, default=8)
    parser.add_argument("--epochs", type=positive, default=3)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--without", action="store_true", help="also time ours without each feature")
    parser.add_argument("--json", type=new_file)
    options = parser.parse_args(argv)
    figures = measure(options)
    print(table(figures))
    if options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
