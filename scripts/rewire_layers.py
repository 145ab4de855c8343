"""Do a model's blocks need their order? Rewire its middle at every start, and measure what is left.

    python scripts/rewire_layers.py --model_name_or_path ORG/MODEL --json rewired.json [--starts 1 4 7 ...]
        [--layers 14 15 17 --layers 2 3 6 ...] [--adapter DIR] [--kinds skipped reversed ...] [--limit 100]
        [--shuffles 3] [--loops 3]

The rewirings are those of arXiv 2407.09298 (`eavss.rewiring`): the middle blocks, from a start to as far from the end,
are skipped, reversed, shuffled, replaced by their centre, run in parallel, or that several times; one block is dropped,
two neighbours are swapped. --layers rewires other groups, such as the selected blocks, instead of the middle unless
--starts is given too; --adapter measures the model with that adapter as well. --limit is short for --eval_limit and
--retention_limit. Pictures and the similarity of the blocks' states go beside the file. A trial that is in the file
already is not measured again. Takes the keys of a recipe, such as --datasets_root, --evaluate_on and --retention.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eavss.choices import REWIRING_KINDS
from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.recipe.settings import EvaluationSettings
from train.runtime.command import OutputFile, Parser, answer_early, exit_status
from train.runtime.distributed import is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    own = Parser(__doc__)
    own.add_argument("--json", action=OutputFile, required=True)
    own.add_argument("--starts", type=int, nargs="+", metavar="BLOCK")
    own.add_argument("--layers", type=int, nargs="+", action="append", default=[], metavar="BLOCK")
    own.add_argument("--kinds", choices=REWIRING_KINDS, nargs="+", default=list(REWIRING_KINDS))
    own.add_argument("--adapter")
    own.add_argument("--limit", type=int)
    own.add_argument("--shuffles", type=int, default=3)
    own.add_argument("--loops", type=int, default=3)
    options, recipe = own.parse_known_args(argv)
    for name in ("limit", "shuffles", "loops"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise RecipeError(f"--{name}: {value} should be 1 or more")
    if options.limit is not None:
        recipe += ["--eval_limit", str(options.limit), "--retention_limit", str(options.limit)]
    return options, recipe


if __name__ == "__main__":
    answer_early(lambda: check_recipe(read_options()[1]))  # before the imports below, which take seconds

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed

from eavss.batches import Batch, group_by_length, pad
from eavss.blocks import find_blocks
from eavss.rewiring import rewired
from eavss.similarity import explained, group_means, state_similarity, three_groups
from train.batching.encoding import Encoder
from train.comparison.rewiring_plots import has_curves, plot_rewirings, plot_similarity
from train.comparison.rewirings import (
    Plan,
    SimilarityFigures,
    Sweep,
    Trial,
    average_above_chance,
    read_sweep,
    rewiring_table,
    similarity_text,
    trial_of,
)
from train.evaluation.benchmarks import Benchmark
from train.evaluation.retained import Yardstick, average_kept
from train.model.loading import load_adapter, load_model
from train.model.tokenizer import load_tokenizer

BASE = "base"
# The states of so many questions of each set are compared.
_TEXTS = 20
# What the figures depend on.
_SETTINGS = (
    *(
        "model_name_or_path",
        "model_revision",
        "dtype",
        "datasets_root",
        "evaluation_split",
        "prompt_style",
        "system_prompt",
        "max_length",
    ),
    *("num_fewshot", "evaluate_on", "eval_limit", "retention", "retention_limit"),
)


def main(args: EavssArguments, training: TrainingArguments, options: argparse.Namespace) -> Sweep:
    """Measure the trials that are not in the file yet, of the base and of the adapter, and draw all of them.

    Raises:
        RecipeError: the file holds something else.
        EavssError: the model cannot be rewired so.
        ModelError: the adapter cannot be loaded.
    """
    set_seed(training.seed)
    tokenizer, model = load_tokenizer(args.base_model), load_model(args.base_model, training).eval()
    total = len(find_blocks(model).modules)
    plan = plan_of(options, total, training.seed)
    trials = plan.trials(total)
    settings = {key: str(getattr(args, key)) for key in _SETTINGS} | {"seed": str(training.seed)}
    settings |= {"quantization": str(args.quantization)} if args.quantization else {}
    sweep = read_sweep(options.json, settings, total)
    evaluation = replace(args.evaluation, question_hidden=False, free_answers=False)
    sweeper = Sweeper(tokenizer, evaluation, training.seed, options.json)
    if options.adapter is None:
        sweeper(model, BASE, trials, sweep)
        return sweep
    adapted = load_adapter(model, options.adapter)  # first, because a mistake in its name should not cost the base
    with adapted.disable_adapter():
        sweeper(adapted, BASE, trials, sweep)
    sweeper(adapted, options.adapter, trials, sweep)
    return sweep


def plan_of(options: argparse.Namespace, total: int, seed: int) -> Plan:
    """Return what the options ask for; without --starts and --layers, every start that leaves a middle."""
    every = [] if options.layers else list(range(1, total // 2))
    starts = every if options.starts is None else options.starts
    seeds = range(seed, seed + options.shuffles)
    return Plan(options.kinds, starts, options.layers, seeds, options.loops)


class Sweeper:
    """Measures trials, and writes the file after each.

    Args:
        tokenizer: the model's.
        settings: what is evaluated.
        seed: draws the questions.
        path: the file.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: EvaluationSettings, seed: int, path: Path) -> None:
        self._tokenizer, self._settings, self._seed, self._path = tokenizer, settings, seed, path

    def __call__(self, model: PreTrainedModel | PeftModel, name: str, trials: Sequence[Trial], sweep: Sweep) -> None:
        """Measure the trials that `sweep` lacks, with `model` under `name`, and add them to it."""
        measured = {trial_of(figures) for figures in sweep["trials"] if figures["model"] == name}
        missing = [trial for trial in trials if trial not in measured]
        if not missing:
            return
        measure = Yardstick.of(model, self._tokenizer, self._settings, self._seed)
        if name not in [figures["model"] for figures in sweep["similarity"]]:
            sweep["similarity"].append(self._similarity(model, name, measure.benchmarks))
        for trial in missing:
            with rewired(model, trial.order(sweep["blocks"])):
                kept = measure(model, f"{name}, {trial}")
            sweep["trials"].append(
                {
                    "model": name,
                    "kind": trial.kind,
                    "group": list(trial.group),
                    "seed": trial.seed,
                    "loops": trial.loops,
                    "kept": kept,
                    "average": average_kept(kept),
                    "above_chance": average_above_chance(kept),
                }
            )
            if is_main_process():
                write_json(self._path, sweep)
            say(f"{name}, {trial}: {sweep['trials'][-1]['above_chance']:.0%} of the accuracy above chance")

    def _similarity(
        self, model: PreTrainedModel | PeftModel, name: str, benchmarks: Sequence[Benchmark]
    ) -> SimilarityFigures:
        matrix = state_similarity(model, self._texts(benchmarks))
        groups = three_groups(matrix)
        return {
            "model": name,
            "matrix": matrix,
            "groups": [list(group) for group in groups],
            "means": group_means(matrix, groups),
            "explained": explained(matrix, groups),
        }

    def _texts(self, benchmarks: Sequence[Benchmark]) -> list[Batch]:
        """Encode the first questions of each set with their right answers."""
        encoder = Encoder.of(self._tokenizer, self._settings)
        questions = [question for benchmark in benchmarks for question in benchmark.questions[:_TEXTS]]
        texts = [encoder(question.example, [question.right])[0] for question in questions]
        groups = group_by_length([len(text) for text in texts], self._settings.token_budget)
        return [pad([texts[index] for index in group]) for group in groups]


def draw(sweep: Sweep, path: Path) -> None:
    """Draw each model's curves and similarity beside the file."""
    for number, model in enumerate(dict.fromkeys(trial["model"] for trial in sweep["trials"])):
        stem = path.with_suffix("") if number == 0 else path.with_name(f"{path.stem}_adapter{number}")
        trials = [trial for trial in sweep["trials"] if trial["model"] == model]
        if has_curves(trials, sweep["blocks"]):
            plot_rewirings(trials, sweep["blocks"], stem.with_name(f"{stem.name}_curves.png"))
        for figures in sweep["similarity"]:
            if figures["model"] == model:
                plot_similarity(figures, stem.with_name(f"{stem.name}_similarity.png"))


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, measure, draw, and print the table."""
    options, recipe = read_options(argv)
    sweep = main(*parse(recipe), options)
    if is_main_process():
        draw(sweep, options.json)
    say("\n".join([rewiring_table(sweep["trials"]), "", *map(similarity_text, sweep["similarity"])]))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
