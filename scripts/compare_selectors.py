"""Compare ways to select blocks on your own model: is a score better than chance, and is it worth its compute?

    python scripts/compare_selectors.py --model_name_or_path ORG/MODEL --cells cells.jsonl
        [--datasets truthfulqa sciq triviaqa] [--seeds 0 1 2] [--selectors eavss:contrast random:0 all layers:8,11 ...]
        [--steps 48] [--learning_rates 4e-4 8e-4 1.6e-3] [--report_only] [--json FILE] [--plot FILE]

For each data set, seed and selector, the script trains an adapter on the selected blocks and measures the gain in the
set's leading metric on held-out questions: at equal steps, and at equal FLOPs (as many as the first selector takes).
One run gives both, because the learning rate stays constant after its warm-up and the adapter is kept at both steps.
The learning rate is the best of a small grid for each number of blocks, on validation questions taken from the
training questions; a single --learning_rates is taken as it is. With --decline_weight or --decline_ce_weight above 0
the model is asked freely, and the gain is that of the penalised score at t = .5.

A finished run adds its lines to --cells and is never run again. To go on, start the command again; other seeds can run
beside it. Each line is {"selector", "dataset", "seed", "layers", "budget", "steps", "learning_rate", "gain", "gains" of
every question, "flops", "seconds", "trained_parameters"}. Other keys of a recipe hold for every run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

from data.sets import SETS
from train.comparison.selector_names import parse_selector
from train.inputs import check_recipe
from train.recipe.arguments import REPOSITORY, EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, answer_early, check_is_file, exit_status
from train.runtime.distributed import say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_whole
from train.runtime.option_types import positive, positive_number, seed_number

_SELECTORS = (
    *("eavss:contrast", "eavss:conditional", "cost_aware", "avss:paper", "block_influence", "probe"),
    *("first", "middle", "last", "all", *(f"random:{number}" for number in range(5))),
    *("diverse", "gradient", "activity", "patching", "dropping", "repeating", "parts", "ranks:probe", "ranks:gradient"),
)
_FIXED = {
    "lr_scheduler_type": "constant_with_warmup",
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": "true",
}


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipes."""
    parser = Parser(__doc__)
    parser.add_argument("--datasets", nargs="+", default=["truthfulqa", "sciq", "triviaqa"])
    parser.add_argument("--selectors", nargs="+", default=list(_SELECTORS))
    parser.add_argument("--seeds", nargs="+", type=seed_number, default=[0, 1, 2])
    parser.add_argument("--steps", type=positive, default=48)
    parser.add_argument("--learning_rates", nargs="+", type=positive_number, default=[4e-4, 8e-4, 1.6e-3])
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--report_only", action="store_true", help="sum up the finished cells, and train nothing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options, words = parser.parse_known_args(argv)
    for name in ("cells", "json", "plot"):
        check_is_file(f"--{name}", getattr(options, name))
    for name in options.selectors:
        parse_selector(name)
    return options, words


def recipe_words(options: argparse.Namespace, words: list[str], folder: str) -> dict[str, list[str]]:
    """Return what each data set's recipe is read from: its file, what the comparison sets, and the command line."""
    if clash := next((w for w in words if w.startswith("--") and w[2:] in (*_FIXED, "max_steps", "seed")), None):
        raise RecipeError(f"command line: {clash} cannot be set, since the comparison sets it; see --help")
    fixed = [word for key, value in _FIXED.items() for word in (f"--{key}", value)]
    output = [] if "--output_dir" in words else ["--output_dir", folder]
    found = {}
    for dataset in options.datasets:
        if not (path := REPOSITORY / "recipes" / f"{dataset}.yaml").is_file():
            raise RecipeError(f"--datasets: there is no recipe for {dataset!r} in recipes/")
        found[dataset] = ["--config", str(path), *fixed, *output, *words]
    return found


def check() -> None:
    """Check the command line with each recipe."""
    for each in recipe_words(*read_options(), folder="outputs").values():
        check_recipe(each)


if __name__ == "__main__":
    answer_early(check)  # before the imports below, which take seconds

from transformers import TrainingArguments

from train.comparison.cell_file import CellFile
from train.comparison.matrix import Matrix
from train.comparison.plots import plot_comparison
from train.comparison.selectors import leads, summarise
from train.comparison.tables import comparison_table, declining_table, lead_table
from train.model.loading import load_whole
from train.model.tokenizer import load_tokenizer
from train.model.trial import require_trainable


def read_recipes(
    options: argparse.Namespace, words: list[str], folder: str
) -> dict[str, tuple[EavssArguments, TrainingArguments]]:
    """Read each data set's recipe with the words of the command line; it is evaluated on that set alone."""
    recipes = {}
    for dataset, words_of in recipe_words(options, words, folder).items():
        args, training = parse(words_of)
        recipes[dataset] = (replace(args, dataset=dataset, evaluate_on=[dataset], question_hidden=False), training)
    return recipes


def settings_of(args: EavssArguments, training: TrainingArguments, options: argparse.Namespace) -> str:
    """Hash what a data set's cells depend on, whichever seeds and selectors are run.

    Keys at their default are left out, so that a later version with more keys can go on with the same cells.
    """
    changed = {f.name: getattr(args, f.name) for f in fields(args) if getattr(args, f.name) != f.default}
    elsewhere = ("datasets_root", "evaluation_split", "fresh")
    own = {name: value for name, value in changed.items() if name not in elsewhere and not name.startswith("hub_")}
    split = args.source.evaluated_split(SETS[args.dataset])
    if split != "validation":  # the only one before version 0.3, so the key stands for another one
        own["evaluation_split"] = split
    values = [own, training.train_batch_size, training.warmup_steps, options.steps, options.learning_rates]
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def main(argv: Sequence[str] | None) -> None:
    """Run what is missing, print the table, and write the files that the options name."""
    options, words = read_options(argv)
    with tempfile.TemporaryDirectory() as folder:
        recipes = read_recipes(options, words, folder)
        # A report adds no cell, so it takes those of any settings: the recipes of an earlier version, say.
        ours = {} if options.report_only else recipes
        file = CellFile(options.cells, {name: settings_of(*recipe, options) for name, recipe in ours.items()})
        file.finished()  # raises before anything is computed if the file is not ours
        if not options.report_only:
            args, training = next(iter(recipes.values()))
            model = load_whole(args.base_model, training)
            require_trainable(model, args.lora)
            Matrix(options, recipes, model, load_tokenizer(args.base_model), file).run()
        cells = file.finished()
    rows, over_middle = summarise(cells), leads(cells)
    say(comparison_table(rows))
    say(lead_table(over_middle))
    say(declining_table(cells))
    if options.json:
        write_json(options.json, {"cells": cells, "summary": rows, "leads": over_middle})
    if options.plot:
        write_whole(options.plot, lambda path: plot_comparison(rows, path))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run())
