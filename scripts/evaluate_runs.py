"""Evaluate the adapters of finished runs on more sets, questions or text than the runs themselves did.

    python scripts/evaluate_runs.py outputs/truthfulqa-0 outputs/sciq-0 ... --output_dir outputs/transfer
        [--evaluate_on nq sciq ...] [--eval_limit 150] [--retention lambada] [--retention_limit 50] ...

The base is evaluated once, and then with each run's adapter, on the same questions, which --seed draws. Keys of a
recipe that are not given are the first run's. Each run's figures go to a folder of its name in --output_dir, laid out
like the run's own, so that `scripts/summarise_runs.py outputs/transfer/*` sums them up. What is there already stays as
it is. Under `deepspeed` or `torchrun` the questions are divided among the ranks.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from train.inputs import check_recipe
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.runtime.command import Parser, answer_early, exit_status
from train.runtime.distributed import from_main, is_main_process, say
from train.runtime.errors import RecipeError
from train.runtime.files import check_writable, write_json


def read_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the script's own options, and the words that belong to the recipe."""
    parser = Parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="FOLDER")
    options, words = parser.parse_known_args(argv)
    if "--output_dir" not in words:
        raise RecipeError("command line: --output_dir should name a folder for the figures")
    return options, words


def check() -> None:
    """Check the command line with the first run's recipe, where the folder has one."""
    options, words = read_options()
    if (recipe := options.runs[0] / "recipe.yaml").is_file():
        check_recipe(["--config", str(recipe), *words])


if __name__ == "__main__":
    answer_early(check)  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from train.comparison.runs import Run, costs_of, summarise_runs
from train.comparison.tables import cost_table, transfer_table
from train.evaluation.benchmarks import load_benchmarks
from train.evaluation.compare import compare_evaluations, write_items
from train.evaluation.evaluate import evaluate
from train.model.loading import load_adapter, load_model
from train.model.tokenizer import load_tokenizer

# The keys that a base model's answers depend on, apart from the questions.
_SHARED = ("model_name_or_path", "model_revision", "dtype", "prompt_style", "system_prompt", "max_length")


def read_runs(folders: list[Path], words: list[str]) -> tuple[list[Run], EavssArguments, TrainingArguments]:
    """Read the runs, and the first one's recipe with the words of the command line.

    Raises:
        RecipeError: a folder is not a finished run's, two have one name, or they do not share a base model and prompt.
    """
    runs = [Run.read(folder) for folder in folders]
    for run in runs:
        run.require_trusted("--trust_remote_code" in words)
    names = [run.folder.resolve().name for run in runs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RecipeError(f"command line: two runs are named {twice[0]}, and their figures go to a folder of that name")
    recipes = [parse(["--config", str(run.folder / "recipe.yaml"), *words]) for run in runs]
    args, training = recipes[0]
    check_writable("--output_dir", Path(str(training.output_dir)), folder=True)
    if any(Path(str(training.output_dir)).resolve() == run.folder.resolve().parent for run in runs):
        raise RecipeError(f"--output_dir: {training.output_dir} holds the runs themselves; name another folder")
    for run, (own, _) in zip(runs, recipes, strict=True):
        other = next((key for key in _SHARED if getattr(own, key) != getattr(args, key)), None)
        if other:
            values = f"{getattr(own, other)!r}, that of {runs[0].folder} {getattr(args, other)!r}"
            raise RecipeError(f"{run.folder}: its {other} is {values}; they should be the same")
    return runs, args, training


def main(runs: list[Run], args: EavssArguments, training: TrainingArguments) -> list[Run]:
    """Evaluate the adapters that have no figures in `output_dir` yet, and return all runs with their new figures."""
    output = Path(str(training.output_dir))
    folders = [output / run.folder.resolve().name for run in runs]
    missing = from_main(lambda: [n for n, folder in enumerate(folders) if not (folder / "results.json").is_file()])
    if missing:
        set_seed(training.seed)
        tokenizer, model = load_tokenizer(args.base_model), load_model(args.base_model, training)
        benchmarks = load_benchmarks(args.evaluation, training.seed)
        before = evaluate(model, tokenizer, benchmarks, args.evaluation, "base")
    for number in missing:
        run, folder = runs[number], folders[number]
        adapted = load_adapter(model, str(run.folder / "adapter"))
        after = evaluate(adapted, tokenizer, benchmarks, args.evaluation, folder.name)
        adapted.unload()
        if is_main_process():
            write_items(folder / "items", {"before": before, "after": after})
            shutil.copyfile(run.folder / "recipe.yaml", folder / "recipe.yaml")
            write_json(folder / "results.json", run.results | compare_evaluations(before, after, training.seed))
    training.distributed_state.wait_for_everyone()
    return [Run.read(folder) for folder in folders]


def command(argv: Sequence[str] | None) -> None:
    """Parse the command line, evaluate, and print the tables."""
    options, words = read_options(argv)
    runs = main(*read_runs(options.runs, words))
    say("\n\n".join([transfer_table(summarise_runs(runs)), cost_table(costs_of(runs))]))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: command(argv))


if __name__ == "__main__":
    sys.exit(run())
