"""Time a cut model beside the whole one, token for token, and weigh both.

    python scripts/benchmarks/benchmark_cut.py --whole MODEL --cut FOLDER [--tokens 64] [--repeats 5]
        [--dtype bfloat16] [--json FILE]

Both write the same number of tokens after the same prompt, one text at a time and 16 at once, and both read a text of
512 tokens. They take turns. A ratio says how many times as long the whole model takes; it is the median of the pairs.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from eavss.generation import plain_generation
from scripts.benchmarks.measuring import load_model_and_tokenizer, seconds
from train.runtime.command import Parser, exit_status
from train.runtime.files import write_json
from train.runtime.option_types import new_file, positive

_PROMPT, _TEXT, _ROWS = 32, 512, 16

Work = Callable[[PreTrainedModel], object]


def write(rows: int, tokens: int) -> Work:
    """Return what writes `tokens` tokens after a prompt, in `rows` rows at once."""
    ids = torch.arange(rows * _PROMPT).reshape(rows, _PROMPT) % 1000 + 100

    def work(model: PreTrainedModel) -> None:
        prompt = ids.to(model.device)
        with plain_generation(model):
            model.generate(  # type: ignore[operator] # (torch's __getattr__)
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )

    return work


@torch.no_grad()
def read(model: PreTrainedModel) -> None:
    """Read a text."""
    ids = torch.arange(_TEXT, device=model.device).unsqueeze(0) + 100
    model(input_ids=ids, use_cache=False, logits_to_keep=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures."""
    parser = Parser(__doc__)
    parser.add_argument("--whole", required=True)
    parser.add_argument("--cut", required=True)
    parser.add_argument("--tokens", type=positive, default=64)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--json", type=new_file)
    options = parser.parse_args(argv)
    models = [load_model_and_tokenizer(name, options.dtype)[0] for name in (options.whole, options.cut)]
    sizes = [sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6 for model in models]
    figures: dict[str, float] = {"whole_megabytes": sizes[0], "cut_megabytes": sizes[1]}
    print(f"weights: whole {sizes[0]:.0f} MB, cut {sizes[1]:.0f} MB")
    works: dict[str, tuple[Work, int]] = {
        "one text": (write(1, options.tokens), options.tokens),
        f"{_ROWS} texts": (write(_ROWS, options.tokens), _ROWS * options.tokens),
        "reading": (read, _TEXT),
    }
    for name, (work, tokens) in works.items():
        for model in models:  # warms up
            work(model)
        times = [[seconds(partial(work, model)) for model in models] for _ in range(options.repeats)]
        whole, cut = (1000 * statistics.median(each) / tokens for each in zip(*times, strict=True))
        ratio = statistics.median(whole / cut for whole, cut in times)
        figures |= {f"{name} whole ms": whole, f"{name} cut ms": cut, f"{name} ratio": ratio}
        print(f"{name}: whole {whole:.2f} ms a token, cut {cut:.2f}, ratio {ratio:.2f}")
    if options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
