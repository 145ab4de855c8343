"""Measure the peak memory of a rank in each stage of a job, under ZeRO-2 and ZeRO-3, with random weights.

    python scripts/benchmarks/benchmark_memory.py [--ranks 2] [--blocks 8] [--hidden 1024] [--intermediate 2816]
        [--tokenizer MODEL] [--json FILE]

Memory is what the process holds above what it held before it loaded the model; mapped files do not count. Under ZeRO-2
each rank holds the whole model. `floor` is the counted size of the model divided by the ranks, and of its largest part
(a block, or the embeddings), and the activations, which are what the stage takes above the model under ZeRO-2. Without
a GPU, ranks gather through gloo, which takes a copy of what it gathers, so that a part counts once more than on GPUs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import torch
from torch.distributed.elastic.utils.distributed import get_free_port
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from train.model.sharding import parts_of
from train.recipe.arguments import REPOSITORY
from train.runtime.files import write_json

RUN = Path(__file__).with_name("benchmark_memory_run.py")
RECIPE = {
    **{"config": "recipes/demo.yaml", "dtype": "float32", "dataset": "triviaqa", "evaluate_on": "triviaqa"},
    **{"score_questions": "16", "train_questions": "16", "mined_answers": "1", "replay_weight": "0"},
    **{"eval_token_budget": "512", "train_token_budget": "512", "per_device_train_batch_size": "4"},
    **{"max_steps": "3", "save_strategy": "no", "disable_tqdm": "true"},
}


class Row(TypedDict):
    """A stage of the job: peak memory in bytes under ZeRO-2 and ZeRO-3, the floor, and ZeRO-3's share of it."""

    zero2: int
    zero3: int
    floor: int
    ratio: float


class Figures(TypedDict):
    """What `--json` writes; sizes are in bytes."""

    model: int
    largest_part: int
    ranks: int
    stages: dict[str, Row]


def make_model(options: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Write a model with random weights, and return the sizes of all of it and of its largest part, in bytes."""
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_hidden_layers=options.blocks,
        num_attention_heads=options.hidden // 64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    sizes = [sum(weight.nbytes for weight in part.parameters()) for part in parts_of(model)]
    # In another dtype than the job's. Otherwise a whole model on a CPU would be mapped files, which do not count.
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type] # (a decorator hides the signature)
    tokenizer.save_pretrained(folder)
    return {"model": sum(sizes), "largest_part": max(sizes)}


def run(stage: int, ranks: int, model: Path) -> dict[str, int]:
    """Run the job under a stage of ZeRO, and return the peak memory of its stages in bytes, of the highest rank."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", str(ranks)]
        launcher += ["--master_port", str(get_free_port())]
        recipe = RECIPE | {
            "model_name_or_path": str(model),
            "deepspeed": f"recipes/deepspeed/zero{stage}.json",
            "output_dir": folder,
        }
        words = [word for key, value in recipe.items() for word in (f"--{key}", value)]
        done = subprocess.run(
            [*launcher, str(RUN), "--folder", folder, *words],
            cwd=REPOSITORY,
            # Memory that is freed goes back at once.
            env=os.environ | {"EAVSS_CACHE": folder, "MALLOC_MMAP_THRESHOLD_": str(2**20)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"ZeRO-{stage} failed:\n{done.stderr[-3000:]}")
        found: dict[str, int] = json.loads((Path(folder) / "result.json").read_text())
        return found


def beside_floor(sizes: Mapping[str, int], ranks: int, whole: Mapping[str, int], divided: Mapping[str, int]) -> Figures:
    """Set the figures of both stages of ZeRO beside the floor of each stage of the job."""
    share = sizes["model"] // ranks + sizes["largest_part"]
    floors = {name: share + max(0, peak - sizes["model"]) for name, peak in whole.items()}
    return {
        "model": sizes["model"],
        "largest_part": sizes["largest_part"],
        "ranks": ranks,
        "stages": {
            name: {
                "zero2": whole[name],
                "zero3": divided[name],
                "floor": floor,
                "ratio": divided[name] / floor,
            }
            for name, floor in floors.items()
        },
    }


def measure(options: argparse.Namespace) -> Figures:
    """Run the job under ZeRO-2 and ZeRO-3, and return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = make_model(options, Path(folder))
        whole, divided = (run(stage, options.ranks, Path(folder)) for stage in (2, 3))
    return beside_floor(sizes, options.ranks, whole, divided)


def table(figures: Figures) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        f"model {figures['model'] / 1e6:.0f} MB, largest part {figures['largest_part'] / 1e6:.0f} MB, "
        f"{figures['ranks']} ranks\n",
        "| stage | ZeRO-2, MB | ZeRO-3, MB | floor, MB | ZeRO-3 / floor |",
        "|---|---|---|---|---|",
    ]
    for name, row in figures["stages"].items():
        sizes = " | ".join(f"{size / 1e6:.0f}" for size in (row["zero2"], row["zero3"], row["floor"]))
        lines.append(f"| {name} | {sizes} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--intermediate", type=int, default=2816)
    parser.add_argument("--tokenizer", default=str(REPOSITORY / "outputs/models/smollm2-135m-instruct"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = measure(options)
    print(table(figures))
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
