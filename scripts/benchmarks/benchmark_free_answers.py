"""Time free answers as evaluation writes them beside those of plain batched `generate`.

    python scripts/benchmarks/benchmark_free_answers.py [--datasets_root FOLDER] [--model_name_or_path MODEL]
        [--prompt_style plain] [--shots 5] [--questions 100] [--repeats 3] [--dtype bfloat16] [--json FILE]

Both sides answer the same questions of TriviaQA in batches by length, and take turns. Plain `generate` reads each
prompt whole, and steps until the last row of its batch has ended. `ratio` says how many times as long it takes, as the
median over the turns. `differ` counts the answers that are not the same, which rounding can cause.
"""

import statistics
import sys
from collections.abc import Sequence
from functools import partial

import torch

from data.places import SAMPLES
from data.sources import DataSource
from eavss.answering import answer_greedily
from eavss.batches import group_by_length
from eavss.generation import plain_generation
from eavss.prompt_cache import can_share, read_beginning
from scripts.benchmarks.measuring import load_model_and_tokenizer, seconds
from train.batching.encoding import Encoder
from train.evaluation.free_answers import asking_encoder, generation_limits
from train.recipe.arguments import REPOSITORY
from train.runtime.command import Parser, exit_status
from train.runtime.files import write_json
from train.runtime.option_types import new_file, positive

_BATCH_TOKENS = 16384
_SIDES = ("generate", "ours")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures."""
    parser = Parser(__doc__)
    parser.add_argument("--model_name_or_path", default=str(REPOSITORY / "outputs/models/smollm2-135m-instruct"))
    parser.add_argument("--datasets_root", default=str(SAMPLES))
    parser.add_argument("--prompt_style", default="plain", choices=("plain", "chat"))
    parser.add_argument("--shots", type=int, default=5, choices=(0, 5), help="answered questions before each question")
    parser.add_argument("--questions", type=positive, default=100)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--json", type=new_file)
    options = parser.parse_args(argv)
    model, tokenizer = load_model_and_tokenizer(options.model_name_or_path, options.dtype)
    encoder = Encoder(tokenizer, options.prompt_style, 512)
    encoder = asking_encoder(encoder) if options.shots else encoder
    examples = DataSource(options.datasets_root, 0.1).split("triviaqa").train[: options.questions]
    prompts = [encoder.prompt_ids(example) for example in examples]
    stops, limit = generation_limits(options.prompt_style)
    groups = list(group_by_length([len(prompt) + limit for prompt in prompts], _BATCH_TOKENS))
    write = partial(answer_greedily, model, tokenizer, stops=stops, limit=limit, ends=encoder.end_ids[-1:])
    times: dict[str, list[float]] = {side: [] for side in _SIDES}
    answers: dict[str, list[str]] = {}

    @torch.no_grad()
    def answer(side: str) -> None:
        # With the folder's settings `generate` writes an answer, and `plain_generation` takes them away.
        with plain_generation(model):
            if side == "ours":
                beginning = read_beginning(model, prompts) if can_share(model) else None
                how = partial(write, beginning=beginning)
            else:
                how = partial(write, folder_settings=True)
            written = [how([prompts[i] for i in group]) for group in groups]
        answers[side] = [text for group in written for text, _ in group]

    for number in range(options.repeats + 1):
        for side in times if number % 2 else reversed(times):
            took = seconds(lambda side=side: answer(side))  # type: ignore[misc]
            if number:  # the first turn warms up
                times[side].append(took)
    differ = sum(a != b for a, b in zip(*answers.values(), strict=True))
    figures = {side: statistics.median(values) for side, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    print(f"{len(prompts)} questions: generate {figures['generate']:.1f} s, ours {figures['ours']:.1f} s, ", end="")
    print(f"ratio {ratio:.2f}, {differ} answers differ")
    if options.json:
        write_json(options.json, figures | {"ratio": ratio, "differ": differ, "questions": len(prompts)})


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
