"""Train on one side of `benchmark_training.py`, alone in this process, and write FOLDER/result.json.

python scripts/benchmarks/benchmark_training_run.py ours --folder FOLDER [--count] --model_name_or_path MODEL
    --datasets_root samples --dtype float32 --pairs 8 --epochs 1 --batch_size 4 --layers 20 25
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel, TrainingArguments

from eavss.costs import flop_counter
from scripts.benchmarks.measuring import PeakMemory, Work, forward_flops_per_second, seconds
from scripts.benchmarks.training_rows import training_pairs
from scripts.benchmarks.training_sides import SIDES, SWITCHED_OFF, WITHOUT, Task, ours, trl
from train.model.loading import load_whole
from train.model.tokenizer import load_tokenizer
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, exit_status
from train.runtime.files import write_json
from train.runtime.hardware import choose_dtype, prepare_process
from train.runtime.option_types import positive

SHAPES = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 30, "num_attention_heads": 4},
}


def prepare(options: argparse.Namespace) -> Task:
    """Load the model and draw the pairs."""
    args, training = _arguments(options)
    tokenizer = load_tokenizer(args.base_model)
    return Task(
        model=_random_model(options) if options.random_weights else load_whole(args.base_model, training),
        tokenizer=tokenizer,
        pairs=training_pairs(options.datasets_root, tokenizer, options.pairs, options.lengths),
        layers=options.layers,
        args=args,
        training=training,
    )


def _arguments(options: argparse.Namespace) -> tuple[EavssArguments, TrainingArguments]:
    keys = {
        "model_name_or_path": options.model_name_or_path,
        "dtype": options.dtype,
        "output_dir": options.folder,
        "num_train_epochs": str(options.epochs),
        "per_device_train_batch_size": str(options.batch_size),
        "learning_rate": "1e-4",
        "lora_r": "8",
        "logging_steps": "10",
        "save_strategy": "no",
        "disable_tqdm": "true",
        "prefix_cache_gb": "1000",
    }
    keys |= SWITCHED_OFF.get(options.side, {})
    if options.lengths:
        keys["max_length"] = str(sum(options.lengths))  # long texts get another attention (`choose_training_attention`)
    return parse([word for key, value in keys.items() for word in (f"--{key}", value)])


def _random_model(options: argparse.Namespace) -> PreTrainedModel:
    tokens = AutoConfig.from_pretrained(options.model_name_or_path).vocab_size
    config = LlamaConfig(vocab_size=tokens, num_key_value_heads=4)
    config.update(SHAPES[options.random_weights])
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=choose_dtype(options.dtype))


def measure(work: Work, pairs: int, rate: float) -> dict[str, float]:
    """Run the work and return its time and memory; `rate` is that of a forward pass, in FLOPs a second."""
    peak = PeakMemory()
    elapsed = seconds(work)
    return {
        "seconds": elapsed,
        "pairs_per_second": pairs / elapsed,
        "peak_memory_bytes": peak.stop(),
        "forward_flops_per_second": rate,
    }


def count(work: Work) -> dict[str, float]:
    """Run the work and return the FLOPs of its matrix products."""
    with flop_counter() as counter:
        work()
    return {"flops": counter.get_total_flops()}


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("side", choices=(*SIDES, *WITHOUT))
    parser.add_argument("--folder", required=True, help="where caches and the result are written")
    parser.add_argument("--count", action="store_true", help="count FLOPs instead of measuring time and memory")
    for key in ("model_name_or_path", "datasets_root", "dtype"):
        parser.add_argument(f"--{key}", required=True)
    parser.add_argument("--random_weights", choices=SHAPES)
    for key in ("pairs", "epochs", "batch_size"):
        parser.add_argument(f"--{key}", type=positive, required=True)
    parser.add_argument("--lengths", type=positive, nargs=2)
    parser.add_argument("--layers", type=int, nargs="+", required=True)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare a side, run it, and write what was measured."""
    options = read_options(argv)
    os.environ["EAVSS_CACHE"] = options.folder
    datasets.config.HF_DATASETS_CACHE = Path(options.folder)
    prepare_process()
    transformers.set_seed(0)
    task = prepare(options)
    rate = forward_flops_per_second(task.model)
    work = trl(task, options.side == "trl_best") if "trl" in options.side else ours(task, options.side)
    figures = count(work) if options.count else measure(work, options.pairs * options.epochs, rate)
    write_json(Path(options.folder) / "result.json", figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
