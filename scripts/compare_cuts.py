"""Which blocks can go? Cut a model by every criterion at several shares, and measure what is left.

    python scripts/compare_cuts.py --model_name_or_path ORG/MODEL --json cuts.json [--by block_influence angular ...]
        [--shares 0.1 0.25 0.4]

The whole model is evaluated once, and then each cut on the same questions and texts; nothing is trained or written but
the figures. A cut that is in the file already is not measured again. Takes the keys of a recipe, such as --dataset,
--datasets_root, --eval_limit, --free_answers, --retention and --retention_limit.
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from eavss.choices import CRITERIA, Criterion
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json
from train.runtime.records import read_record


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--by", choices=CRITERIA, nargs="+", default=list(CRITERIA))
    own.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    own.add_argument("--json", action=OutputFile, required=True)
    options, recipe = own.parse_known_args(argv)
    outside = [share for share in options.shares if not 0 < share < 1]
    if outside:
        raise RecipeError(f"--shares: {outside[0]} should be above 0 and below 1; 0.25 is a quarter of the blocks")
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from eavss.blocks import find_blocks
from eavss.surgery import remove_blocks
from scripts.cut_layers import Chooser
from train.evaluation.retained import Kept, Yardstick, average_kept, shown
from train.model.loading import load_whole
from train.model.tokenizer import load_tokenizer


class CutFigures(TypedDict):
    """What one cut left.

    Args:
        by, share: the criterion, and the share of the blocks that it removed.
        blocks: how many blocks the whole model has.
        removed: the indices of the removed ones.
        kept: each figure beside the whole model's.
        average: `train.evaluation.retained.average_kept`.
    """

    by: Criterion
    share: float
    blocks: int
    removed: list[int]
    kept: list[Kept]
    average: float


def main(
    args: EavssArguments, training: TrainingArguments, wanted: Sequence[tuple[Criterion, float]], path: Path
) -> list[CutFigures]:
    """Measure the cuts that are not in the file yet, and return those that were asked for.

    Args:
        wanted: criteria with shares of the blocks to remove.
        path: the file.

    Raises:
        RecipeError: the file holds something else.
    """
    found = _read(path)
    measured = {(cut["by"], cut["share"]) for cut in found}
    missing = [pair for pair in wanted if pair not in measured]
    if not missing:
        return [cut for cut in found if (cut["by"], cut["share"]) in wanted]
    set_seed(training.seed)
    tokenizer, model = load_tokenizer(args.base_model), load_whole(args.base_model, training).eval()
    measure = Yardstick.of(model, tokenizer, args.evaluation, training.seed)
    choose = Chooser(model, tokenizer, args, training.seed)
    for by, share in missing:
        removed = choose(by, share)
        smaller = copy.deepcopy(model)
        remove_blocks(smaller, removed)
        kept = measure(smaller, f"{by} {share}")
        blocks = len(find_blocks(model).modules)
        cut: CutFigures = {
            "by": by,
            "share": share,
            "blocks": blocks,
            "removed": removed,
            "kept": kept,
            "average": average_kept(kept),
        }
        found.append(cut)
        write_json(path, found)
        say(cut_table([cut]))
    return [cut for cut in found if (cut["by"], cut["share"]) in wanted]


def _read(path: Path) -> list[CutFigures]:
    if not path.is_file():
        return []
    try:
        found = read_record(path, list[CutFigures])
        if not all(cut.keys() == CutFigures.__annotations__.keys() for cut in found):
            raise ValueError("an entry has other keys")
    except ValueError as error:
        raise RecipeError(f"--json: {path} holds no figures of cuts; name another file: {error}") from None
    return found


def cut_table(cuts: Sequence[CutFigures]) -> str:
    """Return the cuts as a table in Markdown, the whole model in its first row."""
    if not cuts:
        return ""
    columns = [row for row in cuts[0]["kept"] if row["metric"] != "word_perplexity"]
    names = [f"{row['set']} {row['metric']}" for row in columns]
    lines = [
        f"| removed by | share | blocks | average kept | {' | '.join(names)} |",
        "|---" * (4 + len(names)) + "|",
        f"| (whole) | | | | {' | '.join(shown(row['whole']) for row in columns)} |",
    ]
    for cut in cuts:
        figures = [shown(row["changed"]) for row in cut["kept"] if row["metric"] != "word_perplexity"]
        removed = ", ".join(map(str, cut["removed"]))
        lines.append(f"| {cut['by']} | {cut['share']:.0%} | {removed} | {cut['average']:.0%} | {' | '.join(figures)} |")
    return "\n".join(lines)


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure, and print the table."""
    options, recipe = read_options(argv)
    wanted = [(by, share) for share in options.shares for by in options.by]
    say(cut_table(main(*parse(recipe), wanted, options.json)))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
