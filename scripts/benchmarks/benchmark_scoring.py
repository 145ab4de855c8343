"""Time the scoring of blocks beside a bare forward pass over the same batches.

    python scripts/benchmarks/benchmark_scoring.py [--datasets_root FOLDER] [--model_name_or_path MODEL]
        [--questions 24] [--repeats 5] [--dtype bfloat16] [--json FILE]

The batches are those that a training run scores. The two sides take turns. `overhead` is the fraction by which scoring
takes longer: 0.05 is five per cent.
"""

import statistics
import sys
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from data.places import SAMPLES
from data.sources import DataSource
from eavss.profile import PairedBatch, profile_batch
from scripts.benchmarks.measuring import load_model_and_tokenizer, seconds
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.recipe.arguments import REPOSITORY
from train.runtime.command import Parser, exit_status
from train.runtime.files import write_json
from train.runtime.option_types import new_file, positive


@torch.no_grad()
def forward(model: PreTrainedModel, paired: PairedBatch) -> None:
    """Run the pass that scoring needs anyway: through every block, with logits for the last token only."""
    batch = paired.batch.to(model.device)
    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=1)


def measure(model: PreTrainedModel, batches: list[PairedBatch], repeats: int) -> dict[str, float]:
    """Return the medians over `repeats` passes through all batches.

    The sides take turns on each batch, in both orders, so that a machine that slows down does so for both.
    """
    sides = {"forward": lambda batch: forward(model, batch), "scoring": lambda batch: profile_batch(model, batch)}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for side in sides:
        sides[side](batches[0])
    for number in range(repeats):
        order = list(sides) if number % 2 else list(reversed(sides))
        total = dict.fromkeys(sides, 0.0)
        for batch in batches:
            for side in order:
                total[side] += seconds(lambda side=side, batch=batch: sides[side](batch))  # type: ignore[misc]
        for side in sides:
            times[side].append(total[side])
    return {
        "forward_seconds": statistics.median(times["forward"]),
        "scoring_seconds": statistics.median(times["scoring"]),
        "overhead": statistics.median(s / f for s, f in zip(times["scoring"], times["forward"], strict=True)) - 1,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures."""
    parser = Parser(__doc__)
    parser.add_argument("--model_name_or_path", default=str(REPOSITORY / "outputs/models/smollm2-135m-instruct"))
    parser.add_argument("--datasets_root", default=str(SAMPLES))
    parser.add_argument("--questions", type=positive, default=24)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--token_budget", type=positive, default=2048)
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--json", type=new_file)
    options = parser.parse_args(argv)
    model, tokenizer = load_model_and_tokenizer(options.model_name_or_path, options.dtype)
    encoder = Encoder(tokenizer, "plain", 512)
    examples = DataSource(options.datasets_root, 0.1).split("truthfulqa").train[: options.questions]
    batches = paired_batches(examples, encoder, 2, options.token_budget, seed=0)
    figures = measure(model, batches, options.repeats)
    print(
        f"forward {figures['forward_seconds']:.2f} s, scoring {figures['scoring_seconds']:.2f} s, "
        f"overhead {figures['overhead']:.1%}"
    )
    if options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
