"""Let a model write pairs to train on: to each question of a set a true answer, and a made-up one.

    python scripts/write_pairs.py --model_name_or_path ORG/MODEL --dataset nq --output pairs.jsonl [--limit 1000]

The questions are training questions of --dataset: a set, all, or a file or Hub id of own questions. No answer to them
is looked at. The model writes after five questions of our own with two answers each (after GRATH, arXiv 2401.12292).
Questions whose answers are equal, empty or degenerate are left out. The file holds preferences in TRL's conversational
form, and a recipe reads it as `dataset: pairs.jsonl`. Takes the keys of a recipe: --seed draws the questions and what
is sampled, and --eval_token_budget is a quarter of the tokens in a batch.
"""

import argparse
import math
import random
import sys
from collections.abc import Sequence
from itertools import chain

from data.examples import Example
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError, require
from train.runtime.files import write_json_lines


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--output", action=OutputFile, required=True)
    own.add_argument("--limit", type=int)
    options, recipe = own.parse_known_args(argv)
    require(options.output.suffix == ".jsonl", "--output", options.output, "a .jsonl file")
    require(options.limit is None or options.limit > 0, "--limit", options.limit, "1 or more")
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import TrainingArguments

from train.base.self_written_pairs import PairWriter, WrittenPairs
from train.model.loading import load_model
from train.model.tokenizer import load_tokenizer

_BUDGETS = 4


def draw_questions(args: EavssArguments, limit: int | None, seed: int) -> list[Example]:
    """Draw training questions of the data set in a seeded order, as many of each of the sets where it is `all`.

    Raises:
        RecipeError: its rows hold whole prompts, or conversations of several turns.
    """
    pools = args.source.training_pools(args.dataset)
    for example in chain(*pools):
        if example.verbatim or example.history:
            held = "whole prompts" if example.verbatim else "conversations of several turns"
            raise RecipeError(
                f"dataset: {args.dataset} holds {held}; it should hold questions, or messages of one turn"
            )
    share = None if limit is None else math.ceil(limit / len(pools))
    drawn = [random.Random(seed).sample(pool, len(pool))[:share] for pool in pools]
    return list({(each.question, each.system): each for pool in drawn for each in pool}.values())[:limit]


def main(options: argparse.Namespace, args: EavssArguments, training: TrainingArguments) -> WrittenPairs:
    """Let the model write, write the file, and say how many pairs there are.

    Raises:
        RecipeError: no question has two answers that can be used.
    """
    examples = draw_questions(args, options.limit, training.seed)
    tokenizer = load_tokenizer(args.base_model)
    model = load_model(args.base_model, training)
    written = PairWriter(model, tokenizer, _BUDGETS * args.eval_token_budget, training.seed)(examples)
    lacking = ", ".join(f"{reason} {count}" for reason, count in sorted(written.lacking.items())) or "none"
    if not written.rows:
        raise RecipeError(f"dataset: none of {len(examples)} questions has two usable answers ({lacking})")
    if is_main_process():
        write_json_lines(options.output, written.rows)
    say(f"{len(written.rows)} pairs of {len(examples)} questions are in {options.output}; left out: {lacking}")
    return written


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, and let the model write.

    Raises:
        RecipeError: --output is no file that a recipe could read.
    """
    options, recipe = read_options(argv)
    main(options, *parse(recipe))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
