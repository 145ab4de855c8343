"""Answer triggering on WikiQA: does a model give the sentence that answers a question, and none where none does?

    python scripts/trigger_answers.py --model_name_or_path ORG/MODEL [--adapter DIR] [--questions 300] [--json FILE]

A sentence is scored by its own likelihood after the question, and by how unlikely the model is to decline where the
sentence is the passage. A threshold is chosen on training questions, and precision, recall and F1 are those of the
evaluation questions. Takes the keys of a recipe, such as --datasets_root, --evaluation_split and --eval_limit.
--adapter is a PEFT folder or Hub id on top of the model.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from data.examples import hash_fraction
from data.sets import SETS
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import require
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--adapter")
    own.add_argument("--questions", type=int, default=300)
    own.add_argument("--json", action=OutputFile)
    options, recipe = own.parse_known_args(argv)
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from data.wikiqa import Candidates, candidates
from train.batching.encoding import Encoder
from train.evaluation.free_answers import asking_encoder
from train.evaluation.likelihood import AnswerScorer
from train.evaluation.triggering import By, Triggering, at_threshold, best_sentences, best_threshold
from train.model.kept_figures import KeptFigures
from train.model.loading import load_adapter, load_model
from train.model.tokenizer import load_tokenizer

_SET = SETS["wikiqa"]
Figures = dict[By, Triggering]


def load_questions(args: EavssArguments, count: int) -> tuple[list[Candidates], list[Candidates]]:
    """Return training questions to choose the threshold on, and the evaluation questions."""
    source = args.source
    train, evaluated = (
        sorted(source.converted(_SET, split, candidates), key=lambda each: hash_fraction(each.question))
        for split in (_SET.train_split, source.evaluated_split(_SET))
    )
    return train[:count], evaluated[: args.eval_limit]


def main(args: EavssArguments, training: TrainingArguments, adapter: str | None, count: int) -> Figures:
    """Score the sentences, print what the thresholds do, and return it."""
    require(count >= 1, "--questions", count, "1 or more")
    set_seed(training.seed)
    train, evaluated = load_questions(args, count)
    encoder = Encoder.of(load_tokenizer(args.base_model), replace(args, passages=True))
    base = load_model(args.base_model, training)
    model = base if adapter is None else load_adapter(base, adapter)
    kept = KeptFigures(args.fresh)
    scorer = AnswerScorer(model, asking_encoder(encoder), args.eval_token_budget, kept=kept)
    answerable = sum(bool(each.right) for each in evaluated)
    say(f"{len(evaluated)} questions, {answerable} with an answer; thresholds are chosen on {len(train)} others")
    figures: Figures = {}
    for by in get_args(By):
        chosen_on, judged = (
            best_sentences(scorer, asked, by, args.decline_wordings, f"{by}: {what}")
            for asked, what in ((train, "training questions"), (evaluated, "evaluation questions"))
        )
        figures[by] = at_threshold(judged, best_threshold(chosen_on))
    kept.say_used("scores")
    say(table(figures))
    return figures


def table(figures: Figures) -> str:
    """Return the figures as text."""
    lines = [f"{'by':<11} {'threshold':>10} {'precision':>10} {'recall':>7} {'F1':>6}"]
    for by, values in figures.items():
        lines.append(
            f"{by:<11} {values['threshold']:>10.3f} {values['precision']:>10.3f} {values['recall']:>7.3f} "
            f"{values['f1']:>6.3f}"
        )
    return "\n".join(lines)


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, score, and write the figures."""
    options, recipe = read_options(argv)
    figures = main(*parse(recipe), options.adapter, options.questions)
    if is_main_process() and options.json:
        write_json(options.json, figures)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
