"""Measure the peak memory of a merged export with random weights, read weight by weight and merged in memory.

    python scripts/benchmarks/benchmark_export.py [--blocks 16] [--hidden 1024] [--intermediate 2816]
        [--max_shard_size 100MB] [--tokenizer MODEL] [--json FILE]

Each figure is of a process of its own, above what it held before it loaded the model; mapped files do not count. The
base is a Llama in bfloat16, so that none of its weights is a mapped file in float32. `check` is the process that loads
the checkpoint afterwards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from scripts.benchmarks.benchmark_memory import make_model
from scripts.benchmarks.measuring import PeakMemory
from train.model.loading import load_adapter, read_model
from train.model.tokenizer import load_tokenizer
from train.publishing import reload_check
from train.publishing.checkpoints import Adapter, export_merged, save_checkpoint
from train.recipe.arguments import REPOSITORY
from train.recipe.settings import BaseModel
from train.runtime.files import write_json

PARTS = ("in memory", "weight by weight", "check")


class Figures(TypedDict):
    """What `--json` writes: the sizes of the model and of its largest part in float32, and the peaks, in bytes."""

    model: int
    largest_part: int
    peaks: dict[str, int]


def write_adapter(base: Path, folder: Path) -> None:
    """Write a random adapter for every block of a base."""
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(folder))


def work(part: str, folder: Path, max_shard_size: str) -> None:
    """Do one part in this process; `folder` holds `base` and `adapter`."""
    base, target = BaseModel(str(folder / "base"), dtype="float32"), folder / part
    match part:
        case "in memory":
            model = load_adapter(read_model(base), str(folder / "adapter")).merge_and_unload(safe_merge=True)
            target.mkdir()
            tokenizer = load_tokenizer(base)
            save_checkpoint(model, tokenizer, base, target, dtype=torch.bfloat16, max_shard_size=max_shard_size)
        case "weight by weight":
            export_merged(Adapter(folder / "adapter", base), target, None, max_shard_size)
        case "check":
            reload_check.main([str(folder / "weight by weight"), "--dtype", "bfloat16"])


def measure(part: str, folder: Path, max_shard_size: str) -> int:
    """Do one part in a process of its own, and return its peak in bytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, "--folder", str(folder), "--max_shard_size", max_shard_size],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)},  # memory that is freed goes back at once
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-3000:]}")
    return int(done.stdout.split()[-1])


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--intermediate", type=int, default=2816)
    parser.add_argument("--max_shard_size", default="100MB")
    parser.add_argument("--tokenizer", default=str(REPOSITORY / "outputs/models/smollm2-135m-instruct"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        peak = PeakMemory()
        work(options.part, options.folder, options.max_shard_size)
        print(peak.stop())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = make_model(options, folder / "base")
        write_adapter(folder / "base", folder / "adapter")
        peaks = {part: measure(part, folder, options.max_shard_size) for part in PARTS}
    figures: Figures = {"model": sizes["model"], "largest_part": sizes["largest_part"], "peaks": peaks}
    print(f"model {sizes['model'] / 1e6:.0f} MB, its largest part {sizes['largest_part'] / 1e6:.0f} MB, in float32")
    for part, size in peaks.items():
        print(f"{part}: {size / 1e6:.0f} MB")
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
